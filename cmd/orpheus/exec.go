package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/runtime"
)

func newExecCommand(e *env) *cobra.Command {
	var o remoteOptions
	var container string
	var stdin, tty bool
	cmd := &cobra.Command{
		Use:   "exec SERVICE|SLOT [-c CONTAINER] [-i] [-t] -- COMMAND [ARGUMENT...]",
		Short: "Run a command in what runs on this node",
		Long: `Run a command in a container of a SLOT (such as web-0) on this node, or of a
SERVICE that has one slot here: with the container's user, environment and
folder; for a process, beside it. With -t it gets a terminal, with -i what is
typed or piped in.

The command ends when orpheus does, when the connection is lost and when the
agent is stopped; processes it has left behind may go on. The instance is not
touched by any of that. The node's events tell who ran which program, without
its arguments.

It goes over the agent's unix socket; to another node over your own ssh.
` + viaHelp + `

Exit codes: the command's (128 + N if signal N ended it), 126 its program cannot
be executed, 127 it is not there; 1 and 2 also where orpheus itself could not.`,
		Example: `  orpheus exec -it web-0 -- sh
  orpheus exec db -- pg_dump shop > shop.sql
  orpheus exec -i db -- psql shop < fix.sql
  orpheus exec -it web-0 --via ssh -- sh     # on whichever node runs it`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: e.completeServices(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.ArgsLenAtDash() != 1 || len(args) < 2 {
				return usageError(fmt.Errorf("write the command behind two dashes: orpheus exec %s -- COMMAND", args[0]))
			}
			req := api.ExecRequest{Target: args[0], Container: container, Argv: args[1:]}
			if err := o.checkRemote(e, cmd); err != nil {
				return usageError(err)
			}
			client, done, err := e.execClient(cmd.Context(), o, &req)
			if err != nil {
				return err
			}
			defer done()
			streams := runtime.Streams{Out: e.stdout, Err: e.stderr}
			if stdin {
				streams.In = cmd.InOrStdin()
			}
			if tty {
				leave, err := e.enterTerminal(&streams)
				if err != nil {
					return err
				}
				defer leave()
			}
			return e.exec(cmd.Context(), client, req, streams)
		},
	}
	cmd.Flags().StringVarP(&container, "container", "c", "", "container to run it in (default: the first)")
	cmd.Flags().BoolVarP(&stdin, "stdin", "i", false, "pass standard input on")
	cmd.Flags().BoolVarP(&tty, "tty", "t", false, "give the command a terminal")
	o.addRemoteFlags(e, cmd)
	return cmd
}

// exec runs a session and returns the command's exit code as an error. A signal
// to this program ends the session.
func (e *env) exec(ctx context.Context, client *api.Client, req api.ExecRequest, streams runtime.Streams) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case s := <-signals:
			number, _ := s.(syscall.Signal)
			stop(&exitError{128 + int(number), nil})
		case <-ended:
		}
	}()
	code, err := client.Exec(ctx, req, streams)
	var failed *runtime.CommandError
	switch {
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &failed):
		return &exitError{failed.Code, err}
	case err != nil:
		return e.explainAgent(err)
	case code != 0:
		return &exitError{code, nil}
	}
	return nil
}

// enterTerminal gives a command a terminal like the one this program has, and
// what is typed goes to the command as it is, Ctrl-C among it, until leave is
// called.
func (e *env) enterTerminal(streams *runtime.Streams) (leave func(), err error) {
	keyboard, _ := streams.In.(*os.File)
	if streams.In != nil && (keyboard == nil || !term.IsTerminal(int(keyboard.Fd()))) {
		return nil, usageError(errors.New("standard input is no terminal: leave out -t"))
	}
	screen := keyboard
	if screen == nil {
		screen, _ = e.stdout.(*os.File)
	}
	sizes := make(chan runtime.WindowSize, 1)
	streams.Terminal = &runtime.Terminal{Size: windowSize(screen), Resize: sizes}
	stopSizes := followWindow(screen, sizes)
	if keyboard == nil {
		return stopSizes, nil
	}
	before, err := term.MakeRaw(int(keyboard.Fd()))
	if err != nil {
		stopSizes()
		return nil, fmt.Errorf("prepare the terminal: %w", err)
	}
	return func() {
		stopSizes()
		_ = term.Restore(int(keyboard.Fd()), before) // it was one a moment ago
	}, nil
}

// windowSize is the size of a terminal, zero if f is none.
func windowSize(f *os.File) runtime.WindowSize {
	if f == nil {
		return runtime.WindowSize{}
	}
	columns, rows, err := term.GetSize(int(f.Fd()))
	if err != nil || columns < 0 || rows < 0 || columns > 0xffff || rows > 0xffff {
		return runtime.WindowSize{}
	}
	return runtime.WindowSize{Columns: uint16(columns), Rows: uint16(rows)}
}
