package peer

import "time"

// bucket bounds how often something may happen: burst times at once, rate
// times a second in the long run. The zero time of last fills it. It is not
// safe for use at once.
type bucket struct {
	rate, burst float64
	tokens      float64
	last        time.Time
}

// take takes n tokens, on credit of at most burst if need be, and says how
// long to wait until they are there.
func (b *bucket) take(n float64, now time.Time) time.Duration {
	b.fill(now)
	b.tokens = max(b.tokens-n, -b.burst)
	if b.tokens >= 0 {
		return 0
	}
	return time.Duration(-b.tokens / b.rate * float64(time.Second))
}

// empty reports whether there is no token left.
func (b *bucket) empty(now time.Time) bool {
	b.fill(now)
	return b.tokens < 1
}

func (b *bucket) fill(now time.Time) {
	if b.last.IsZero() {
		b.tokens = b.burst
	} else {
		b.tokens = min(b.burst, b.tokens+now.Sub(b.last).Seconds()*b.rate)
	}
	b.last = now
}
