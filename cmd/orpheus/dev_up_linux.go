package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// upOptions are the flags of `dev up`.
type upOptions struct {
	nodes               int
	containerd, process bool
	repository          string
	agentConfig         string
	cpu, memory         string
	waitOptions
}

func (d *dev) upCommand() *cobra.Command {
	var o upOptions
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Make a fleet on this machine",
		Long: `Make a fleet on this machine, and wait until its agents run; with --wait also
until all services do, on all nodes.

The fleet's repository is a copy of --repository: what the branch that is checked
out there has committed, as branch main. Without it, the current folder is taken
if it has a fleet.yaml, else an example is made. To try more, push to the URL
that is printed; your own remotes are never touched.

With --containerd, which needs root, containerd and runc, each node has a network
namespace and a containerd of its own, reaches the world under this machine's
address, and is reached from here under its own. --process runs the process
driver only; without root, nodes then share this machine's network, so that
their ports are this machine's and "dev cut" has nothing to cut.

Images come from the registries that manifests name, or from the fleet's own,
which is printed and speaks plain HTTP. What agents need to know beyond that,
such as credentials of registries, comes from --agent-config: YAML that is laid
over each agent's configuration.

Exit codes: 0 it is up, with --wait its services too; 1 there is no fleet; 2 wrong
usage; 3 with --wait: the fleet is up, and stays, but not all its services are.`,
		Example: `  sudo orpheus dev up --nodes 5 --wait
  orpheus dev up --process --repository ~/src/fleet/prod`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.checkWait(cmd); err != nil {
				return usageError(err)
			}
			return d.up(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	o.addWaitFlags(cmd, "its services run")
	f.IntVar(&o.nodes, "nodes", 3, "how many nodes")
	f.BoolVar(&o.containerd, "containerd", false, "nodes that run containers; needs root (the default)")
	f.BoolVar(&o.process, "process", false, "nodes that run processes only")
	f.StringVar(&o.repository, "repository", "", "`folder` of the fleet.yaml in a checkout, or a bare repository")
	f.StringVar(&o.agentConfig, "agent-config", "", "`file` that is laid over each agent's configuration")
	f.StringVar(&o.cpu, "cpu", "", "what each node says it has, such as 4 (default: all of this machine)")
	f.StringVar(&o.memory, "memory", "", "what each node says it has, such as 8Gi (default: all of this machine)")
	cmd.MarkFlagsMutuallyExclusive("containerd", "process")
	return cmd
}

// up makes a fleet and says what is where.
func (d *dev) up(ctx context.Context, o upOptions) error {
	began := d.now()
	opts, source, err := d.plan(ctx, o)
	if err != nil {
		return err
	}
	lock, err := d.claim(opts.Dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	// An interrupt is the supervisor's to hear of, through its input.
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	s, err := startSupervisor(opts, lock)
	if err != nil {
		return errors.Join(err, removeDevDir(opts.Dir))
	}
	state, err := d.follow(ctx, s, source)
	if err != nil {
		s.giveUp()
		return err
	}
	d.report(state, source, opts, d.now().Sub(began))
	if !o.wait {
		return nil
	}
	return d.awaitServices(ctx, state, o.waitOptions, began)
}

// plan finds out all that can be known to be wrong before anything is made.
func (d *dev) plan(ctx context.Context, o upOptions) (opts serveOptions, source *devSource, err error) {
	opts = serveOptions{Name: d.name, Nodes: o.nodes, CPU: o.cpu, Memory: o.memory, Driver: planner.DriverContainerd}
	root := os.Geteuid() == 0
	if o.process {
		opts.Driver, opts.Loopback = planner.DriverProcess, !root
	}
	if o.nodes < 1 || o.nodes > devfleet.MaxNodes {
		return opts, nil, usageError(fmt.Errorf("--nodes %d: write 1 to %d", o.nodes, devfleet.MaxNodes))
	}
	if why := devfleet.Missing(opts.Driver); why != "" {
		if !o.process {
			why += "; or take --process, for nodes that run processes only"
		}
		return opts, nil, fmt.Errorf("a fleet cannot run here: %s", why)
	}
	if opts.Dir, err = d.dir(); err != nil {
		return opts, nil, err
	}
	if o.agentConfig != "" {
		text, err := os.ReadFile(o.agentConfig)
		if err != nil {
			return opts, nil, usageError(fmt.Errorf("--agent-config: %w", err))
		}
		opts.AgentConfig = string(text)
	}
	if source, err = findSource(ctx, o.repository); err != nil {
		return opts, nil, err
	}
	opts.Example = source == nil
	if source != nil && source.path != "." {
		if opts.AgentConfig, err = devfleet.Overlay(opts.AgentConfig, map[string]any{"repository": map[string]any{"path": source.path}}); err != nil {
			return opts, nil, usageError(fmt.Errorf("--agent-config: %w", err))
		}
	}
	if !opts.Loopback {
		subnet, err := devfleet.FreeSubnet()
		if err != nil {
			return opts, nil, err
		}
		opts.Subnet = subnet.String()
	}
	return opts, source, nil
}

// claim makes the folder of a new fleet and locks it.
func (d *dev) claim(dir string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the fleet: %w", err)
	}
	err := os.Mkdir(dir, 0o700)
	if err == nil {
		return lockFleet(dir, os.O_CREATE|os.O_EXCL)
	}
	if !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make the folder of the fleet: %w", err)
	}
	if _, err := d.alive(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("fleet %q is up already: see \"orpheus dev status%s\", end it with \"orpheus dev down%s\", or choose another --name",
		d.name, d.named(), d.named())
}

// starting is a supervisor that `dev up` has started.
type starting struct {
	cmd      *exec.Cmd
	dir      string
	input    io.WriteCloser
	progress *os.File
}

// startSupervisor runs it in the background, away from the terminal.
func startSupervisor(opts serveOptions, lock *os.File) (*starting, error) {
	progress, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	log, err := os.OpenFile(filepath.Join(opts.Dir, devLog), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command("/proc/self/exe", "dev", "serve", "--name", opts.Name)
	cmd.Args[0] = "orpheus" // for lists of processes
	cmd.Dir = opts.Dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{theirs, lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if !opts.Loopback {
		outside, err := os.Open("/proc/self/ns/net")
		if err != nil {
			return nil, err
		}
		defer outside.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, outside)
		cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWNET | unix.CLONE_NEWNS
	}
	s := &starting{cmd: cmd, dir: opts.Dir, progress: progress}
	if s.input, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); errors.Is(err, unix.EPERM) && !opts.Loopback {
		return nil, errors.New("root may not make namespaces here: in a container, run it privileged; or take --process as another user")
	} else if err != nil {
		return nil, fmt.Errorf("start the supervisor of the fleet: %w", err)
	}
	return s, json.NewEncoder(s.input).Encode(opts)
}

// giveUp has the supervisor take everything away, and waits until it has.
func (s *starting) giveUp() {
	s.input.Close()
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	_ = s.cmd.Wait()                          // what it had to say was said
}

// follow shows the progress until agents run.
func (d *dev) follow(ctx context.Context, s *starting, source *devSource) (*devState, error) {
	stop := context.AfterFunc(ctx, func() { _ = s.progress.SetReadDeadline(time.Now()) })
	defer stop()
	lines := json.NewDecoder(s.progress)
	for seen := 0; ; {
		var p serveProgress
		switch err := lines.Decode(&p); {
		case ctx.Err() != nil:
			return nil, errors.New("interrupted; everything is taken away again")
		case err != nil:
			text, _ := os.ReadFile(filepath.Join(s.dir, devLog))
			return nil, fmt.Errorf("the supervisor of the fleet ended:\n%s", text)
		case p.Error != "":
			return nil, errors.New(p.Error)
		case p.State == nil:
			if text := p.Doing + p.Note; text != "" {
				fmt.Fprintln(d.stdout, text)
			}
			continue
		}
		if seen++; seen == 2 {
			return p.State, nil
		}
		if source != nil {
			if err := source.push(ctx, p.State.Repository); err != nil {
				return nil, err
			}
		}
		if err := json.NewEncoder(s.input).Encode("start"); err != nil {
			return nil, fmt.Errorf("start the agents: %w", err)
		}
	}
}

// report says what is where, and what to do with it.
func (d *dev) report(st *devState, source *devSource, opts serveOptions, took time.Duration) {
	w := d.stdout
	what := "containers"
	if opts.Driver == planner.DriverProcess {
		what = "processes"
	}
	if len(st.Nodes) == 1 {
		what = "that runs " + what
	} else {
		what = "that run " + what
	}
	fmt.Fprintf(w, "\nFleet %q is up in %.1f s: %s %s.\n\n", st.Name, took.Seconds(), count(len(st.Nodes), "node"), what)
	from := "an example"
	if source != nil {
		from = "a copy of " + source.describe()
	}
	fmt.Fprintf(w, "  Git       %s, branch main: %s\n", st.GitURL, from)
	if st.Registry != "" {
		fmt.Fprintf(w, "  Registry  %s, plain HTTP, for images of your own\n", st.Registry)
	}
	if st.Host != "" {
		fmt.Fprintf(w, "  Host      %s: this machine, as nodes and what runs on them reach it\n", st.Host)
	}
	for _, n := range st.Nodes {
		fmt.Fprintf(w, "  %-9s %s\n", n.Name, n.Address)
	}
	if source != nil && source.changed > 0 {
		fmt.Fprintf(w, "\nNot committed in %s, and so not in the fleet: %s.\n", source.top, count(source.changed, "change"))
	}
	name := d.named()
	fmt.Fprintln(w, "\nDeploy")
	if source != nil && source.top != "" {
		fmt.Fprintf(w, "  git remote add %s %s && git push %s HEAD:main\n", st.Name, st.GitURL, st.Name)
	} else {
		fmt.Fprintf(w, "  git clone %s fleet && cd fleet    # change, commit, push\n", st.GitURL)
	}
	fmt.Fprintf(w, "Watch\n  orpheus dev status%s\n  orpheus status --watch --socket %s\n", name, st.Nodes[0].Socket)
	fmt.Fprintf(w, "Break\n  orpheus dev kill %s%s    # and: start", st.Nodes[len(st.Nodes)-1].Name, name)
	if !opts.Loopback {
		fmt.Fprint(w, ", cut --from "+sides()+", heal")
	}
	fmt.Fprintf(w, "\nEnd\n  orpheus dev down%s\n", name)
}
