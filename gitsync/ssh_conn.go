package gitsync

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/orpheus-cd/orpheus/gitsync/transport"
)

// sshConn is the connection to an SSH server: made when it is needed, kept
// between requests, made anew when it broke, and when the key file or the known
// hosts have changed.
type sshConn struct {
	url        remoteURL
	route      *transport.Route
	keyFile    string
	knownHosts string
	patience   time.Duration // for one step: dial, handshake, channel

	turn   chan struct{} // holds one token; who has it may dial
	mu     sync.Mutex
	client *sshClient // nil = none
	closed bool
}

// sshClient is one connection. The lock of its sshConn guards it.
type sshClient struct {
	*ssh.Client
	stamp    fileStamp // of the files that it was let in with
	sessions int
	retired  bool // ends with its last session
}

// lastWords is how long a channel that we closed may keep the server from
// saying so. After that the connection is taken for dead.
const lastWords = 2 * time.Second

func newSSHConn(s settings) *sshConn {
	return &sshConn{url: s.remote, route: s.route, keyFile: s.SSHKeyFile, knownHosts: s.KnownHostsFile,
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
			return &sshSession{Session: s, client: client, conn: c}, nil
		}
		c.release(client)
		switch {
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
func (c *sshConn) open(ctx context.Context, client *sshClient) (*ssh.Session, error) {
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

// connect returns the connection, and whether it was made just now. It counts
// the session that is about to be opened: release takes it back.
func (c *sshConn) connect(ctx context.Context) (client *sshClient, fresh bool, err error) {
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, false, context.Cause(ctx)
	}
	defer func() { <-c.turn }()
	stamp := c.stamp() // before dial reads the files
	if client, err = c.kept(stamp); client != nil || err != nil {
		return client, false, err
	}
	made, err := c.dial(ctx)
	if err != nil {
		return nil, false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		made.Close()
		return nil, false, c.errorf("is no longer asked: the connection was closed")
	}
	client = &sshClient{Client: made, stamp: stamp, sessions: 1}
	c.client = client
	go func() { // ends with the connection
		_ = client.Wait()
		c.forget(client)
	}()
	return client, true, nil
}

// kept is the connection there is, if the files it was let in with are still
// the same.
func (c *sshConn) kept(stamp fileStamp) (*sshClient, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return nil, c.errorf("is no longer asked: the connection was closed")
	case c.client == nil:
		return nil, nil
	case c.client.stamp != stamp:
		c.client.retired = true
		if c.client.sessions == 0 {
			c.client.Close()
		}
		c.client = nil
		return nil, nil
	}
	c.client.sessions++
	return c.client, nil
}

// release is told of every session that ends.
func (c *sshConn) release(client *sshClient) {
	c.mu.Lock()
	defer c.mu.Unlock()
	client.sessions--
	if client.retired && client.sessions == 0 {
		client.Close()
	}
}

func (c *sshConn) forget(client *sshClient) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client == client {
		c.client = nil
	}
}

// stamp is that of the files which say who we and the server are.
func (c *sshConn) stamp() fileStamp {
	hosts := []string{c.knownHosts}
	if c.knownHosts == "" {
		hosts = usualKnownHosts()
	}
	return stampFiles(append(hosts, c.keyFile)...)
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
	tcp, err := c.route.Dial(ctx, address)
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
	var way *transport.Error
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &known):
		return known
	case errors.As(err, &way):
		return &remoteError{kind: ErrUnreachable, text: way.Error()}
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
	client *sshClient
	conn   *sshConn

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
	if s.ended {
		return
	}
	s.ended = true
	if s.timer != nil {
		s.timer.Stop()
	}
	s.conn.release(s.client)
}
