package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
)

// serveOptions are what `dev up` tells the supervisor, as the first document on
// its standard input. A second one, of any content, says that the repository
// is as it should be and agents may start; if the input ends before, nobody
// wants the fleet any more.
type serveOptions struct {
	Name        string `json:"name"`
	Dir         string `json:"dir"`
	Nodes       int    `json:"nodes"`
	Driver      string `json:"driver"`
	Loopback    bool   `json:"loopback"`
	Subnet      string `json:"subnet,omitempty"`
	CPU         string `json:"cpu,omitempty"`
	Memory      string `json:"memory,omitempty"`
	AgentConfig string `json:"agentConfig,omitempty"`
	Example     bool   `json:"example"` // make a repository with something to see
}

// serveProgress is what the supervisor tells `dev up`, a document a line.
type serveProgress struct {
	Doing string    `json:"doing,omitempty"`
	State *devState `json:"state,omitempty"` // twice: nodes are on, agents run
	Error string    `json:"error,omitempty"`
	Note  string    `json:"note,omitempty"`
}

// The files that `dev up` hands over beside the standard ones.
const (
	progressFD = 3 + iota
	lockFD
	outsideFD // only where nodes have networks of their own
)

// supervisor owns a fleet: its servers run in it, its nodes end with it.
type supervisor struct {
	opts    serveOptions
	log     *slog.Logger
	started time.Time
	lock    *os.File // held for as long as it lives

	mu      sync.Mutex // one order at a time
	cluster *devfleet.Cluster
	gone    chan struct{} // closed by down
}

func (d *dev) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "serve",
		Short:  "Supervise a fleet, for dev up",
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			progress, lock := inherit(progressFD), inherit(lockFD)
			defer progress.Close()
			defer lock.Close()
			tell := json.NewEncoder(progress)
			err := serveFleet(cmd.Context(), lock, os.Stdin, tell)
			if err != nil {
				_ = tell.Encode(serveProgress{Error: err.Error()}) // or nobody is left to be told
			}
			return err
		},
	}
}

// inherit takes over a file from `dev up`, and keeps it from the nodes.
func inherit(fd int) *os.File {
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "inherited")
}

