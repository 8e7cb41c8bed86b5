package devfleet

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// program is a process that this program started.
type program struct {
	cmd  *exec.Cmd
	done chan struct{} // closed once it has ended and was collected
}

// run starts a command and collects it when it ends.
func run(cmd *exec.Cmd, start func(*exec.Cmd) error) (*program, error) {
	if err := start(cmd); err != nil {
		return nil, err
	}
	p := &program{cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(p.done)
	}()
	return p, nil
}

// end sends a signal that ends the program, and waits until it has.
func (p *program) end(sig os.Signal) error {
	err := p.cmd.Process.Signal(sig)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	<-p.done
	return err
}

// pid is 0 once the program has ended.
func (p *program) pid() int {
	select {
	case <-p.done:
		return 0
	default:
		return p.cmd.Process.Pid
	}
}

// StartAgent runs the agent as a user would.
func (n *Node) StartAgent() error {
	config, err := n.config()
	if err != nil {
		return err
	}
	file := filepath.Join(n.Dir, "agent.yaml")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return err
	}
	log, err := os.OpenFile(n.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	if err := os.MkdirAll(n.StateDir(), 0o700); err != nil {
		return err
	}
	cmd := exec.Command(n.opts.orpheus, "agent", "--config", file)
	cmd.Env = append(os.Environ(), n.env...)
	cmd.Stdout, cmd.Stderr = log, log
	n.agent, err = run(cmd, n.start)
	return err
}

// EndAgent sends the agent a signal that ends it, and waits until it has.
func (n *Node) EndAgent(sig os.Signal) error {
	if n.agent == nil {
		return nil
	}
	err := n.agent.end(sig)
	n.agent = nil
	return err
}

// AgentPID is the agent's process id, 0 while it does not run.
func (n *Node) AgentPID() int {
	if n.agent == nil {
		return 0
	}
	return n.agent.pid()
}

// LogFile is where the agents of this node log.
func (n *Node) LogFile() string { return filepath.Join(n.Dir, "agent.log") }

// AgentLog is the end of what the agents of this node logged.
func (n *Node) AgentLog(lines int) string {
	log, err := os.ReadFile(n.LogFile())
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(log)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
