package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/terminal"
)

// level is how bad a finding is.
type level string

const (
	levelOK   level = "ok"
	levelWarn level = "warn" // something will not work, or not well
	levelFail level = "fail" // an agent cannot do its work here
)

// check looks at one thing. It says what it found and, where that is not ok,
// what to do about it.
type check struct {
	name string
	run  func(context.Context) (found level, text, remedy string)
}

// checkTimeout bounds each check.
const checkTimeout = 5 * time.Second

// platformChecks are the checks that only some systems have; their files add
// to it when the program starts. They run in order, after the common ones.
var platformChecks []func(*env) []check

// finding is a check that was run.
type finding struct {
	Name   string `json:"name"`
	Level  level  `json:"level"`
	Text   string `json:"text"`
	Remedy string `json:"remedy,omitempty"`
}

func newDoctorCommand(e *env) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check whether this machine can be a node, and how its agent fares",
		Long: `Check whether this machine can be a node, and how its agent fares. Every check
says what it found and, if something is wrong, what to do. Nothing is changed;
where a fleet's records can be written is tried out with two refs beside them,
which are removed again. Run it as the user the agent runs as.

Exit codes: 0 nothing keeps an agent from its work (there may be warnings), 1 at
least one check failed, 2 wrong usage.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			checks := e.commonChecks()
			for _, more := range platformChecks {
				checks = append(checks, more(e)...)
			}
			findings := examine(cmd.Context(), checks)
			if err := e.writeFindings(findings, output); err != nil {
				return err
			}
			for _, f := range findings {
				if f.Level == levelFail {
					return &exitError{code: exitFailed}
				}
			}
			return nil
		},
	}
	addOutputFlag(cmd, &output, "text", "json")
	cmd.Flags().StringVar(&e.configFile, "config", "", "the agent's configuration file (default its usual place)")
	return cmd
}

func examine(ctx context.Context, checks []check) []finding {
	var findings []finding
	for _, c := range checks {
		f := finding{Name: c.name}
		bounded, cancel := context.WithTimeout(ctx, checkTimeout)
		f.Level, f.Text, f.Remedy = c.run(bounded)
		cancel()
		findings = append(findings, f)
	}
	return findings
}

func (e *env) writeFindings(findings []finding, output string) error {
	if output == "json" {
		return writeJSON(e.stdout, findings, false)
	}
	s := e.newScreen()
	width := 0
	for _, f := range findings {
		width = max(width, terminal.Columns(f.Name))
	}
	counts := map[level]int{}
	for _, f := range findings {
		counts[f.Level]++
		lead := fmt.Sprintf("%-4s  %-*s  ", f.Level, width, f.Name)
		s.prose(lead, levelColour(f.Level), plain, f.Text)
		if f.Remedy != "" {
			s.prose(strings.Repeat(" ", terminal.Columns(lead))+"→ ", dim, plain, f.Remedy)
		}
	}
	s.blank()
	s.line(fmt.Sprintf("%d ok, %s, %d failed", counts[levelOK], count(counts[levelWarn], "warning"), counts[levelFail]))
	return s.writeTo(e.stdout)
}

func levelColour(l level) colour {
	switch l {
	case levelOK:
		return green
	case levelWarn:
		return yellow
	}
	return red
}

// commonChecks need nothing of the system.
func (e *env) commonChecks() []check {
	return []check{
		{"agent", e.checkAgent},
		{"clock", e.checkClock},
		{"git", checkGit},
	}
}

// checkAgent warns only: a machine can be examined before its first agent.
func (e *env) checkAgent(ctx context.Context) (level, string, string) {
	client, err := e.client()
	if err != nil {
		return levelFail, err.Error(), "correct --socket or ORPHEUS_SOCKET"
	}
	defer client.Close()
	st, err := client.Status(ctx)
	switch {
	case errors.Is(err, api.ErrNotRunning):
		return levelWarn, "no agent answers on " + client.Address(), "\"orpheus agent install\" makes it a service of this machine; or name its socket with --socket"
	case errors.Is(err, api.ErrDenied):
		return levelWarn, "the agent's socket " + client.Address() + " belongs to another user", "run this with sudo"
	case err != nil:
		return levelFail, err.Error(), "look at the agent's log"
	}
	if err := client.Health(ctx); err != nil {
		return levelFail, err.Error(), "look at the agent's log"
	}
	text := fmt.Sprintf("node %s, orpheus %s, up %s", st.Node, st.Version, age(e.now().Sub(st.StartedAt)))
	if own := programVersion(); st.Version != own {
		return levelWarn, text + "; this program is " + own, "restart the agent with this version: what runs keeps running"
	}
	return levelOK, text, ""
}

// answers reports whether the agent of a node answers here, or one that does
// not talk to this user.
func (e *env) answers(ctx context.Context, node string) bool {
	client, err := e.client()
	if err != nil {
		return false
	}
	defer client.Close()
	st, err := client.Status(ctx)
	return errors.Is(err, api.ErrDenied) || err == nil && string(st.Node) == node
}

// checkClock finds a clock that has never been set: certificates are refused
// then. Nothing else here depends on the time of day.
func (e *env) checkClock(context.Context) (level, string, string) {
	released := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now := e.now()
	if now.Before(released) {
		return levelFail, "it is " + now.UTC().Format(time.RFC3339) + ", before this program was written", "set the clock: certificates of Git and registries are refused"
	}
	return checkClockSync(now)
}

// checkGit looks for the program that the transport of local paths needs.
func checkGit(ctx context.Context) (level, string, string) {
	path, err := exec.LookPath("git")
	if err != nil {
		return levelWarn, "there is no git on the PATH", "install git: verbs that work in a checkout use it (drain, restart, nodes, history), and an agent that follows a repository on this machine"
	}
	out, err := exec.CommandContext(ctx, path, "version").Output()
	if err != nil {
		return levelWarn, fmt.Sprintf("%s does not run: %v", path, err), "reinstall git: verbs that work in a checkout use it (drain, restart, nodes, history), and an agent that follows a repository on this machine"
	}
	return levelOK, strings.TrimSpace(string(out)), ""
}
