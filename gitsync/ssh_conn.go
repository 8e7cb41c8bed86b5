package gitsync

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// sshConn is the connection to an SSH server: made when it is needed, kept
// between requests, made anew when it broke. Key, key files and known hosts
// are read at every dial, so that mending them needs no restart.
type sshConn struct {
	url        remoteURL
	keyFile    string
	knownHosts string
	patience   time.Duration // for one step: dial, handshake, channel

	turn   chan struct{} // holds one token; who has it may dial
	mu     sync.Mutex
	client *ssh.Client // nil = none
	closed bool
}

// lastWords is how long a channel that we closed may keep the server from
// saying so. After that the connection is taken for dead.
const lastWords = 2 * time.Second

func newSSHConn(s settings) *sshConn {
	return &sshConn{url: s.remote, keyFile: s.SSHKeyFile, knownHosts: s.KnownHostsFile,
		patience: min(10*time.Second, s.Limits.Idle), turn: make(chan struct{}, 1)}
}

// close ends the connection and everything on it.
func (c *sshConn) close() {
	c.mu.Lock()
	c.closed = true
	client := c.client
	c.mu.Unlock()
	if client != nil {
		client.Close()
	}
}

// session opens a channel. A kept connection that turns out to be broken is
// replaced once: nothing was asked over it yet.
func (c *sshConn) session(ctx context.Context) (*sshSession, error) {
	for {
		client, fresh, err := c.connect(ctx)
		if err != nil {
			return nil, err
		}
		s, err := c.open(ctx, client)
		var refused *ssh.OpenChannelError
		switch {
		case err == nil:
			return &sshSession{Session: s, client: client}, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.As(err, &refused):
			return nil, c.errorf("opens no channel: %s", printable(err.Error(), 200))
		}
		client.Close()
		c.forget(client)
		if fresh {
			return nil, c.errorf("opens no channel: %s", printable(err.Error(), 200))
		}
	}
}

// open asks for a channel and waits no longer than patience.
func (c *sshConn) open(ctx context.Context, client *ssh.Client) (*ssh.Session, error) {
	type opened struct {
		session *ssh.Session
		err     error
	}
	result := make(chan opened)
	gone := make(chan struct{})
	go func() {
		s, err := client.NewSession()
		select {
		case result <- opened{s, err}:
		case <-gone:
			if err == nil {
				s.Close()
			}
		}
	}()
	timer := time.NewTimer(c.patience)
	defer timer.Stop()
	select {
	case o := <-result:
		return o.session, o.err
	case <-ctx.Done():
		close(gone)
		return nil, context.Cause(ctx)
	case <-timer.C:
		close(gone)
		return nil, fmt.Errorf("no answer within %s", c.patience)
	}
}

// connect returns the connection, and whether it was made just now.
func (c *sshConn) connect(ctx context.Context) (client *ssh.Client, fresh bool, err error) {
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, false, context.Cause(ctx)
	}
	defer func() { <-c.turn }()
	c.mu.Lock()
	client, closed := c.client, c.closed
	c.mu.Unlock()
	switch {
	case closed:
		return nil, false, c.errorf("is no longer asked: the connection was closed")
	case client != nil:
		return client, false, nil
	}
	if client, err = c.dial(ctx); err != nil {
		return nil, false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		client.Close()
		return nil, false, c.errorf("is no longer asked: the connection was closed")
	}
	c.client = client
	go func() { // ends with the connection
		_ = client.Wait()
		c.forget(client)
	}()
	return client, true, nil
}

func (c *sshConn) forget(client *ssh.Client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client == client {
		c.client = nil
	}
}

// dial connects, makes sure of the server and shows our key.
func (c *sshConn) dial(ctx context.Context) (*ssh.Client, error) {
	address := c.url.sshAddress()
	hosts, err := loadKnownHosts(c.knownHosts)
	if err != nil {
		return nil, err
	}
	keys, release, err := sshKeys(c.keyFile, os.Getenv("SSH_AUTH_SOCK"), c.patience)
	if err != nil {
		return nil, err
	}
	defer release()
	config := &ssh.ClientConfig{
		User:              c.url.user,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(keys...)},
		HostKeyCallback:   hosts.verify,
		HostKeyAlgorithms: hosts.algorithms(address),
		ClientVersion:     "SSH-2.0-orpheus",
	}
	dialer := net.Dialer{Timeout: c.patience, KeepAlive: 30 * time.Second}
	tcp, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, c.dialError(ctx, err)
	}
	// The handshake knows no context: it ends with the connection.
	_ = tcp.SetDeadline(time.Now().Add(c.patience))
	stop := context.AfterFunc(ctx, func() { tcp.Close() })
	conn, channels, requests, err := ssh.NewClientConn(tcp, address, config)
	if !stop() && err == nil {
		conn.Close()
		err = context.Cause(ctx)
	}
	if err != nil {
		tcp.Close()
		return nil, c.dialError(ctx, err)
	}
	_ = tcp.SetDeadline(time.Time{})
	return ssh.NewClient(conn, channels, requests), nil
}

// dialError gives an error of dialling its kind.
func (c *sshConn) dialError(ctx context.Context, err error) error {
	var known *remoteError // of the check of the host's key
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &known):
		return known
	case strings.Contains(err.Error(), "unable to authenticate"): // the library has no type for it
		return sshRefused("%s does not let user %s in with %s; add its public key there", c.url.host, c.url.user, c.keyName())
	}
	return c.errorf("cannot be talked to: %s", printable(strings.TrimPrefix(err.Error(), "ssh: "), 300))
}

func (c *sshConn) keyName() string {
	if c.keyFile != "" {
		return "the key in " + c.keyFile
	}
	return "any key of the ssh-agent"
}

func (c *sshConn) errorf(format string, args ...any) *remoteError {
	return &remoteError{kind: ErrUnreachable, text: c.url.host + " " + fmt.Sprintf(format, args...)}
}

// sshSession is a channel that can be left although the server is silent.
type sshSession struct {
	*ssh.Session
	client *ssh.Client

	mu    sync.Mutex
	timer *time.Timer // takes the connection down; nil = not set
	ended bool
}

// abandon closes the channel. What waits for the server returns when it
// confirms, or with the connection after lastWords.
func (s *sshSession) abandon() {
	_ = s.Session.Close() // an error means that it is closed
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended && s.timer == nil {
		s.timer = time.AfterFunc(lastWords, func() { s.client.Close() })
	}
}

// end closes the channel; nobody waits for anything of it.
func (s *sshSession) end() {
	_ = s.Session.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	if s.timer != nil {
		s.timer.Stop()
	}
}
