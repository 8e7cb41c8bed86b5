package agent

import "time"

const (
	// minListGap, listGapFactor and maxListGap keep listings from eating the node
	// while many instances change: they take at most about a twentieth of the time.
	minListGap    = 20 * time.Millisecond
	listGapFactor = 20
	maxListGap    = time.Second
	// listCredit is how far listings may run ahead of that share after a time of
	// rest: an end and the start that follows it are seen when they happen.
	listCredit = time.Second
)

// listPace spaces the listings of a driver. The zero value has all its credit.
type listPace struct {
	owed time.Duration // rest that listings up to at have yet to be paid for with
	at   time.Time
}

// rest is how long to wait after a listing that took so long and ended now.
func (p *listPace) rest(took time.Duration, now time.Time) time.Duration {
	p.owed = max(0, p.owed-now.Sub(p.at)) + listGapFactor*took
	p.owed = min(p.owed, listCredit+maxListGap) // who is too slow for the share rests for maxListGap each time
	p.at = now
	return max(minListGap, p.owed-listCredit)
}
