package main

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// step is one thing that install or uninstall does to the machine. What it is
// was decided before the first one is taken.
type step struct {
	text string
	do   func(context.Context) error // nil = nothing is to be done: text says why
}

// take carries out the steps in order, each with a line of its own, until one
// fails. With dry they are listed only.
func take(ctx context.Context, w io.Writer, steps []step, dry bool) error {
	for _, s := range steps {
		lead := "done"
		switch {
		case s.do == nil:
			lead = "kept"
		case dry:
			lead = "todo"
		default:
			if err := s.do(ctx); err != nil {
				return errors.Join(fmt.Errorf("%s: %w", s.text, err), writeLine(w, "fail", s.text))
			}
		}
		if err := writeLine(w, lead, s.text); err != nil {
			return err
		}
	}
	return nil
}

func writeLine(w io.Writer, lead, text string) error {
	_, err := fmt.Fprintf(w, "%s  %s\n", lead, text)
	return err
}
