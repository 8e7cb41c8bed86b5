package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

const (
	// lookEvery is how often the file is looked at where the kernel tells
	// nothing of it, and how often places that are taken are tried again.
	lookEvery   = time.Second
	expireEvery = 5 * time.Second

	// maxConnections stand at once, and as many clients have UDP sessions;
	// further connections wait to be accepted.
	maxConnections = 10000
	// filesOfBoth are the two sockets and two pipes of a connection, and the
	// socket of a session.
	filesOfBoth  = 7
	filesForRest = 512

	// maxDrain is how long connections may go on in a process that has handed
	// over.
	maxDrain = time.Hour
	// memoryLimit leaves room for maxConnections.
	memoryLimit = 512 << 20
)

// Serve balances by File in dir until ctx ends. A relay that serves there
// already, in this process or another, hands its sockets over and accepts
// nothing more.
//
// When ctx ends, connections are closed; but where the sockets were handed over
// before, those that stand go on until they end, for an hour at most, and only
// then Serve returns. It never returns before ctx ends, unless it cannot begin.
func Serve(ctx context.Context, dir string, log *slog.Logger) error {
	if debug.SetMemoryLimit(-1) < memoryLimit {
		debug.SetMemoryLimit(memoryLimit)
	}
	s := newServer(dir, log)
	defer s.end()
	former := s.takeOver(ctx)
	s.look()
	if st := s.status(); former != nil && st.Name == "" {
		former.close()
		return fmt.Errorf("relay: %s cannot be read, the relay before goes on: %s", File, st.Fault)
	}
	control, err := s.listenControl()
	if err != nil {
		former.close()
		return fmt.Errorf("relay: %w", err)
	}
	// Now that this one listens, too.
	former.finish()
	var answering sync.WaitGroup
	answering.Go(func() { s.answerControl(control) })
	s.follow(ctx)
	control.Close()
	answering.Wait()
	select {
	case <-s.handedOver:
		s.drain()
	default:
	}
	return nil
}

type server struct {
	dir   string
	log   *slog.Logger
	since time.Time

	places    chan struct{}  // one per standing connection
	sessions  atomic.Int64   // of all udp fronts, at most as many as places
	accepting sync.WaitGroup // who listens
	standing  sync.WaitGroup // connections
	over      context.Context
	cut       context.CancelFunc // ends what stands
	// handedOver is closed when another relay has the sockets.
	handedOver chan struct{}

	mu      sync.Mutex
	seen    os.FileInfo
	name    string // of the table that is served
	fault   string // why the file is not
	table   table
	fronts  map[place][]front
	adopted map[place][]front // of the relay before, not yet in use
	unbound map[place]string  // why nobody listens there
	targets map[flow]*target
}

type flow struct {
	addr     netip.AddrPort
	protocol string
}

func newServer(dir string, log *slog.Logger) *server {
	s := &server{
		dir: dir, log: log, since: time.Now(), places: make(chan struct{}, connectionLimit()), handedOver: make(chan struct{}),
		fronts: map[place][]front{}, adopted: map[place][]front{}, unbound: map[place]string{}, targets: map[flow]*target{},
	}
	s.over, s.cut = context.WithCancel(context.Background())
	return s
}

// connectionLimit is maxConnections, or as many as there are files for.
func connectionLimit() int {
	var files syscall.Rlimit
	if syscall.Getrlimit(unix.RLIMIT_NOFILE, &files) != nil {
		return maxConnections
	}
	n := min(files.Max, 1<<30)
	return int(min(maxConnections, max(64, (max(n, filesForRest)-filesForRest)/filesOfBoth)))
}

// follow keeps to the file until ctx ends, or until the sockets are another's
// and ctx ends.
func (s *server) follow(ctx context.Context) {
	var changes chan fsnotify.Event
	var faults chan error
	if w, err := fsnotify.NewWatcher(); err == nil {
		defer w.Close()
		if w.Add(s.dir) == nil {
			changes, faults = w.Events, w.Errors
		}
	}
	look, expire := time.NewTicker(lookEvery), time.NewTicker(expireEvery)
	defer look.Stop()
	defer expire.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.handedOver:
			<-ctx.Done()
			return
		case <-changes:
			s.look()
		case <-faults: // looking is what there is to do about them
		case <-look.C:
			s.look()
		case <-expire.C:
			s.expire()
		}
	}
}

// drain waits for connections to end.
func (s *server) drain() {
	ended := make(chan struct{})
	go func() {
		s.standing.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(maxDrain):
		s.log.Warn("connections are cut that stand since before the relay was upgraded", "after", maxDrain, "connections", len(s.places))
	}
}

// end closes everything.
func (s *server) end() {
	s.release()
	s.cut()
	s.standing.Wait()
}

// release closes all that listens here; connections that stand go on.
func (s *server) release() {
	s.mu.Lock()
	for _, p := range s.fronts {
		for _, f := range p {
			f.close()
		}
	}
	clear(s.fronts)
	s.forsake()
	s.mu.Unlock()
	s.accepting.Wait()
}

