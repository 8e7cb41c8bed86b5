package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/planner"
)

// waitOptions are the flags of verbs that wait.
type waitOptions struct {
	wait    bool
	timeout time.Duration
}

func (o *waitOptions) addWaitFlags(cmd *cobra.Command, until string) {
	cmd.Flags().BoolVar(&o.wait, "wait", false, "wait until "+until+"; exit with 3 if that does not come")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 10*time.Minute, "how long --wait waits at most")
	_ = cmd.RegisterFlagCompletionFunc("timeout", cobra.NoFileCompletions) // fails only for a flag that does not exist
}

func (o *waitOptions) checkWait(cmd *cobra.Command) error {
	switch {
	case cmd.Flags().Changed("timeout") && !o.wait:
		return errors.New("--timeout is how long --wait waits; write --wait")
	case o.timeout <= 0:
		return fmt.Errorf("--timeout %s: write a time such as 5m", o.timeout)
	}
	return nil
}

// awaited is how that stands which is waited for.
type awaited struct {
	ready bool
	// rests: it stays so until a person does something.
	rests bool
	says  string // in a sentence
}

// await looks every so often until all is ready or rests, or the time is over. It
// tells w how things stand, whenever that has changed. Only the first look has to
// work, unless it finds a fleet that has no records yet.
func await(ctx context.Context, w io.Writer, o waitOptions, every time.Duration, look func(context.Context) (awaited, error)) (awaited, error) {
	began, told := time.Now(), ""
	var noRecords *noRecordsError
	over := time.NewTimer(o.timeout)
	defer over.Stop()
	for first := true; ; first = false {
		st, err := look(ctx)
		switch {
		case ctx.Err() != nil:
			return st, ctx.Err()
		case err != nil && first && !errors.As(err, &noRecords):
			return st, err
		case err != nil:
			st = awaited{says: err.Error()}
		case st.ready:
			return st, nil
		}
		if st.says = planner.OneLine(st.says, maxShownReason); st.says != told {
			told = st.says
			if _, err := fmt.Fprintf(w, "%6s  %s\n", age(time.Since(began)), told); err != nil {
				return st, err
			}
		}
		if st.rests {
			return st, nil
		}
		select {
		case <-ctx.Done():
			return st, ctx.Err()
		case <-over.C:
			_, err := fmt.Fprintf(w, "%6s  not waited for any longer (--timeout)\n", age(time.Since(began)))
			return st, err
		case <-time.After(every):
		}
	}
}
