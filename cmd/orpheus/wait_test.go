package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// Who waits is told how things stand whenever that changes, and no longer than is
// of use.
func TestAwait(t *testing.T) {
	busy, other := awaited{says: "web (rolling 0/2)"}, awaited{says: "web (rolling\n1/2)"}
	ready, rests := awaited{ready: true}, awaited{rests: true, says: "web (BLOCKED)"}
	broken := errors.New("no route to host")
	for _, c := range []struct {
		name  string
		looks []any // awaited or error; the last goes on
		ready bool
		err   bool
		took  time.Duration
		told  string
	}{
		{"ready at once", []any{ready}, true, false, 0, ""},
		{"ready later", []any{busy, busy, other, ready}, true, false, 15 * time.Second, "    0s  web (rolling 0/2)\n   10s  web (rolling\\n1/2)\n"},
		{"nothing goes on", []any{busy, rests}, false, false, 5 * time.Second, "    0s  web (rolling 0/2)\n    5s  web (BLOCKED)\n"},
		{"in vain", []any{busy}, false, false, time.Minute, "    0s  web (rolling 0/2)\n   60s  not waited for any longer (--timeout)\n"},
		{"the first look fails", []any{broken}, false, true, 0, ""},
		{"a later look fails", []any{busy, broken, ready}, true, false, 10 * time.Second, "    0s  web (rolling 0/2)\n    5s  no route to host\n"},
		{"no records yet", []any{fmt.Errorf("status: %w", &noRecordsError{recordPlace{url: "x", prefix: "refs/orpheus/"}}), ready}, true, false, 5 * time.Second,
			"    0s  status: there are no records below refs/orpheus/ of x yet: no agent has registered there; a node that stands alone (coordination: none) writes none, ask it with \"orpheus why\" and \"orpheus events\" on it\n"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var told bytes.Buffer
			began, n := time.Now(), 0
			st, err := await(t.Context(), &told, waitOptions{wait: true, timeout: time.Minute}, 5*time.Second, func(context.Context) (awaited, error) {
				look := c.looks[min(n, len(c.looks)-1)]
				n++
				if err, failed := look.(error); failed {
					return awaited{}, err
				}
				return look.(awaited), nil
			})
			// At the bound the timer and the next look are due together.
			if took := time.Since(began); st.ready != c.ready || (err != nil) != c.err || took != c.took {
				t.Errorf("%s: %+v, %v after %s", c.name, st, err, took)
			}
			if told.String() != c.told {
				t.Errorf("%s: told\n%q\nwant\n%q", c.name, told.String(), c.told)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
		defer cancel()
		_, err := await(ctx, io.Discard, waitOptions{wait: true, timeout: time.Minute}, 5*time.Second, func(context.Context) (awaited, error) { return busy, nil })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("interrupted: %v", err)
		}
	})
}

// status --wait ends when all is as asked, or cannot come to be.
func TestStatusWait(t *testing.T) {
	t.Run("agent", func(t *testing.T) {
		looks := 0
		socket, _ := serveStatus(t, func() *api.Status {
			st := testStatus(testService("web", "1", 2))
			if looks++; looks < 3 { // the first tells that an agent answers
				st.Services[0].Ready, st.Services[0].Instances[0].Phase = 1, planner.PhaseStarting
			}
			return st
		})
		code, out, told := orpheus(t, t.TempDir(), "status", "--wait", "-o", "json", "--socket", socket)
		var st hereStatus
		if err := json.Unmarshal([]byte(out), &st); code != 0 || err != nil || st.Grade != gradeFine || !strings.Contains(told, "  web (1/2 ready); 0 of 1 up to date and ready\n") {
			t.Errorf("%d, %v\n%s%s", code, err, out, told)
		}
	})
	t.Run("records", func(t *testing.T) {
		_, dir, _ := rolledFleet(t)
		head := gitAs(t, dir, "rev-parse", "HEAD")
		for _, c := range []struct {
			args string
			code int
			told string
		}{
			{"status --wait --commit HEAD", exitNotReady, "  web (REVERTED); 0 of 1 up to date and ready\n"},
			{"status --exit-code --commit main~0", exitNotReady, ""},
			{"status --wait --timeout 1ms --commit " + strings.Repeat("ab", 20), exitNotReady, "  commit abababab is not followed yet by node-1, node-2\n"},
			{"status --wait --commit nonsense", 2, `there is no commit "nonsense" here`},
			{"status --wait --commit=--all", 2, "is no commit"},
			{"status --commit " + head, 2, "write --exit-code, --wait or --plan with it"},
			{"status --timeout 5m", 2, "write --wait"},
			{"status --wait --timeout 0s", 2, "write a time such as 5m"},
			{"status --wait --watch", 2, "none of the others can be"},
		} {
			code, out, told := orpheus(t, dir, strings.Fields(c.args)...)
			if code != c.code || !strings.Contains(told, c.told) {
				t.Errorf("%s: %d\n%s%s", c.args, code, out, told)
			}
		}
		if code, _, told := orpheus(t, t.TempDir(), "status", "--exit-code", "--commit", "HEAD"); code != 2 || !strings.Contains(told, "without a checkout write the id of a commit") {
			t.Errorf("without a checkout: %d %s", code, told)
		}
	})
}
