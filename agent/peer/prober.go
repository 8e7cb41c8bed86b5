package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/orpheus-cd/orpheus/agent/fleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// errAnotherKey is the miss of a probe that found somebody else.
var errAnotherKey = errors.New("who answers at this address has another key than the node's record")

// prober probes one peer over a connection that it keeps.
type prober struct {
	peers  *Peers
	peer   fleet.Peer
	cancel context.CancelFunc // nil = not started
	// speak asks for a probe ahead of time, poke for a poke.
	speak, poke chan struct{}

	line   line
	misses int
	state  planner.ProbeState // written by run alone, under the lock of peers
	warned bool               // of another key
}

func newProber(p *Peers, peer fleet.Peer) *prober {
	return &prober{
		peers: p, peer: peer, line: line{peers: p, peer: peer},
		speak: make(chan struct{}, 1), poke: make(chan struct{}, 1),
	}
}

func (r *prober) stop() {
	if r.cancel != nil {
		r.cancel()
	}
}

// run probes until ctx ends: at once, then every interval, counted from begin
// to begin.
func (r *prober) run(ctx context.Context) {
	defer r.cancel()
	defer r.line.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.poke:
			r.peers.pokesSent.Add(1)
			r.ahead(r.converse(ctx, *r.peers.pokeFrame.Load()))
		case <-r.speak:
			r.ahead(r.converse(ctx, *r.peers.frame.Load()))
		case <-timer.C:
			began := time.Now()
			r.peers.probes.Add(1)
			err := r.converse(ctx, *r.peers.frame.Load())
			if ctx.Err() != nil {
				return
			}
			r.note(err)
			timer.Reset(max(0, r.peers.cfg.Interval-time.Since(began)))
		}
	}
}

// converse sends a frame and notes the words of the answer.
func (r *prober) converse(ctx context.Context, frame []byte) error {
	said, err := r.line.ask(ctx, frame)
	if err == nil && ctx.Err() == nil {
		r.peers.notes.again(r.peer.Node, said)
	}
	return err
}

// ahead notes an answer ahead of time. No answer is no miss: many in a row
// would make a peer down too soon.
func (r *prober) ahead(err error) {
	if err == nil {
		r.note(nil)
	}
}

// note counts the outcome of a probe.
func (r *prober) note(err error) {
	log := r.peers.cfg.Log.With("node", r.peer.Node, "address", r.peer.Address)
	switch {
	case err == nil:
		if r.state == planner.ProbeDown {
			log.Info("peer answers again")
		}
		r.misses, r.warned = 0, false
		r.set(planner.ProbeUp)
		return
	case errors.Is(err, errAnotherKey) && !r.warned:
		r.warned = true
		log.Warn("another machine answers in the place of a peer", "err", errAnotherKey)
	}
	r.peers.missed.Add(1)
	r.misses++
	if r.misses >= missesForDown && r.state != planner.ProbeDown {
		log.Warn("peer does not answer", "misses", r.misses, "err", err)
		r.set(planner.ProbeDown)
	}
}

// set notes the state, unless another prober took this one's place.
func (r *prober) set(s planner.ProbeState) {
	r.peers.mu.Lock()
	defer r.peers.mu.Unlock()
	was := r.state
	r.state = s
	if r.peers.probers[r.peer.Node] != r {
		return
	}
	r.peers.notes.probed(r.peer.Node, s)
	if was == planner.ProbeDown && s == planner.ProbeUp {
		r.peers.announcer.reached(r.peer.Node)
	}
}

// line is a connection to a peer, made when it is needed.
type line struct {
	peers *Peers
	peer  fleet.Peer
	conn  net.Conn
	buf   []byte
	last  []byte // the answer before, and what it said
	said  words
}

// ask sends one frame and reads the answer, all within timeout. After an error
// the line begins anew.
func (l *line) ask(ctx context.Context, frame []byte) (words, error) {
	deadline := time.Now().Add(timeout)
	if l.conn == nil {
		if err := l.dial(ctx, deadline); err != nil {
			return words{}, err
		}
	}
	l.conn.SetDeadline(deadline)
	said, err := l.exchange(frame)
	if err != nil {
		l.close()
	}
	return said, err
}

func (l *line) exchange(frame []byte) (words, error) {
	if _, err := l.conn.Write(frame); err != nil {
		return words{}, fmt.Errorf("send to peer: %w", err)
	}
	var err error
	if l.buf, err = readFrame(l.conn, l.buf); err != nil {
		return words{}, fmt.Errorf("read the answer of peer: %w", err)
	}
	if l.last != nil && bytes.Equal(l.buf, l.last) {
		return l.said, nil
	}
	m, err := decode(l.buf)
	if err != nil {
		return words{}, err
	}
	l.last, l.said = append(l.last[:0], l.buf...), m.words
	return l.said, nil
}

func (l *line) dial(ctx context.Context, deadline time.Time) error {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", l.peer.Address)
	if err != nil {
		return fmt.Errorf("connect to peer: %w", err)
	}
	secure := tls.Client(conn, l.peers.client(l.peer.Key))
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return fmt.Errorf("greet peer: %w", err)
	}
	l.conn = secure
	return nil
}

func (l *line) close() {
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
}

// client is the configuration of connections to the holder of a key. The
// names in certificates say nothing: their key is all that is compared.
func (p *Peers) client(key string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{p.cfg.Certificate}, NextProtos: []string{protocol},
		InsecureSkipVerify: true, SessionTicketsDisabled: true,
		VerifyConnection: func(c tls.ConnectionState) error {
			if found, err := p.keyOf(c); err != nil || found != key {
				return errAnotherKey
			}
			return nil
		},
	}
}

// keyOf names the key that the other end has proven to hold.
func (p *Peers) keyOf(c tls.ConnectionState) (string, error) {
	if len(c.PeerCertificates) != 1 {
		return "", errors.New("peer shows more or less than one certificate")
	}
	return p.cfg.KeyOf(c.PeerCertificates[0])
}
