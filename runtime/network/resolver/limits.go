package resolver

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// What one client and all of them may ask at most. An instance that asks as
// fast as it can must not keep others from their answers.
const (
	perSecond     = 2000 // questions of one source
	burst         = 2000
	maxForwarded  = 1000 // questions that wait for other name servers
	maxForwardOne = 250  // those of one source
	maxStreams    = 256  // TCP connections
	maxStreamsOne = 32
	maxSources    = 8192 // that are told apart
	forgetAfter   = 2 * time.Second
)

// sources counts what each client does.
type sources struct {
	mu        sync.Mutex
	all       map[netip.Addr]*source
	swept     time.Time
	forwarded int
	streams   int
}

// source is one client. The lock of sources holds for it, too.
type source struct {
	rate      *rate.Limiter
	seen      time.Time
	forwarded int
	streams   int
}

// of returns the client's counts. Clients beyond maxSources share one.
func (s *sources) of(from netip.Addr, now time.Time) *source {
	if one := s.all[from]; one != nil {
		one.seen = now
		return one
	}
	if len(s.all) >= maxSources && now.Sub(s.swept) > forgetAfter {
		s.swept = now
		for addr, one := range s.all {
			if one.forwarded == 0 && one.streams == 0 && now.Sub(one.seen) > forgetAfter {
				delete(s.all, addr)
			}
		}
	}
	if len(s.all) >= maxSources && from.IsValid() {
		return s.of(netip.Addr{}, now)
	}
	if s.all == nil {
		s.all = map[netip.Addr]*source{}
	}
	one := &source{rate: rate.NewLimiter(perSecond, burst), seen: now}
	s.all[from] = one
	return one
}

// allow reports whether the client may ask now.
func (s *sources) allow(from netip.Addr, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of(from, now).rate.AllowN(now, 1)
}

// forward takes a place among the questions for other name servers; leave gives
// it back. ok is false where there is none.
func (s *sources) forward(from netip.Addr, now time.Time) (leave func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.of(from, now)
	if s.forwarded >= maxForwarded || one.forwarded >= maxForwardOne {
		return nil, false
	}
	s.forwarded++
	one.forwarded++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.forwarded--
		one.forwarded--
	}, true
}

// stream takes a place among the TCP connections.
func (s *sources) stream(from netip.Addr, now time.Time) (leave func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.of(from, now)
	if s.streams >= maxStreams || one.streams >= maxStreamsOne {
		return nil, false
	}
	s.streams++
	one.streams++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.streams--
		one.streams--
	}, true
}
