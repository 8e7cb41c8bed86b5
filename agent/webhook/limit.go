package webhook

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// lookEvery and lookBurst bound how often calls have the node look at its
	// repository, however many there are.
	lookEvery = 2 * time.Second
	lookBurst = 5
	// failEvery and failBurst bound how often one address may fail to show the
	// secret before its calls are not listened to.
	failEvery = 5 * time.Second
	failBurst = 10
	// maxStrangers is how many addresses are kept count of.
	maxStrangers = 1024
)

// looks passes on what calls ask for, no more often than its limit. A call
// beyond that is owed one look, as soon as the limit allows: no push is missed
// because it was one too many.
type looks struct {
	hint  func()
	limit *rate.Limiter

	mu   sync.Mutex
	owed *time.Timer // nil = none is
	at   time.Time   // when it is due
	over bool
}

func newLooks(hint func()) *looks {
	return &looks{hint: hint, limit: rate.NewLimiter(rate.Every(lookEvery), lookBurst)}
}

// ask has the node look, and returns 0; or how long it will be until then.
func (l *looks) ask() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owed != nil {
		return time.Until(l.at)
	}
	wait := l.limit.Reserve().Delay()
	if wait == 0 {
		l.hint()
		return 0
	}
	if !l.over {
		l.at = time.Now().Add(wait)
		l.owed = time.AfterFunc(wait, l.pay)
	}
	return wait
}

func (l *looks) pay() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owed = nil; !l.over {
		l.hint()
	}
}

// end leaves owed what is owed: nobody looks any more.
func (l *looks) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over = true; l.owed != nil {
		l.owed.Stop()
	}
}

// strangers keeps count of who failed to show the secret. When there are too
// many to count they are forgotten: each is slowed down again by itself.
type strangers struct {
	mu     sync.Mutex
	limits map[netip.Prefix]*rate.Limiter
}

// wait is how long calls from an address are not listened to.
func (s *strangers) wait(from netip.Addr) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.limits[household(from)]
	if l == nil || l.Tokens() >= 1 {
		return 0
	}
	return failEvery
}

// failed counts a failure.
func (s *strangers) failed(from netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	home := household(from)
	l := s.limits[home]
	if l == nil {
		if s.limits == nil || len(s.limits) >= maxStrangers {
			s.limits = map[netip.Prefix]*rate.Limiter{}
		}
		l = rate.NewLimiter(rate.Every(failEvery), failBurst)
		s.limits[home] = l
	}
	l.Allow()
}

// household is the addresses that one sender has at will: all of an IPv6
// network.
func household(a netip.Addr) netip.Prefix {
	bits := 32
	if a = a.Unmap().WithZone(""); a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // an address that cannot be read is one of its own
	return p
}
