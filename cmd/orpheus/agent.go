//go:build linux

package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/agent"
	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/agent/event"
)

// nodeName is a DNS label, so that it can be part of paths, labels and refs.
var nodeName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

func init() { platformCommands = append(platformCommands, newAgentCommand) }

func newAgentCommand(e *env) *cobra.Command {
	var flags agentFlags
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run the agent of this node",
		Long: `Run the agent of this node: follow the fleet's repository and keep the node
in the state its manifests ask for. The agent may be stopped, killed or
upgraded at any time: what runs keeps running.

Configuration comes from ` + defaultConfigFile + ` (or --config); flags override it.
SIGHUP makes the agent look at the repository now.`,
		Example: `  orpheus agent --repository https://git.example.com/team/fleet.git --token-file /etc/orpheus/token
  orpheus agent --repository git@git.example.com:team/fleet.git --coordination none
  orpheus agent --repository /srv/git/fleet.git --branch main --path fleets/prod`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := flags.load()
			if err != nil {
				return err
			}
			return runAgent(cmd.Context(), c)
		},
	}
	flags.add(cmd)
	for _, sub := range []*cobra.Command{newAgentCheckCommand(e), newAgentInstallCommand(e), newAgentUninstallCommand(e)} {
		sub.Args = usageArgs(sub.Args)
		cmd.AddCommand(sub)
	}
	return cmd
}

// agentFlags are the flags that lie over the agent's configuration.
type agentFlags struct {
	file   string
	labels []string
	config config
	// noForeignRules is a flag that only takes away: a file cannot be overruled
	// to allow them.
	noForeignRules bool
}

func (a *agentFlags) add(cmd *cobra.Command) {
	f, c := cmd.Flags(), &a.config
	f.StringVar(&a.file, "config", "", "configuration file (default "+defaultConfigFile+" if it exists)")
	f.StringVar(&c.Repository.URL, "repository", "", "the fleet's repository: https://…, ssh://…, USER@HOST:PATH or an absolute path")
	f.StringVar(&c.Repository.Branch, "branch", "", "branch to follow (default main)")
	f.StringVar(&c.Repository.Tag, "tag", "", "tag to follow instead of a branch")
	f.StringVar(&c.Repository.Semver, "semver", "", "follow the highest version among the tags in this range, such as \">=1.2 <2\"")
	f.StringVar(&c.Repository.Commit, "commit", "", "the one commit to run (its full id); --branch says where to look for it")
	f.StringVar(&c.Repository.Path, "path", "", "folder of fleet.yaml in the repository (default: its top)")
	f.StringVar(&c.Repository.TokenFile, "token-file", "", "file with the token for the repository")
	f.StringVar(&c.Repository.CAFile, "ca-file", "", "file with certificates to trust for the repository, beside the system's")
	f.StringVar(&c.Repository.SSHKeyFile, "ssh-key-file", "", "private key to log in to the repository with over ssh")
	f.StringVar(&c.Repository.KnownHostsFile, "known-hosts-file", "", "keys of the ssh servers to talk to")
	f.StringVar(&c.Coordination, "coordination", "", "leases: share work with the other nodes; none: this node alone, reading only (default leases)")
	f.StringVar(&c.Node.Name, "node", "", "name of this node (default: the host's name)")
	f.StringSliceVar(&a.labels, "label", nil, "label of this node, KEY=VALUE; may be repeated")
	f.StringVar(&c.StateDir, "state-dir", "", "folder for what must survive a reboot (default "+defaultStateDir()+")")
	f.StringVar(&c.RunDir, "run-dir", "", "folder for sockets and mounts (default "+defaultRunDir()+")")
	f.StringVar(&c.Containerd.Address, "containerd", "", "socket of containerd (default its usual place)")
	f.BoolVar(&a.noForeignRules, "no-foreign-rules", false, "put no rule into other firewalls of this machine (Docker's, ufw's, firewalld's), also where they drop what instances send")
	f.StringVar(&c.API.Address, "listen", "", "loopback address of status and metrics, or none (default "+defaultAPIAddress+")")
	f.StringVar(&c.Log.Level, "log-level", "", "debug, info, warn or error (default info)")
	f.StringVar(&c.Log.Format, "log-format", "", "text or json (default text)")
}

