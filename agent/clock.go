package agent

import (
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// Clock reads both clocks of the node: the one seam for time. Timers only
// wake the loop; deadlines are compared with a fresh reading.
type Clock func() planner.Time

// SystemClock reads the machine's clocks.
func SystemClock() planner.Time {
	return planner.Time{Boot: sinceBoot(), Wall: time.Now()}
}
