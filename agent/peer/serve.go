package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

const (
	// idle is how long a caller may be silent, or take to say one thing.
	idle = 15 * time.Second
	// greeting bounds a handshake.
	greeting = 2 * time.Second
	// relisten is the wait before a port is tried again.
	relisten = 2 * time.Second
	// A caller may have a few connections, one of which is usually being
	// replaced; a new one counts as many things said.
	callerLines = 3
	callerRate  = 20 // things said per second
	callerBurst = 60
	lineCosts   = 10
)

// caller is who may call.
type caller struct {
	node   planner.NodeName
	lines  []net.Conn // oldest first
	bucket bucket
}

// admitOnly sets who may call; p.mu is held.
func (p *Peers) admitOnly(known map[string]planner.NodeName) {
	for key, c := range p.callers {
		if known[key] == c.node {
			continue
		}
		for _, conn := range c.lines {
			conn.Close()
		}
		delete(p.callers, key)
		p.notes.said(c.node, words{})
	}
	for key, node := range known {
		if p.callers[key] == nil && node != p.cfg.Node {
			p.callers[key] = &caller{node: node, bucket: bucket{rate: callerRate, burst: callerBurst}}
		}
	}
}

// admit refuses strangers during the handshake.
func (p *Peers) admit(c tls.ConnectionState) error {
	key, err := p.keyOf(c)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.callers[key] == nil {
		return errors.New("the caller's key is of no node of the fleet")
	}
	return nil
}

// listen keeps the port open until ctx ends.
func (p *Peers) listen(ctx context.Context) {
	for {
		err := p.serve(ctx)
		if ctx.Err() != nil {
			return
		}
		p.report(fmt.Sprintf("peers cannot reach this node: %v; free the address or set another one to listen on", err))
		select {
		case <-ctx.Done():
			return
		case <-time.After(relisten):
		}
	}
}

// report logs a problem of the port when it changes.
func (p *Peers) report(problem string) {
	p.mu.Lock()
	changed := problem != p.problem
	p.problem = problem
	p.mu.Unlock()
	switch {
	case changed && problem != "":
		p.cfg.Log.Error("peer port cannot be opened", "address", p.cfg.Listen, "err", problem)
	case changed:
		p.cfg.Log.Info("peer port is open again", "address", p.cfg.Listen)
	}
}

// serve accepts calls until the port fails or ctx ends.
func (p *Peers) serve(ctx context.Context) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", p.cfg.Listen)
	if err != nil {
		return fmt.Errorf("open the peer port: %w", err)
	}
	defer listener.Close()
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	p.open(listener.Addr().String())
	defer p.open("")
	p.report("")
	for pause := time.Duration(0); ; {
		conn, err := listener.Accept()
		switch {
		case err == nil:
			pause = 0
			p.running.Go(func() { p.receive(ctx, conn) })
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed) || pause > time.Second:
			return fmt.Errorf("accept on the peer port: %w", err)
		default: // such as no file descriptor left
			pause = max(10*time.Millisecond, 2*pause)
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	}
}

func (p *Peers) open(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.address = address
}

// receive greets a caller and answers it until it is silent for long.
func (p *Peers) receive(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	leave, ok := p.gate.enter(conn, time.Now())
	if !ok {
		p.refused.Add(1)
		return
	}
	secure := tls.Server(conn, p.server)
	conn.SetDeadline(time.Now().Add(greeting))
	err := secure.HandshakeContext(ctx)
	leave(err == nil, time.Now())
	if err != nil {
		p.refused.Add(1)
		p.cfg.Log.Debug("caller on the peer port refused", "from", conn.RemoteAddr(), "err", err)
		return
	}
	key, err := p.keyOf(secure.ConnectionState())
	if err != nil {
		return
	}
	c := p.join(key, conn)
	if c == nil {
		return
	}
	defer p.part(c, conn)
	err = p.answer(ctx, c, secure)
	p.cfg.Log.Debug("call of a peer ended", "node", c.node, "err", err)
}

// join adds a connection to those of its caller, in the place of the oldest
// if there are too many; nil = it may not call any more.
func (p *Peers) join(key string, conn net.Conn) *caller {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.callers[key]
	if c == nil {
		return nil
	}
	if len(c.lines) == callerLines {
		c.lines[0].Close()
		c.lines = slices.Delete(c.lines, 0, 1)
	}
	c.lines = append(c.lines, conn)
	c.bucket.take(lineCosts, time.Now())
	return c
}

func (p *Peers) part(c *caller, conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.lines = slices.DeleteFunc(c.lines, func(o net.Conn) bool { return o == conn })
}

// answer replies to what a caller says, no faster than it may, until an error
// ends the call.
func (p *Peers) answer(ctx context.Context, c *caller, conn net.Conn) error {
	var buf, last []byte
	var m message
	for {
		conn.SetDeadline(time.Now().Add(idle))
		var err error
		if buf, err = readFrame(conn, buf); err != nil {
			return err
		}
		if err := p.pace(ctx, c); err != nil {
			return err
		}
		if last == nil || !bytes.Equal(buf, last) {
			if m, err = decode(buf); err != nil {
				return err
			}
			last = append(last[:0], buf...)
		}
		p.heed(c, m)
		conn.SetDeadline(time.Now().Add(timeout))
		if _, err := conn.Write(*p.frame.Load()); err != nil {
			return err
		}
	}
}

// pace waits while a caller says more than it may.
func (p *Peers) pace(ctx context.Context, c *caller) error {
	p.mu.Lock()
	wait := c.bucket.take(1, time.Now())
	p.mu.Unlock()
	if wait == 0 {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait):
		return nil
	}
}

// heed passes on what a caller says.
func (p *Peers) heed(c *caller, m message) {
	p.notes.again(c.node, m.words)
	if m.Poke {
		p.poked.Add(1)
		select {
		case p.pokes <- c.node:
		default: // one waits already
		}
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); now.Sub(p.toldProbe) >= probedEvery {
		select {
		case p.probed <- c.node:
			p.toldProbe = now
		default: // the owner has not taken the last yet
		}
	}
}
