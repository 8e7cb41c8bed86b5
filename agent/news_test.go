package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestNumbersAreNoNews: a server that names another time at every look, and a
// problem whose amounts change, are logged once; the status has the last text.
func TestNumbersAreNoNews(t *testing.T) {
	inWorld(t, func(w *world) {
		var log bytes.Buffer
		w.crash()
		w.log = slog.NewTextHandler(&log, nil)
		w.start()
		w.commit(service("web", "a"))
		w.settle(3 * time.Second)
		for k := range 5 {
			w.repo.fail(fmt.Errorf("the server is busy; it is not asked again before 15:04:0%d UTC", k))
			w.settle(time.Second)
			err := w.agent.onLoop(context.Background(), func() error {
				w.agent.problem("images", fmt.Errorf("disk: 9%d%% used, volumes 3.%d MiB", k, k))
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			w.settle(time.Second)
		}
		if got := w.repository().Error; !strings.Contains(got, "15:04:04") {
			t.Errorf("error %q, want the last one", got)
		}
		if got := w.problem("images"); !strings.Contains(got, "3.4 MiB") {
			t.Errorf("problem %q, want the last one", got)
		}
		w.repo.fail(errors.New("connection refused"))
		w.settle(time.Second)
		w.crash()
		for text, want := range map[string]int{"the server is busy": 1, "connection refused": 1, "volumes 3": 1} {
			if n := strings.Count(log.String(), text); n != want {
				t.Errorf("%q is logged %d times, want %d:\n%s", text, n, want, &log)
			}
		}
		w.start()
	})
}