func serveFleet(ctx context.Context, lock *os.File, in io.Reader, tell *json.Encoder) error {
	s := &supervisor{started: time.Now(), lock: lock, gone: make(chan struct{}), log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	input := json.NewDecoder(in)
	if err := input.Decode(&s.opts); err != nil {
		return fmt.Errorf("read what fleet to make: %w", err)
	}
	signal.Ignore(syscall.SIGHUP) // the terminal may go
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	// Before anybody is told that the fleet is up: orders wait until it is.
	l, err := net.Listen("unix", filepath.Join(s.opts.Dir, devControl))
	if err != nil {
		return errors.Join(fmt.Errorf("listen for orders: %w", err), s.down())
	}
	defer l.Close()
	if err := s.up(ctx, input, tell); err != nil {
		return errors.Join(err, s.down())
	}
	err = s.serve(ctx, l)
	return errors.Join(err, s.down())
}

// up makes the fleet.
func (s *supervisor) up(ctx context.Context, input *json.Decoder, tell *json.Encoder) error {
	if _, err := fmt.Fprintln(s.lock, os.Getpid()); err != nil {
		return err
	}
	opts, err := s.clusterOptions(tell)
	if err != nil {
		return err
	}
	c, err := devfleet.NewCluster(ctx, opts)
	if err != nil {
		return err
	}
	s.cluster = c
	if s.opts.Example {
		note, err := commitExample(c, s.opts)
		if err != nil {
			return fmt.Errorf("make the example: %w", err)
		}
		_ = tell.Encode(serveProgress{Note: note})
	}
	state := s.state()
	_ = tell.Encode(serveProgress{State: &state})
	var start any
	if err := input.Decode(&start); err != nil {
		return errors.New("given up before its agents were started")
	}
	_ = tell.Encode(serveProgress{Doing: "Starting the agents"})
	if err := c.StartAgents(); err != nil {
		return err
	}
	if err := awaitAgents(ctx, c); err != nil {
		return err
	}
	state = s.state()
	_ = tell.Encode(serveProgress{State: &state})
	return nil
}

func (s *supervisor) clusterOptions(tell *json.Encoder) (devfleet.ClusterOptions, error) {
	exe, err := os.Executable()
	if err != nil {
		return devfleet.ClusterOptions{}, err
	}
	opts := devfleet.ClusterOptions{
		Orpheus: exe, Driver: s.opts.Driver, Nodes: s.opts.Nodes, Dir: filepath.Join(s.opts.Dir, devFleet), Loopback: s.opts.Loopback,
		CPU: s.opts.CPU, Memory: s.opts.Memory, Config: s.opts.AgentConfig,
	}
	var telling sync.Mutex
	opts.Progress = func(text string) {
		telling.Lock()
		defer telling.Unlock()
		_ = tell.Encode(serveProgress{Doing: text})
	}
	if s.opts.Loopback {
		return opts, nil
	}
	opts.Outside = inherit(outsideFD)
	if err := devfleet.SettleIn(); err != nil {
		return opts, err
	}
	return opts, opts.Subnet.UnmarshalText([]byte(s.opts.Subnet))
}

// agentPatience is how long agents may take until they answer.
const agentPatience = time.Minute

// awaitAgents waits until every agent answers, or has ended.
func awaitAgents(ctx context.Context, c *devfleet.Cluster) error {
	ctx, cancel := context.WithTimeout(ctx, agentPatience)
	defer cancel()
	for _, n := range c.Nodes {
		for {
			if _, err := n.Status(ctx); err == nil {
				break
			} else if n.AgentPID() == 0 || ctx.Err() != nil {
				return fmt.Errorf("the agent of %s does not run; its last words:\n%s", n.Name, n.AgentLog(10))
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

// serve obeys until the fleet goes down or ctx ends.
func (s *supervisor) serve(ctx context.Context, l net.Listener) (err error) {
	server := &http.Server{Handler: s.controlHandler(), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err = <-failed:
		return err
	case <-ctx.Done():
		err = server.Close()
	case <-s.gone:
		// The one who asked gets an answer.
		err = server.Shutdown(context.WithoutCancel(ctx))
	}
	<-failed
	return err
}

// obey carries out an order; the caller holds mu.
func (s *supervisor) obey(o devOrder) error {
	n, err := s.node(o.Node)
	if err != nil {
		return err
	}
	switch {
	case o.Verb == "kill" && o.AgentOnly:
		return n.EndAgent(syscall.SIGKILL)
	case o.Verb == "kill":
		return n.Kill()
	case o.Verb == "start":
		if err := n.Start(); err != nil || n.AgentPID() != 0 {
			return err
		}
		return n.StartAgent()
	case o.Verb == "cut":
		return n.Cut(o.From)
	case o.Verb == "heal":
		return n.Heal()
	}
	return fmt.Errorf("there is no verb %q", o.Verb)
}

func (s *supervisor) node(name string) (*devfleet.Node, error) {
	if s.cluster == nil {
		return nil, errors.New("the fleet is going down")
	}
	return s.cluster.Node(name)
}

// state describes the fleet; the caller holds mu or is alone.
func (s *supervisor) state() devState {
	st := devState{Name: s.opts.Name, PID: os.Getpid(), StartedAt: s.started, Driver: s.opts.Driver}
	c := s.cluster
	if c == nil {
		return st
	}
	st.GitURL, st.Repository = c.RepoURL(), c.Repo.Dir
	if c.Registry != nil {
		st.Registry = c.Registry.Host
	}
	if host := c.Host(); host.IsValid() {
		st.Host = host.String()
	}
	for _, n := range c.Nodes {
		node := devNode{Name: n.Name, On: n.On(), Address: n.Address.String(), Agent: n.AgentPID(),
			Processes: n.Processes(), Cut: n.CutFrom(), Socket: n.Socket(), Log: n.LogFile()}
		if n.Containerd != nil {
			node.Containerd = n.Containerd.Pid()
		}
		st.Nodes = append(st.Nodes, node)
	}
	return st
}

// down takes the fleet away, once, and its folder with it. What cannot be taken
// away stays there for another try.
func (s *supervisor) down() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cluster != nil {
		if err := s.cluster.Close(); err != nil {
			return err
		}
		s.cluster = nil
	}
	select {
	case <-s.gone:
	default:
		close(s.gone)
	}
	if _, err := os.Lstat(filepath.Join(s.opts.Dir, devFleet)); err == nil {
		return nil // a half-made fleet that could not be taken away: the error has been told
	}
	return removeDevDir(s.opts.Dir)
}
