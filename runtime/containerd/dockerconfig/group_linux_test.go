package dockerconfig

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// await polls for a condition.
func await(t *testing.T, what string, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !met(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// TestAttack01ProgramLeavesNothing: a program that hangs ends with all that it
// has started, or every pull would add some.
func TestAttack01ProgramLeavesNothing(t *testing.T) {
	started := filepath.Join(t.TempDir(), "pid")
	program(t, "hangs", fmt.Sprintf("sleep 1000 >/dev/null & echo $! >%s.new; mv %[1]s.new %[1]s; wait", started))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := Find(ctx, write(t, `{"credsStore": "hangs"}`), "a.example.com")
		done <- err
	}()
	await(t, "the program starts another", func() bool { _, err := os.Stat(started); return err == nil })
	cancel()
	if err := <-done; err == nil {
		t.Error("no error")
	}
	text, err := os.ReadFile(started)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(pid, syscall.SIGKILL)
	await(t, "what the program had started ends", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || bytes.Contains(stat, []byte(") Z ")) // nobody may collect it here
	})
}

// TestProgramExposedToOOM: what spares the agent when memory runs out is not
// for the programs it runs.
func TestProgramExposedToOOM(t *testing.T) {
	const own = "/proc/self/oom_score_adj"
	before, err := os.ReadFile(own)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(own, []byte("-7"), 0); err != nil {
		t.Skipf("this user may not lower the score: %v", err)
	}
	defer os.WriteFile(own, bytes.TrimSpace(before), 0)
	program(t, "score", `read server; printf '{"Username": "u", "Secret": "%s"}' "$(cat /proc/self/oom_score_adj)"`)
	if l, err := Find(t.Context(), write(t, `{"credsStore": "score"}`), "a.example.com"); err != nil || l.Secret != "0" {
		t.Errorf("its score is %q, %v; want 0", l.Secret, err)
	}
}
