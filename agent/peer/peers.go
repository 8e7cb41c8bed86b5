package peer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/orpheus-cd/orpheus/agent/fleet"
	"github.com/orpheus-cd/orpheus/planner"
)

const (
	defaultInterval = time.Second
	// timeout bounds one probe or poke, connecting included.
	timeout = time.Second
	// missesForDown in a row make a peer down.
	missesForDown = 3
	// probedEvery is how often Probed tells while peers go on probing.
	probedEvery = 3 * time.Second
	// wordsExpire is how many intervals a peer's words hold without being
	// repeated.
	wordsExpire = 5
	protocol    = "orpheus-peer/1"
)

// Config is what Peers are made of.
type Config struct {
	Node planner.NodeName
	// Listen is the host:port to be reached at; "" = peers cannot reach this
	// node, it only probes.
	Listen string
	// Certificate is of the node's key, KeyOf names the key of a certificate:
	// see package trust.
	Certificate tls.Certificate
	KeyOf       func(*x509.Certificate) (string, error)
	Log         *slog.Logger
	// Interval between two probes of a node; 0 = 1 s.
	Interval time.Duration
}

// Stats count since New.
type Stats struct {
	Probes  uint64 // sent
	Missed  uint64 // of them, without an answer in time
	Pokes   uint64 // sent
	Poked   uint64 // received
	Refused uint64 // connections of strangers, and those that came too often
	// Announced and Heard count announcements sent and received, Greeted the
	// connections that were made for it without a session to resume.
	Announced, Heard, Greeted uint64
	// Problem says why nobody can call; "" = they can, or Listen is "".
	Problem string
}

// Peers is one node's sight of the others. Its methods are safe for use at
// once; all but Run return at once.
type Peers struct {
	cfg    Config
	server *tls.Config
	// probing is server, for callers that do not announce.
	probing   *tls.Config
	notes     *notebook
	announcer *announcer
	hearsay   *hearsay
	gate      *gate
	pokes     chan planner.NodeName
	probed    chan planner.NodeName

	// What goes out, as frames.
	frame, pokeFrame atomic.Pointer[[]byte]

	probes, missed, poked, pokesSent, refused atomic.Uint64
	announced, heard, greeted                 atomic.Uint64

	mu        sync.Mutex
	ctx       context.Context // of Run; nil = not running yet
	ended     bool            // nothing may start any more
	running   sync.WaitGroup
	probers   map[planner.NodeName]*prober
	callers   map[string]*caller // by key: who may call
	lines     uint64             // accepted so far
	errands   errands
	said      words
	toldProbe time.Time
	problem   string
	address   string
}

// New prepares Peers, which do nothing before Run.
func New(cfg Config) (*Peers, error) {
	switch {
	case cfg.Node == "" || cfg.KeyOf == nil || cfg.Log == nil:
		return nil, errors.New("peers need a node, a way to name keys, and a log")
	case len(cfg.Certificate.Certificate) == 0:
		return nil, errors.New("peers need the certificate of the node's key")
	case cfg.Interval < 0:
		return nil, errors.New("the interval between probes is below zero")
	}
	if cfg.Interval == 0 {
		cfg.Interval = defaultInterval
	}
	p := &Peers{
		cfg: cfg, notes: newNotebook(wordsExpire * cfg.Interval), gate: newGate(),
		pokes: make(chan planner.NodeName, 1), probed: make(chan planner.NodeName, 1),
		probers: map[planner.NodeName]*prober{}, callers: map[string]*caller{},
	}
	p.server = &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cfg.Certificate}, NextProtos: []string{announcing},
		ClientAuth: tls.RequireAnyClientCert, VerifyConnection: p.admit, GetConfigForClient: p.forProbes,
	}
	p.probing = p.server.Clone()
	p.probing.NextProtos, p.probing.SessionTicketsDisabled = []string{protocol}, true
	p.announcer, p.hearsay = newAnnouncer(p), newHearsay()
	p.Say(nil, false)
	return p, nil
}