// absolute makes the paths that flags name independent of the folder they were
// written in.
func (a *agentFlags) absolute() error {
	r := &a.config.Repository
	for _, path := range []*string{&a.file, &r.TokenFile, &r.CAFile, &r.SSHKeyFile, &r.KnownHostsFile} {
		if *path == "" {
			continue
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = abs
	}
	return nil
}

// load reads the file, lays the flags over it and completes it.
func (a *agentFlags) load() (config, error) {
	if err := a.absolute(); err != nil {
		return config{}, err
	}
	c, err := loadConfig(a.file)
	if err == nil {
		err = c.override(a.config, a.labels)
	}
	if err != nil {
		return c, err
	}
	if a.noForeignRules {
		c.Network.ForeignRules = new(bool)
	}
	if err := c.complete(); err != nil {
		return c, fmt.Errorf("configuration: %w", err)
	}
	return c, nil
}

// override lays what flags say over the file.
func (c *config) override(flags config, labels []string) error {
	for field, value := range map[*string]string{
		&c.Repository.URL:  flags.Repository.URL,
		&c.Repository.Path: flags.Repository.Path, &c.Repository.TokenFile: flags.Repository.TokenFile,
		&c.Repository.CAFile: flags.Repository.CAFile, &c.Repository.SSHKeyFile: flags.Repository.SSHKeyFile,
		&c.Repository.KnownHostsFile: flags.Repository.KnownHostsFile,
		&c.Coordination:              flags.Coordination, &c.Node.Name: flags.Node.Name,
		&c.StateDir: flags.StateDir, &c.RunDir: flags.RunDir, &c.Containerd.Address: flags.Containerd.Address,
		&c.API.Address: flags.API.Address, &c.Log.Level: flags.Log.Level, &c.Log.Format: flags.Log.Format,
	} {
		if value != "" {
			*field = value
		}
	}
	c.Repository.overrideSelection(flags.Repository)
	for _, l := range labels {
		key, value, ok := strings.Cut(l, "=")
		if !ok || key == "" {
			return fmt.Errorf("--label %q: write KEY=VALUE", l)
		}
		if c.Node.Labels == nil {
			c.Node.Labels = map[string]string{}
		}
		c.Node.Labels[key] = value
	}
	return nil
}

// gcPercent has the collector run twice as often as by default: the agent's
// heap is small and seldom changes, so that memory costs more than the time.
const gcPercent = 50

func runAgent(ctx context.Context, c config) error {
	// From the first moment: a hint must never end the agent.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	log := c.logger(os.Stderr)
	unlock, err := agent.Lock(c.StateDir)
	if err != nil {
		return err
	}
	defer unlock()
	events, err := event.Open(filepath.Join(c.StateDir, "events.jsonl"))
	if err != nil {
		log.Warn("events are kept in memory only", "err", err)
	}
	defer events.Close()
	log = slog.New(events.Handler(log.Handler()))
	manager := newNotifier(log)
	n, err := newNode(c, log)
	if err != nil {
		return err
	}
	defer func() {
		if err := n.close(); err != nil {
			log.Warn("not closed cleanly", "err", err)
		}
	}()
	a, metrics, err := n.agent()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	var helpers sync.WaitGroup
	defer helpers.Wait()
	defer stop()
	helpers.Go(func() { n.endOldPlugins(ctx) })
	helpers.Go(func() { n.watch(ctx) })
	helpers.Go(func() { n.keepNetwork(ctx) })
	helpers.Go(func() { n.watchGitFiles(ctx) })
	helpers.Go(func() { n.hangups(ctx, hup) })
	n.webhooks(ctx, a, &helpers, metrics)
	n.notifications(ctx, a, &helpers)
	served := api.Options{
		Address: c.apiAddress(), Socket: c.socket(), Status: a.Status, Health: a.Health, Metrics: metrics.Handler(),
		Network: n.networkState(n.describeNames), Endpoints: n.endpoints(a.Endpoints),
		LogRoot: agent.LogRoot(c.StateDir), Rollout: a.Rollout, Usage: a.Usage, Sync: n.hintNow, ResetFloor: n.resetFloor(a),
		Hold: a.Hold, Release: a.Release, Restart: a.Restart, Exec: a.Exec, Events: events, Log: log,
	}
	serving, err := api.Listen(served)
	if err != nil {
		return err
	}
	helpers.Go(func() {
		if err := serving.Run(ctx); err != nil {
			log.Error("status cannot be served", "err", err)
		}
	})
	helpers.Go(func() { n.serveBridge(ctx, a.Endpoints) })
	helpers.Go(func() { manager.follow(ctx, a.Alive, a.Status) })
	return a.Run(ctx)
}

// hangups turns SIGHUP into a look at the repository.
func (n *node) hangups(ctx context.Context, hup <-chan os.Signal) {
	for {
		select {
		case <-hup:
			n.log.Info("SIGHUP: looking at the repository now")
			n.hintNow()
		case <-ctx.Done():
			return
		}
	}
}
