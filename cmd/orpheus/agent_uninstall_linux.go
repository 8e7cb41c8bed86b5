package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// removal is what uninstall is asked for.
type removal struct {
	*installation
	stop  bool // end what runs
	purge bool // and remove what it kept
	yes   bool
	stdin io.Reader
}

func newAgentUninstallCommand(e *env) *cobra.Command {
	r := &removal{installation: &installation{env: e, systemd: findSystemd}, stdin: os.Stdin}
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Take the agent's unit off this machine",
		Long: `Take the agent's unit off this machine: stop and disable it, and remove its
unit and its program. May be run again.

What runs on the node keeps running, without anybody to restart it; an agent
that is installed again adopts it. With --stop-workloads it is stopped and
removed, in its own grace periods, and the node's network with it: first
"orpheus drain" a node of a fleet, so that others take over. State, volumes and
logs stay, and so does the configuration; --purge removes them too, for good.
Images stay in containerd.`,
		Example: `  sudo orpheus agent uninstall
  sudo orpheus agent uninstall --stop-workloads --purge`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return r.uninstall(cmd.Context()) },
	}
	r.addPlaceFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&r.flags.file, "config", "", "the agent's configuration file (default "+defaultConfigFile+")")
	f.BoolVar(&r.stop, "stop-workloads", false, "stop and remove what runs, and the node's network")
	f.BoolVar(&r.purge, "purge", false, "remove state, volumes, logs and configuration too; needs --stop-workloads")
	f.BoolVar(&r.yes, "yes", false, "do not ask before --purge")
	return cmd
}

func (r *removal) uninstall(ctx context.Context) error {
	if r.purge && !r.stop {
		return usageError(errors.New("--purge removes volumes that what runs may use: give --stop-workloads with it"))
	}
	if r.root != "" && r.stop {
		return usageError(errors.New("--root removes files only: nothing runs there to be stopped"))
	}
	var manager unitManager
	if r.root == "" && !r.dryRun {
		if !isRoot() {
			return errors.New("only root can remove the agent: run it with sudo; --dry-run shows what it would do")
		}
		var err error
		if manager, err = r.systemd(); err != nil && !errors.Is(err, errNoSystemd) {
			return err
		}
	}
	var c config
	if r.stop {
		var err error
		if c, err = r.flags.load(); err != nil {
			return fmt.Errorf("what runs is found by the agent's configuration: %w", err)
		}
	}
	steps := r.steps(c, manager)
	if r.purge && !r.dryRun {
		if err := r.confirm(c); err != nil {
			return err
		}
	}
	if err := take(ctx, r.stdout, steps, r.dryRun); err != nil {
		return err
	}
	if r.stop || r.root != "" {
		return nil
	}
	return writeLine(r.stdout, "kept", "what runs on this node runs on; state, volumes, logs and configuration stay")
}

// steps are in the order in which a failure leaves most behind that helps: the
// program goes last, so that it can be run again.
func (r *removal) steps(c config, m unitManager) []step {
	var steps []step
	if m != nil || r.dryRun {
		steps = append(steps, step{"stop and disable " + unitName, func(ctx context.Context) error { return r.stopUnit(ctx, m) }})
	}
	if r.stop {
		steps = append(steps, step{"stop what runs, and remove the node's network", func(ctx context.Context) error {
			return endWorkloads(ctx, c, slog.New(slog.NewTextHandler(r.stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
		}})
	}
	unit := []string{r.unitFile()}
	if r.root != "" {
		unit = append(unit, r.wanted())
	}
	steps = append(steps, r.remove(unit...))
	if m != nil {
		steps = append(steps, step{"systemctl daemon-reload", func(ctx context.Context) error { return m.Do(ctx, "daemon-reload") }})
	}
	if r.purge {
		steps = append(steps, step{"remove " + c.StateDir + " and " + c.RunDir, func(context.Context) error {
			return r.purgeFolders(c)
		}}, r.remove(r.configFile()))
	}
	return append(steps, r.remove(r.binary()+previous, r.binary()))
}

// stopUnit ends the agent, if systemd knows it.
func (r *removal) stopUnit(ctx context.Context, m unitManager) error {
	state, err := m.Show(ctx, "LoadState")
	if err != nil || state == "not-found" {
		return err
	}
	return m.Do(ctx, "disable", "--now", unitName)
}

// remove is the step that removes those files that are there.
func (r *removal) remove(paths ...string) step {
	var there []string
	for _, path := range paths {
		if exists(r.at(path)) {
			there = append(there, path)
		}
	}
	if len(there) == 0 {
		return step{text: paths[len(paths)-1] + ": it is not there"}
	}
	return step{"remove " + strings.Join(there, " and "), func(context.Context) error {
		var errs []error
		for _, path := range there {
			errs = append(errs, removeFile(r.at(path)))
		}
		return errors.Join(errs...)
	}}
}

// confirm asks for the word that data goes for good.
func (r *removal) confirm(c config) error {
	if r.yes {
		return nil
	}
	if _, err := fmt.Fprintf(r.stdout, "This removes %s with all volumes, logs and the node's key, and %s, for good.\nType the node's name, %s, to go on: ",
		c.StateDir, r.configFile(), c.Node.Name); err != nil {
		return err
	}
	answer, err := bufio.NewReader(io.LimitReader(r.stdin, 1<<10)).ReadString('\n')
	if strings.TrimSpace(answer) == c.Node.Name {
		return nil
	}
	if err != nil && strings.TrimSpace(answer) == "" {
		return usageError(errors.New("--purge: nobody answered; give --yes where there is nobody to ask"))
	}
	return errors.New("--purge: that is not the node's name; nothing was done")
}
