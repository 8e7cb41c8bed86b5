package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

const (
	// maxSSHNoise is what a login may print before the greeting, in bytes.
	maxSSHNoise = 64 << 10
	// maxSSHWords is how much of ssh's last words is kept, in bytes.
	maxSSHWords = 4 << 10
	// sshLinger is how long a connection that broke is waited for to say why.
	sshLinger = time.Second
)

// sshOptions come after the user's own, of which ssh takes the first it sees. It
// asks nothing, since several run at once; it carries no terminal, screen or
// forwarded port; it notices when the other side has gone.
var sshOptions = []string{
	"-T", "-x", "-a", "-o", "BatchMode=yes", "-o", "ClearAllForwardings=yes", "-o", "RemoteCommand=none",
	"-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3", "-o", "LogLevel=ERROR",
}

// sshConn is a connection to the agent of a node: the standard input and output of
// an ssh that runs "orpheus dial-stdio" there.
type sshConn struct {
	host   string
	cmd    *exec.Cmd
	in     *os.File
	out    *os.File
	reader *bufio.Reader
	words  *sshWords
	ended  chan struct{} // closed when ssh has
	once   sync.Once
	onEnd  func() // nil = nobody wants to know
}

// dialSSH opens a connection to the agent at a host. The host is no option of ssh's,
// and no text of a record's is in the command that the node's shell reads.
func dialSSH(ctx context.Context, o viaOptions, host string) (*sshConn, error) {
	args := slices.Concat(o.ssh[1:], sshOptions, []string{"--", host, o.command + " dial-stdio"})
	c := &sshConn{host: host, cmd: exec.Command(o.ssh[0], args...), words: &sshWords{}, ended: make(chan struct{})}
	if err := c.start(); err != nil {
		return nil, fmt.Errorf("run %s: %w", o.ssh[0], err)
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	stop := context.AfterFunc(ctx, c.kill)
	err := c.greeted()
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err == nil {
		return c, nil
	}
	select {
	case <-c.ended: // by itself: its code counts
	case <-ctx.Done():
	case <-time.After(sshLinger):
	}
	c.kill()
	<-c.ended
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		text := fmt.Sprintf("no answer within %s", o.timeout)
		if said := c.words.text(); said != "" {
			text += ": " + said
		}
		return nil, errors.New(text)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return nil, c.whyNot(err)
}

// start runs ssh. Its own Ctrl-C is not that of this program, which ends it.
func (c *sshConn) start() error {
	in, toSSH, err := os.Pipe()
	if err != nil {
		return err
	}
	fromSSH, out, err := os.Pipe()
	if err != nil {
		return errors.Join(err, in.Close(), toSSH.Close())
	}
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = in, out, c.words
	c.cmd.WaitDelay = sshLinger // a master that stays behind keeps the standard error open
	detach(c.cmd)
	err = c.cmd.Start()
	in.Close()
	out.Close()
	if err != nil {
		return errors.Join(err, toSSH.Close(), fromSSH.Close())
	}
	c.in, c.out, c.reader = toSSH, fromSSH, bufio.NewReaderSize(fromSSH, 32<<10)
	go func() {
		_ = c.cmd.Wait() // its state tells
		close(c.ended)
	}()
	return nil
}

// greeted reads up to the greeting.
func (c *sshConn) greeted() error {
	for left := maxSSHNoise; left > 0; {
		line, err := c.reader.ReadSlice('\n')
		if strings.TrimRight(string(line), "\r\n") == stdioGreeting {
			return nil
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		left -= len(line)
	}
	return fmt.Errorf("it prints more than %d bytes where the agent should answer: does its login shell?", maxSSHNoise)
}

// whyNot says why there is no connection, in the words of ssh and of the node.
func (c *sshConn) whyNot(cause error) error {
	said := c.words.text()
	remedy := ""
	switch code := c.cmd.ProcessState.ExitCode(); {
	case code == 255 && strings.Contains(said, "Host key verification failed"):
		remedy = "log in once by hand and compare its key"
	case code == 255 && strings.Contains(said, "Permission denied"):
		remedy = "no key of yours is let in without asking: name the user and the key in your ssh configuration, load the key into your agent"
	case code == 127 || strings.Contains(said, "command not found"):
		remedy = "there is no such program on its PATH: name it with --ssh-command"
	case code == exitDenied:
		remedy = "with --ssh-command \"sudo -n orpheus\" it is asked as root"
	case strings.Contains(said, `no verb "dial-stdio"`):
		remedy = "the orpheus there is older than this one: update it"
	}
	switch {
	case said == "" && (cause == nil || errors.Is(cause, io.EOF) || errors.Is(cause, os.ErrClosed)):
		said = fmt.Sprintf("ssh ended with code %d and said nothing", c.cmd.ProcessState.ExitCode())
	case said == "":
		said = cause.Error()
	}
	if remedy != "" {
		said += "; " + remedy
	}
	return errors.New(said)
}

// Read returns io.EOF where the agent ended the connection, else what broke it.
func (c *sshConn) Read(b []byte) (int, error) {
	n, err := c.reader.Read(b)
	if err == nil {
		return n, nil
	}
	select {
	case <-c.ended:
	case <-time.After(sshLinger):
		return n, err
	}
	if state := c.cmd.ProcessState; state != nil && !state.Success() && c.words.text() != "" {
		return n, fmt.Errorf("%w: %w", net.ErrClosed, c.whyNot(err))
	}
	return n, err
}

func (c *sshConn) Write(b []byte) (int, error) { return c.in.Write(b) }

// Close ends ssh, and with it what it runs on the node.
func (c *sshConn) Close() error {
	c.kill()
	<-c.ended
	return nil
}

func (c *sshConn) kill() {
	c.once.Do(func() {
		c.in.Close()
		_ = c.cmd.Process.Kill() // it may have ended
		c.out.Close()
		if c.onEnd != nil {
			c.onEnd()
		}
	})
}

type sshAddr string

func (a sshAddr) Network() string { return "ssh" }
func (a sshAddr) String() string  { return string(a) }

func (c *sshConn) LocalAddr() net.Addr  { return sshAddr("") }
func (c *sshConn) RemoteAddr() net.Addr { return sshAddr(c.host) }

func (c *sshConn) SetDeadline(t time.Time) error {
	return errors.Join(c.out.SetReadDeadline(t), c.in.SetWriteDeadline(t))
}
func (c *sshConn) SetReadDeadline(t time.Time) error  { return c.out.SetReadDeadline(t) }
func (c *sshConn) SetWriteDeadline(t time.Time) error { return c.in.SetWriteDeadline(t) }

// sshWords keeps the end of what is written to it.
type sshWords struct {
	mu   sync.Mutex
	kept []byte
}

func (l *sshWords) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = append(l.kept, b[max(0, len(b)-maxSSHWords):]...)
	l.kept = slices.Clone(l.kept[max(0, len(l.kept)-maxSSHWords):])
	return len(b), nil
}

// text is that on one line, harmless, without blank lines and the word Error.
func (l *sshWords) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var parts []string
	for line := range bytes.SplitSeq(l.kept, []byte("\n")) {
		part := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(string(line)), "Error:"))
		if part != "" && !slices.Contains(parts, part) {
			parts = append(parts, part)
		}
	}
	return planner.OneLine(strings.Join(parts, ": "), maxShownReason)
}