// look reads the file if it is another than before, and serves it.
func (s *server) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.handedOver:
		return
	default:
	}
	path := filepath.Join(s.dir, File)
	info, err := os.Stat(path)
	same := err == nil && s.seen != nil && os.SameFile(info, s.seen) && info.ModTime().Equal(s.seen.ModTime()) && info.Size() == s.seen.Size()
	if !same {
		var text []byte
		var t table
		if err == nil {
			text, err = readFile(s.dir)
		}
		if err == nil {
			s.seen = info
			t, err = parse(text)
		}
		if err != nil {
			s.tell(err)
			return
		}
		s.table, s.name, s.fault = t, nameOf(text), ""
	} else if len(s.unbound) == 0 {
		return
	}
	s.apply()
}

// tell logs a fault of the file once. What was served goes on.
func (s *server) tell(err error) {
	if errors.Is(err, fs.ErrNotExist) && s.name == "" {
		return
	}
	if text := err.Error(); s.fault != text {
		s.fault = text
		s.log.Warn("what to balance cannot be read; what was read last goes on", "err", err)
	}
}

// apply listens and leads as the table says.
func (s *server) apply() {
	wanted := map[place]bool{}
	used := map[flow]*target{}
	unbound := map[place]string{}
	for _, e := range s.table.Fronts {
		wanted[e.place()] = true
		c := &choice{affinity: e.Affinity}
		for _, addr := range e.Targets {
			c.targets = append(c.targets, s.target(flow{addr, e.Protocol}, used))
		}
		fronts, listening := s.fronts[e.place()]
		if !listening {
			var err error
			if fronts, err = s.open(e.place()); err != nil {
				unbound[e.place()] = reasonOf(err)
				if s.unbound[e.place()] == "" {
					s.log.Warn("cannot listen, trying on", "service", e.Service, "address", e.Listen, "protocol", e.Protocol, "err", err)
				}
				continue
			}
			s.fronts[e.place()] = fronts
		}
		for _, f := range fronts {
			f.lead(c)
			if !listening {
				f.start()
			}
		}
	}
	for p, fronts := range s.fronts {
		if !wanted[p] {
			delete(s.fronts, p)
			for _, f := range fronts {
				f.close()
			}
		}
	}
	s.unbound, s.targets = unbound, used
	s.forsake()
}

// open listens at a place, with the sockets of the relay before if it had some.
func (s *server) open(p place) ([]front, error) {
	if fronts := s.adopted[p]; len(fronts) > 0 {
		delete(s.adopted, p)
		return fronts, nil
	}
	return s.listen(p)
}

// forsake closes what was adopted in vain.
func (s *server) forsake() {
	for _, fronts := range s.adopted {
		for _, f := range fronts {
			f.close()
		}
	}
	clear(s.adopted)
}

// target is the one that is known already, with what is known of it.
func (s *server) target(f flow, used map[flow]*target) *target {
	t := used[f]
	if t == nil {
		t = s.targets[f]
	}
	if t == nil {
		t = &target{addr: f.addr, protocol: f.protocol}
	}
	used[f] = t
	return t
}

func reasonOf(err error) string {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return "a program of this machine listens there; end it, or use another port"
	case errors.Is(err, unix.EACCES):
		return "this port needs rights that the agent lacks; use one from 1024 on, or lower the kernel's net.ipv4.ip_unprivileged_port_start"
	}
	return err.Error()
}

func (s *server) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, fronts := range s.fronts {
		for _, f := range fronts {
			f.expire()
		}
	}
}

// status is what the relay tells the agent.
type status struct {
	Name        string    `json:"name"` // of the table that is served
	Fault       string    `json:"fault,omitempty"`
	Since       time.Time `json:"since"`
	Open        int       `json:"open"`        // places it listens at
	Connections int       `json:"connections"` // that stand
	Unbound     []unbound `json:"unbound,omitempty"`
	Traffic     []traffic `json:"traffic,omitempty"`
}

type unbound struct {
	Listen   string `json:"listen"`
	Protocol string `json:"protocol"`
	Reason   string `json:"reason"`
}

// traffic is as in runtime.Traffic.
type traffic struct {
	Target   netip.AddrPort `json:"target"`
	Protocol string         `json:"protocol"`
	Tried    time.Duration  `json:"tried"`
	Answered time.Duration  `json:"answered"`
	Refused  time.Duration  `json:"refused"`
}

func (s *server) status() status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := status{Name: s.name, Fault: s.fault, Since: s.since, Open: len(s.fronts), Connections: len(s.places)}
	for p, reason := range s.unbound {
		st.Unbound = append(st.Unbound, unbound{p.listen, p.protocol, reason})
	}
	slices.SortFunc(st.Unbound, func(a, b unbound) int {
		return cmp.Or(cmp.Compare(a.Listen, b.Listen), cmp.Compare(a.Protocol, b.Protocol))
	})
	for _, t := range s.targets {
		if tried := t.tried.ago(); tried >= 0 {
			st.Traffic = append(st.Traffic, traffic{t.addr, t.protocol, tried, t.answered.ago(), t.refused.ago()})
		}
	}
	return st
}
