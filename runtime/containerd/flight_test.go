//go:build linux

package containerd

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/orpheus-cd/orpheus/runtime"
)

// A pull that was called off takes its time to end. The next one of the image
// shares its lease: it must not begin before.
func TestFlightWaitsForTheOneThatWasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f flights
		quiet := func(runtime.Progress) {}
		running := 0
		pull := func(ctx context.Context, _ func(runtime.Progress)) (digest.Digest, error) {
			if running++; running > 1 {
				t.Error("two pulls of one image at once")
			}
			defer func() { running-- }()
			select {
			case <-ctx.Done():
				time.Sleep(time.Second) // the lease is given back
				return "", ctx.Err()
			case <-time.After(time.Minute):
				return "sha256:1", nil
			}
		}
		// The second one is called off while it waits for the first.
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			if _, err := f.do(ctx, "image", pull, quiet); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("do: %v; want the context's error", err)
			}
			cancel()
		}
		if got, err := f.do(t.Context(), "image", pull, quiet); got != "sha256:1" || err != nil {
			t.Errorf("do: %v, %v", got, err)
		}
		synctest.Wait()
		if len(f.flying) != 0 {
			t.Errorf("%d pulls are remembered", len(f.flying))
		}
	})
}
