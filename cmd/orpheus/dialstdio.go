package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/agent/api"
)

const (
	// stdioGreeting is the line that begins a connection: what a login shell prints
	// before it is none of the agent's.
	stdioGreeting = "orpheus-agent 1"
	// exitDenied is what dial-stdio ends with where the agent is another user's.
	exitDenied = 4
)

func newDialStdioCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "dial-stdio",
		Short: "Join standard input and output with the agent of this node",
		Long: `Join standard input and output with the agent's socket, until one of them ends.
It is what "--via ssh" runs on a node. A key that is to reach the agent and nothing
else has it as its only command, in authorized_keys:

  restrict,command="orpheus dial-stdio" ssh-ed25519 …

Who reaches the agent can run commands in what runs on the node.

Exit codes: 0 the connection has ended, 1 no agent answers, 2 wrong usage, 4 the
agent is another user's.`,
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.dialStdio(cmd.Context(), cmd.InOrStdin())
		},
	}
}

// dialStdio passes bytes on between the agent and who has started this program. The
// end of either ends it: an agent's connection has no half.
func (e *env) dialStdio(ctx context.Context, in io.Reader) error {
	client, err := e.client()
	if err != nil {
		return err
	}
	conn, err := client.Dial(ctx)
	if err != nil {
		explained := e.explainAgent(err)
		if errors.Is(err, api.ErrDenied) || explained.Error() != err.Error() {
			return &exitError{exitDenied, explained}
		}
		return explained
	}
	defer conn.Close()
	if _, err := fmt.Fprintln(e.stdout, stdioGreeting); err != nil {
		return err
	}
	ended := make(chan error, 2)
	go func() {
		_, err := io.Copy(conn, in)
		ended <- err
	}()
	go func() {
		_, err := io.Copy(e.stdout, conn)
		ended <- err
	}()
	if err := <-ended; err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("pass bytes on between the agent and who asks: %w", err)
	}
	return nil
}
