package fleettest

import (
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// clock is one machine's: a boot clock with a drift, which may stand still
// while the machine is paused, and a calendar that is wrong.
type clock struct {
	since time.Duration // true time of the last setting
	boot  time.Duration // what the boot clock showed then
	drift int64         // parts per million
	skew  time.Duration // of the calendar
	still bool          // the machine is paused and its clock stands
}

// epoch is the calendar at the beginning of true time.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func (c *clock) at(now time.Duration) time.Duration {
	if c.still {
		return c.boot
	}
	d := now - c.since
	return c.boot + d + d/1_000_000*time.Duration(c.drift)
}

// set moves the point from which the clock counts, so that its rate can change.
func (c *clock) set(now time.Duration) { c.boot, c.since = c.at(now), now }

func (c *clock) time(now time.Duration) planner.Time {
	return planner.Time{Boot: c.at(now), Wall: epoch.Add(now + c.skew)}
}

// trueWait is how long it takes in true time until the boot clock shows boot.
func (c *clock) trueWait(now, boot time.Duration) time.Duration {
	d := boot - c.at(now)
	if d <= 0 {
		return 0
	}
	return d - d/(1_000_000+time.Duration(c.drift))*time.Duration(c.drift) + time.Microsecond
}
