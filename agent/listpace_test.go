package agent

import (
	"testing"
	"time"
)

// After a rest listings may follow each other closely, but in the long run they
// have their share of the time, and one that is too slow for it still comes
// every second.
func TestListPace(t *testing.T) {
	for _, c := range []struct {
		took  time.Duration
		quick int // listings that follow each other with the least gap
		least time.Duration
		most  time.Duration // of the gap, later on
	}{
		{time.Microsecond, 1000, minListGap, minListGap},
		{5 * time.Millisecond, 10, 80 * time.Millisecond, 120 * time.Millisecond},
		{40 * time.Millisecond, 1, 700 * time.Millisecond, 800 * time.Millisecond},
		{time.Minute, 0, maxListGap, maxListGap},
	} {
		var p listPace
		now := time.Unix(1e9, 0)
		next := func() time.Duration {
			now = now.Add(c.took)
			rest := p.rest(c.took, now)
			now = now.Add(rest)
			return rest
		}
		for range c.quick {
			if rest := next(); rest != minListGap {
				t.Errorf("listings of %s: a gap of %s after a rest", c.took, rest)
			}
		}
		for range 20 {
			next()
		}
		if rest := next(); rest < c.least || rest > c.most {
			t.Errorf("listings of %s: a gap of %s in the long run; want %s to %s", c.took, rest, c.least, c.most)
		}
		now = now.Add(time.Minute)
		if rest := next(); c.quick > 0 && rest != minListGap {
			t.Errorf("listings of %s: a gap of %s after a minute of rest", c.took, rest)
		}
	}
}
