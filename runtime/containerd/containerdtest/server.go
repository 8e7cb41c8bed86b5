//go:build linux

// Package containerdtest runs a private containerd beside whatever else is on
// the machine: its own folders and socket, none of the system's services. Tests,
// benchmarks and the demo use it. It needs root and containerd, a shim and runc
// on PATH; Missing says what is not there.
package containerdtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/client"
)

// maxSocket is how long the path of a unix socket may be, with some room for
// what containerd appends.
const maxSocket = 90

// startTimeout is how long a containerd may take to answer.
const startTimeout = 30 * time.Second

// Options of a server. The zero value is the containerd on PATH.
type Options struct {
	// Binary is containerd; "" = the first on PATH. A shim that lies beside it
	// is used before others.
	Binary string
	// Start starts the daemon's process in namespaces, say, that are not ours;
	// nil = exec.Cmd.Start.
	Start func(*exec.Cmd) error
}

// Server is one private containerd. Its methods are not for concurrent use.
type Server struct {
	// Address is the path of its socket.
	Address string

	dir    string
	binary string
	start  func(*exec.Cmd) error
	cmd    *exec.Cmd
	exited chan error
}

// Missing says why no containerd can be run here; "" if it can.
func Missing() string {
	if os.Geteuid() != 0 {
		return "running containers needs root"
	}
	for _, program := range []string{"containerd", "containerd-shim-runc-v2", "runc"} {
		if _, err := exec.LookPath(program); err != nil {
			return program + " is not on PATH: install containerd and runc"
		}
	}
	return ""
}

// Start runs a containerd with everything it has in dir, which is made, and
// removed by Close. It returns when the server answers.
func Start(dir string, opts Options) (*Server, error) {
	s := &Server{Address: filepath.Join(dir, "c.sock"), dir: dir, binary: opts.Binary, start: opts.Start}
	if s.start == nil {
		s.start = (*exec.Cmd).Start
	}
	if !filepath.IsAbs(dir) || len(s.Address) > maxSocket {
		return nil, fmt.Errorf("start containerd: folder %q must be absolute and its socket at most %d bytes", dir, maxSocket)
	}
	if s.binary == "" {
		var err error
		if s.binary, err = exec.LookPath("containerd"); err != nil {
			return nil, fmt.Errorf("start containerd: %w", err)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("start containerd: %w", err)
	}
	if err := os.WriteFile(s.path("config.toml"), []byte(s.config()), 0o600); err != nil {
		return nil, fmt.Errorf("start containerd: %w", err)
	}
	if err := s.run(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) path(name string) string { return filepath.Join(s.dir, name) }

// config leaves out what would look at the machine or at Kubernetes.
func (s *Server) config() string {
	return fmt.Sprintf(`version = 2
root = %q
state = %q
disabled_plugins = [
  "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
  "io.containerd.nri.v1.nri", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
[grpc]
  address = %q
[plugins."io.containerd.internal.v1.opt"]
  path = %q
`, s.path("root"), s.path("state"), s.Address, s.path("opt"))
}

// run starts the daemon and waits until it answers.
func (s *Server) run() error {
	log, err := os.OpenFile(s.path("log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("start containerd: %w", err)
	}
	defer log.Close()
	s.cmd = exec.Command(s.binary, "--config", s.path("config.toml"))
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(s.binary)+":"+os.Getenv("PATH"))
	if err := s.start(s.cmd); err != nil {
		s.cmd = nil
		return fmt.Errorf("start containerd: %w", err)
	}
	s.exited = make(chan error, 1)
	go func() { s.exited <- s.cmd.Wait() }()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		if s.answers(ctx) {
			return nil
		}
		select {
		case err := <-s.exited:
			s.cmd = nil
			return fmt.Errorf("start containerd: it ended: %v\n%s", err, s.logTail())
		case <-ctx.Done():
			return fmt.Errorf("start containerd: no answer in %s\n%s", startTimeout, s.logTail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *Server) answers(ctx context.Context) bool {
	if _, err := os.Stat(s.Address); err != nil {
		return false
	}
	c, err := client.New(s.Address, client.WithTimeout(time.Second))
	if err != nil {
		return false
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err = c.Version(ctx)
	return err == nil
}

func (s *Server) logTail() string {
	data, _ := os.ReadFile(s.path("log"))
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	return strings.TrimSpace(string(bytes.Join(lines[max(0, len(lines)-20):], []byte("\n"))))
}

// Pid is the daemon's process id, 0 while it does not run.
func (s *Server) Pid() int {
	if s.cmd == nil {
		return 0
	}
	return s.cmd.Process.Pid
}

// Kill kills the daemon alone: shims and containers live on.
func (s *Server) Kill() error {
	if s.cmd == nil {
		return nil
	}
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill containerd: %w", err)
	}
	<-s.exited
	s.cmd = nil
	return nil
}

// Restart kills the daemon if it runs and starts it again on the same state.
func (s *Server) Restart() error {
	if err := s.Kill(); err != nil {
		return err
	}
	return s.run()
}