// Run serves and probes until ctx ends; it returns nil once nothing of it is
// left. A port that cannot be opened is logged, shown in Stats, and tried
// again; probing goes on meanwhile. It may be called once.
func (p *Peers) Run(ctx context.Context) error {
	p.mu.Lock()
	if p.ctx != nil {
		p.mu.Unlock()
		return errors.New("peers run already")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer p.running.Wait()
	defer cancel()
	p.ctx = ctx
	for _, r := range p.probers {
		p.start(r)
	}
	p.mu.Unlock()
	if p.cfg.Listen != "" {
		p.running.Go(func() { p.listen(ctx) })
	}
	p.running.Go(func() { p.notes.tell(ctx) })
	p.running.Go(func() { p.hearsay.tell(ctx) })
	p.running.Go(func() { p.announcer.run(ctx) })
	for tick := time.NewTicker(p.notes.expiry / 2); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			p.mu.Lock()
			p.ended = true
			p.mu.Unlock()
			return nil
		case <-tick.C:
			p.notes.expire()
		}
	}
}

// Watch says whom to probe from now on, and who may call, by key. What is left
// out is forgotten; a connection of who may not call any more ends.
func (p *Peers) Watch(peers []fleet.Peer, known map[string]planner.NodeName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	wanted := map[planner.NodeName]fleet.Peer{}
	for _, peer := range peers {
		if peer.Node != p.cfg.Node && peer.Address != "" && peer.Key != "" {
			wanted[peer.Node] = peer
		}
	}
	for node, r := range p.probers {
		if _, ok := wanted[node]; !ok {
			r.stop()
			delete(p.probers, node)
			p.notes.probed(node, planner.ProbeNone)
		}
	}
	for _, node := range slices.Sorted(maps.Keys(wanted)) {
		old := p.probers[node]
		if old != nil && old.peer == wanted[node] {
			continue
		}
		r := newProber(p, wanted[node])
		if old != nil { // moved: down or up until proven otherwise
			old.stop()
			r.state = old.state
		}
		p.probers[node] = r
		if p.ctx != nil && !p.ended {
			p.start(r)
		}
	}
	p.admitOnly(known)
}

// start runs a prober; p.mu is held.
func (p *Peers) start(r *prober) {
	ctx, cancel := context.WithCancel(p.ctx)
	r.cancel = cancel
	p.running.Go(func() { r.run(ctx) })
}

// Say sets what every probe and reply carries: whom this node cannot reach,
// and whether it cannot read the repository. A change is told at once to those
// it probes.
func (p *Peers) Say(suspects []planner.NodeName, blind bool) {
	w := words{Suspects: slices.Clone(suspects), Blind: blind}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frame.Load() != nil && w.equal(p.said) {
		return
	}
	p.said = w
	frame, poke := encode(message{words: w}), encode(message{Poke: true, words: w})
	p.frame.Store(&frame)
	p.pokeFrame.Store(&poke)
	for _, r := range p.probers {
		signal(r.speak)
	}
}

// signal wakes whoever waits, once.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Sightings tells every change of what is known of a peer: its state by own
// probes (down after three misses in a row, up at the first answer), whom it
// cannot reach, whether it is blind. Of a node that is not probed but calls,
// the state is ProbeNone; words that are not repeated are taken back.
func (p *Peers) Sightings() <-chan fleet.Sighting { return p.notes.out }

// Pokes tells that a peer says "look now". Pokes that wait are one.
func (p *Peers) Pokes() <-chan planner.NodeName { return p.pokes }

// Probed tells that a peer has just probed this node: at the first probe and
// then every three seconds while probes go on.
func (p *Peers) Probed() <-chan planner.NodeName { return p.probed }

// Stats reads the counters.
func (p *Peers) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{
		Probes: p.probes.Load(), Missed: p.missed.Load(), Pokes: p.pokesSent.Load(),
		Poked: p.poked.Load(), Refused: p.refused.Load(), Problem: p.problem,
		Announced: p.announced.Load(), Heard: p.heard.Load(), Greeted: p.greeted.Load(),
	}
}

// Problem says why peers cannot reach this node; "" = they can.
func (p *Peers) Problem() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.problem
}

// Address is where this node listens; "" = nowhere, now.
func (p *Peers) Address() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.address
}
