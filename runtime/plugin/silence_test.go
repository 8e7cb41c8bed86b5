//go:build linux

package plugin

import (
	"context"
	"errors"
	"log/slog"
	"os/exec"
	"testing"
	"time"
)

// A process that answers nothing in time, often and for long, is killed; one
// that answers anything is not.
func TestSilentProcessIsKilled(t *testing.T) {
	late := context.DeadlineExceeded
	for name, test := range map[string]struct {
		before silence
		err    error
		killed bool
	}{
		"for the first time":       {silence{}, late, false},
		"often, but not for long":  {silence{calls: 100, since: time.Now()}, late, false},
		"for long, but not often":  {silence{calls: 1, since: time.Now().Add(-time.Hour)}, late, false},
		"for good":                 {silence{calls: 2, since: time.Now().Add(-silentTime)}, late, true},
		"until it answered":        {silence{calls: 2, since: time.Now().Add(-silentTime)}, nil, false},
		"but it told an error":     {silence{calls: 2, since: time.Now().Add(-silentTime)}, &driverError{classes: []error{late}}, false},
		"but the agent hung up":    {silence{calls: 2, since: time.Now().Add(-silentTime)}, context.Canceled, false},
		"but the plugin had ended": {silence{calls: 2, since: time.Now().Add(-silentTime)}, errors.New("any"), false},
	} {
		process := exec.Command("sleep", "3600")
		if err := process.Start(); err != nil {
			t.Fatal(err)
		}
		who, err := identify(process.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		s := &session{record: record{Process: who}}
		d := &Driver{current: s, silent: test.before, log: slog.New(slog.DiscardHandler)}
		d.heard(s, test.err)
		d.heard(&session{}, late) // an earlier process: nothing is counted
		if !test.killed {
			if !who.alive() {
				t.Errorf("%s: it was killed", name)
			}
			process.Process.Kill()
		}
		if err := who.await(t.Context()); err != nil {
			t.Error(err)
		}
		process.Wait()
	}
}
