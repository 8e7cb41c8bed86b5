package load

import (
	"testing"
	"time"
)

// TestPace: new connections come by the clock; after a time in which none could
// be begun a few come at once, until none is owed.
func TestPace(t *testing.T) {
	const every = 10 * time.Millisecond
	asked := 0
	for _, step := range []struct{ at, want int }{
		{0, 0}, {5, 0}, {10, 1}, {20, 1}, {30, 1}, // on time
		{59, 2},                                // late by one
		{159, 4}, {160, 4}, {170, 4}, {180, 1}, // late by ten
		{180, 0},
	} {
		got := owed(asked, time.Duration(step.at)*time.Millisecond, every)
		if got != step.want {
			t.Errorf("after %d ms and %d requests: %d are begun, want %d", step.at, asked, got, step.want)
		}
		asked += got
	}
}
