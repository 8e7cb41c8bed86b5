package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/agent"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// nodeExam looks at what the agent's configuration names.
type nodeExam struct {
	config  config
	file    string                     // "" = there is none
	err     error                      // of the configuration
	running func(context.Context) bool // whether this node's agent answers
	agents  []*env                     // where it may answer
	fleet   *planner.Fleet             // as the repository was found to say
}

// examinedNode reads the configuration as the agent would. Without a file
// there is nothing to say of a repository: flags name it.
func examinedNode(file string) *nodeExam {
	n := &nodeExam{file: file, running: func(context.Context) bool { return false }}
	if file == "" {
		if _, err := os.Stat(defaultConfigFile); !errors.Is(err, fs.ErrNotExist) {
			n.file = defaultConfigFile
		}
	}
	if n.config, n.err = loadConfig(n.file); n.err != nil {
		n.config = config{}
	}
	if err := n.config.complete(); n.err == nil && n.file != "" {
		n.err = err
	}
	return n
}

func (n *nodeExam) checks() []check {
	checks := []check{{"configuration", n.configuration}}
	if n.err != nil {
		return checks
	}
	if n.config.Repository.URL != "" {
		checks = append(checks, n.gitChecks()...)
		checks = append(checks, check{"repository", n.repository})
		checks = append(checks, n.fleetChecks()...)
	}
	checks = append(checks, n.notifyChecks()...)
	return append(checks, append(n.wired(), check{"room", n.room})...)
}

// wired checks the drivers and the network as the agent would make them. The
// drivers get folders of their own, so that nothing is left behind.
func (n *nodeExam) wired() []check {
	broken := func(err error) []check {
		return []check{{"drivers", func(context.Context) (level, string, string) {
			return levelFail, err.Error(), "correct the configuration"
		}}}
	}
	nodes := node{config: n.config, log: slog.New(slog.DiscardHandler), drivers: map[string]runtime.Driver{}}
	if err := nodes.addNetwork(); err != nil {
		return broken(err)
	}
	dir, err := os.MkdirTemp("", "orpheus-doctor-")
	if err != nil {
		return broken(err)
	}
	defer os.RemoveAll(dir)
	nodes.config.StateDir, nodes.config.RunDir = dir, dir
	if err := nodes.addDrivers(); err != nil {
		return broken(err)
	}
	var checks []check
	for _, name := range []string{planner.DriverContainerd, planner.DriverProcess} {
		if d := nodes.drivers[name]; d != nil {
			checks = append(checks, check{name, func(ctx context.Context) (level, string, string) { return n.driverHealth(ctx, name, d) }})
		}
	}
	for _, p := range n.config.Plugins {
		checks = append(checks, check{p.Name, func(context.Context) (level, string, string) { return n.pluginHealth(p) }})
	}
	if nodes.network == nil {
		return append(checks, check{"network", n.relayHealth})
	}
	return append(checks, n.networkChecks(nodes.network)...)
}

func (n *nodeExam) configuration(context.Context) (level, string, string) {
	switch {
	case n.err != nil:
		return levelFail, n.err.Error(), "correct " + n.file + "; docs/agent.md describes every field"
	case n.file == "":
		return levelOK, "there is no " + defaultConfigFile + ": flags and defaults", ""
	}
	return levelOK, n.file, ""
}

// repository takes one look at the repository, in a clone of its own, and
// keeps what it says of the fleet.
func (n *nodeExam) repository(ctx context.Context) (level, string, string) {
	found, commit, desired, err := n.config.lookNow(ctx, nil)
	text := fmt.Sprintf("%s, %s at %s %q", found.url, found.following, commit.Short(), commit.Subject)
	var refused *agent.Refusal
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return levelWarn, fmt.Sprintf("%s answers slowly: not read within %s", found.url, checkTimeout), "try again; the agent is more patient"
	case errors.As(err, &refused):
		return levelWarn, text + ", which agents refuse: " + refused.Reason, "run \"orpheus validate\" in a checkout of it"
	case err != nil:
		return levelFail, err.Error(), "correct repository in " + n.file + ", or the access to it"
	}
	n.fleet = &desired.Fleet
	return levelOK, text, ""
}

// driverHealth asks a driver how it is. One that manifests may use must work.
func (n *nodeExam) driverHealth(ctx context.Context, name string, d runtime.Driver) (level, string, string) {
	info, err := d.Info(ctx)
	if c, ok := d.(io.Closer); ok {
		err = errors.Join(err, c.Close()) // takes away what asking has made, such as cgroups
	}
	switch {
	case err != nil && slices.Contains(n.config.Policy.Drivers, name):
		return levelFail, err.Error(), "install and start it, name its socket in the agent's configuration, or leave it out of policy.drivers"
	case err != nil:
		return levelWarn, err.Error(), "install and start it, or name its socket in the agent's configuration"
	}
	return levelOK, strings.Join(append([]string{strings.TrimSpace(info.Name + " " + info.Version)}, info.Notes...), "; "), ""
}
