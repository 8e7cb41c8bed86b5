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
	gone   bool       // it may not call any more
	lines  []net.Conn // oldest first
	bucket bucket
	// The connections over which it announces, and what it may.
	hears   []net.Conn
	hearing bucket
}

// admitOnly sets who may call; p.mu is held.
func (p *Peers) admitOnly(known map[string]planner.NodeName) {
	for key, c := range p.callers {
		if known[key] == c.node {
			continue
		}
		for _, conn := range slices.Concat(c.lines, c.hears) {
			conn.Close()
		}
		c.gone = true
		delete(p.callers, key)
		p.notes.said(c.node, words{})
		p.hearsay.forget(c.node)
	}
	for key, node := range known {
		if p.callers[key] == nil && node != p.cfg.Node {
			p.callers[key] = &caller{
				node: node, bucket: bucket{rate: callerRate, burst: callerBurst}, hearing: bucket{rate: hearRate, burst: hearBurst},
			}
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
	state := secure.ConnectionState()
	key, err := p.keyOf(state)
	if err != nil {
		return
	}
	announces := state.NegotiatedProtocol == announcing
	c, line := p.join(key, conn, announces)
	if c == nil {
		return
	}
	defer p.part(c, conn)
	if announces {
		err = p.hear(ctx, c, secure, line)
	} else {
		err = p.answer(ctx, c, secure)
	}
	p.cfg.Log.Debug("call of a peer ended", "node", c.node, "err", err)
}

// join adds a connection to those of its caller, in the place of the oldest of
// its kind if there are too many, and numbers it; nil = it may not call any
// more.
func (p *Peers) join(key string, conn net.Conn, announces bool) (c *caller, line uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c = p.callers[key]; c == nil {
		return nil, 0
	}
	p.lines++
	if announces {
		c.hears = within(c.hears, conn, hearLines)
		c.hearing.take(hearLineCosts, time.Now())
	} else {
		c.lines = within(c.lines, conn, callerLines)
		c.bucket.take(lineCosts, time.Now())
	}
	return c, p.lines
}

// within adds a connection to a bounded number of them: the oldest ends.
func within(lines []net.Conn, conn net.Conn, most int) []net.Conn {
	if len(lines) == most {
		lines[0].Close()
		lines = slices.Delete(lines, 0, 1)
	}
	return append(lines, conn)
}

func (p *Peers) part(c *caller, conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	own := func(o net.Conn) bool { return o == conn }
	c.lines, c.hears = slices.DeleteFunc(c.lines, own), slices.DeleteFunc(c.hears, own)
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
		if err := p.pace(ctx, &c.bucket, 1); err != nil {
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
func (p *Peers) pace(ctx context.Context, b *bucket, n float64) error {
	p.mu.Lock()
	wait := b.take(n, time.Now())
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
