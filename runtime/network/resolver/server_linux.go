package resolver

import (
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
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// lookInterval is how often the zone's file is looked at where the kernel
	// tells nothing, and bindInterval how often addresses that could not be
	// listened on are tried again.
	lookInterval = time.Second
	bindInterval = 200 * time.Millisecond
)

// server answers by the zone in a folder.
type server struct {
	dir     string
	version string
	started time.Time
	log     *slog.Logger
	handler handler

	mu      sync.Mutex
	sockets map[netip.AddrPort]*socket
	serving bool             // or paused
	seen    os.FileInfo      // the zone's file, as it was read last
	loaded  time.Time        // when a zone was last good
	fault   string           // why the file is not what is served
	unbound map[string]error // by address, why it is not listened on
}

func newServer(dir, version string, log *slog.Logger) *server {
	s := &server{
		dir: dir, version: version, started: time.Now(), log: log,
		sockets: map[netip.AddrPort]*socket{}, unbound: map[string]error{},
	}
	s.handler.index.Store(newIndex(Zone{}, 1))
	return s
}

// follow keeps to the zone's file until ctx ends.
func (s *server) follow(ctx context.Context) {
	var changes chan fsnotify.Event
	var faults chan error
	if w, err := fsnotify.NewWatcher(); err != nil {
		s.log.Warn("the zone is looked at once a second", "err", err)
	} else {
		defer w.Close()
		changes, faults = w.Events, w.Errors
		if err := w.Add(s.dir); err != nil {
			s.log.Warn("the zone is looked at once a second", "err", err)
		}
	}
	for {
		wait := lookInterval
		if !s.look() {
			wait = bindInterval
		}
		select {
		case <-ctx.Done():
			return
		case <-changes:
		case <-faults: // looking is what there is to do about them
		case <-time.After(wait):
		}
	}
}

// look reads the zone if its file is another one than before, and opens and
// closes sockets as it says. It reports whether all of them are open.
func (s *server) look() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.load()
	return s.bind()
}

// load reads the zone's file if it has changed.
func (s *server) load() {
	path := filepath.Join(s.dir, ZoneFile)
	info, err := os.Stat(path)
	if err == nil && s.seen != nil && os.SameFile(info, s.seen) && info.ModTime().Equal(s.seen.ModTime()) && info.Size() == s.seen.Size() {
		return
	}
	var z Zone
	if err == nil {
		s.seen = info
		z, err = readZone(path)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist) && s.loaded.IsZero():
		s.tell("no zone was written yet")
		return
	case err != nil:
		s.tell(fmt.Sprintf("the last good zone is served: %v", err))
		return
	}
	now := time.Now()
	x := newIndex(z, uint32(now.Unix()))
	s.handler.index.Store(x)
	s.loaded, s.fault = now, ""
	s.log.Debug("names loaded", "services", x.services, "took", time.Since(now))
	if x.left > 0 {
		s.log.Warn("parts of the zone make no sense", "count", x.left, "first", x.faults[0])
	}
	debug.FreeOSMemory() // what it was read with
}

// tell notes why the file is not served, and logs it once.
func (s *server) tell(fault string) {
	if s.fault != fault {
		s.fault = fault
		s.log.Warn("zone not read", "reason", fault)
	}
}

// bind opens and closes sockets, and reports whether all are open.
func (s *server) bind() bool {
	wanted := s.handler.index.Load().listen
	for addr, sock := range s.sockets {
		if !slices.Contains(wanted, addr) {
			delete(s.sockets, addr)
			sock.pause()
			go sock.close() // once its answers are sent
			s.log.Info("listens no more", "address", addr)
		}
	}
	unbound := map[string]error{}
	for _, addr := range wanted {
		if s.sockets[addr] != nil {
			continue
		}
		sock, err := listen(addr)
		if err != nil {
			unbound[addr.String()] = err
			if s.unbound[addr.String()] == nil {
				s.log.Error("cannot listen, trying on", "address", addr, "err", err)
			}
			continue
		}
		s.sockets[addr] = sock
		s.log.Info("listens", "address", addr)
		if s.serving {
			sock.serve(&s.handler, s.log)
		}
	}
	s.unbound = unbound
	return len(unbound) == 0
}

// serve begins to answer on all sockets, now and later.
func (s *server) serve() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serving = true
	for _, sock := range s.sockets {
		sock.serve(&s.handler, s.log)
	}
}

// close finishes the answers under way and closes all sockets. After the last
// follow has returned.
func (s *server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serving = false
	for _, sock := range s.sockets {
		sock.pause()
	}
	for addr, sock := range s.sockets {
		sock.close()
		delete(s.sockets, addr)
	}
}

// health describes the server.
func (s *server) health() Health {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.handler.index.Load()
	h := Health{
		PID: os.Getpid(), Version: s.version, Started: s.started,
		Services: x.services, Loaded: s.loaded, Counts: s.handler.count.read(),
	}
	for addr := range s.sockets {
		h.Listening = append(h.Listening, addr.String())
	}
	slices.Sort(h.Listening)
	if s.fault != "" {
		h.Faults = append(h.Faults, s.fault)
	}
	for _, err := range s.unbound {
		h.Faults = append(h.Faults, err.Error())
	}
	slices.Sort(h.Faults)
	h.Faults = append(h.Faults, x.faults...)
	if more := x.left - len(x.faults); more > 0 {
		h.Faults = append(h.Faults, fmt.Sprintf("and %d more parts of the zone make no sense", more))
	}
	return h
}
