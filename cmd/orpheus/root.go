package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner/manifest"
)

// Exit codes that every verb keeps to. What else a verb uses is in its help.
const (
	exitFailed = 1 // it was tried and did not work, or the answer is no
	exitUsage  = 2 // the command line makes no sense, or its input cannot be read
)

// env is what verbs share.
type env struct {
	stdout, stderr io.Writer
	socket         string // the agent's: a path, or an http URL
	configFile     string // of the agent; "" = its usual place
	now            func() time.Time
}

// client talks to the agent the user means.
func (e *env) client() (*api.Client, error) {
	c, err := api.NewClient(e.socket)
	if err != nil {
		return nil, usageError(err)
	}
	return c, nil
}

// platformCommands are the verbs that only some systems have; their files add
// to it when the program starts.
var platformCommands []func(*env) *cobra.Command

// exitError carries an exit code with the error that is printed for it.
type exitError struct {
	code int
	err  error // nil = what there is to say has been said
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usageError(err error) error { return &exitError{exitUsage, err} }

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRootCommand(stdout, stderr)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	code := exitFailed
	var exit *exitError
	if errors.As(err, &exit) {
		code = exit.code
		if exit.err == nil {
			return code
		}
	}
	printError(stderr, err)
	return code
}

// printError prints an error once. It may quote a repository or an agent:
// nothing in it acts on the terminal.
func printError(w io.Writer, err error) {
	for i, line := range strings.Split(strings.TrimSpace(err.Error()), "\n") {
		lead := "Error: "
		if i > 0 {
			lead = "       "
		}
		fmt.Fprintln(w, lead+manifest.Printable(line))
	}
}

func newRootCommand(stdout, stderr io.Writer) *cobra.Command {
	e := &env{stdout: stdout, stderr: stderr, now: time.Now}
	root := &cobra.Command{
		Use:   "orpheus",
		Short: "GitOps container orchestration without a control plane",
		Long: `Orpheus runs what a Git repository asks for. Each node follows the repository
by itself; there is no control plane. Begin with "orpheus init" in a folder, which
may have a Compose file, then "orpheus dev up" for a fleet on this machine; on
servers "orpheus agent install".

Exit codes: 0 fine, 1 it did not work or the answer is no, 2 wrong usage.
Others are in the help of the verb.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          knownVerb,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		// Flags that exclude each other are a matter of usage, too.
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmd.ValidateFlagGroups(); err != nil {
				return usageError(fmt.Errorf("%w; see %q", err, cmd.CommandPath()+" --help"))
			}
			return nil
		},
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError(fmt.Errorf("%w; see %q", err, cmd.CommandPath()+" --help"))
	})
	root.PersistentFlags().StringVar(&e.socket, "socket", defaultSocket(),
		"the agent's unix socket, or its http:// address; ORPHEUS_SOCKET sets the default")
	verbs := []func(*env) *cobra.Command{newInitCommand, newValidateCommand, newRenderCommand, newConvertCommand, newPlanCommand, newStatusCommand, newTopCommand, newEndpointsCommand, newNodesCommand, newHistoryCommand, newLogsCommand, newExecCommand, newEventsCommand, newWhyCommand, newDoctorCommand, newFloorCommand, newHoldCommand, newHoldsCommand, newReleaseCommand, newRunRevisionCommand, newRestartCommand, newPromoteCommand, newHookCommand, newSchemaCommand, newExplainCommand, newDialStdioCommand, newVersionCommand}
	for _, v := range nodeVerbs {
		verbs = append(verbs, newNodeVerb(v))
	}
	for _, verb := range append(verbs, platformCommands...) {
		cmd := verb(e)
		if cmd.HasSubCommands() && !cmd.Runnable() {
			cmd.Args, cmd.RunE = knownVerb, root.RunE
		} else {
			cmd.Args = usageArgs(cmd.Args)
		}
		root.AddCommand(cmd)
	}
	return root
}

// knownVerb refuses words that are no verb, or none below one, with the one that was
// meant.
func knownVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	remedy := fmt.Sprintf("see %q", cmd.CommandPath()+" --help")
	if cmd.SuggestionsMinimumDistance == 0 {
		cmd.SuggestionsMinimumDistance = 2
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		remedy = "did you mean " + strings.Join(near, " or ") + "?"
	}
	return usageError(fmt.Errorf("there is no verb %q; %s", args[0], remedy))
}

// usageArgs makes a wrong number of arguments a matter of usage.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	if check == nil {
		check = cobra.NoArgs
	}
	return func(cmd *cobra.Command, args []string) error {
		if check(cmd, args) == nil {
			return nil
		}
		return usageError(fmt.Errorf("%q cannot be read with %d arguments; write %s", cmd.CommandPath(), len(args), cmd.UseLine()))
	}
}
