package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

// TestExitCodes: what docs/cli.md promises of all verbs.
func TestExitCodes(t *testing.T) {
	var out bytes.Buffer
	empty, none := t.TempDir(), filepath.Join(t.TempDir(), "none.sock")
	for name, cmd := range verbsOf(newRootCommand(&out, &out)) {
		if strings.HasPrefix(name, "completion") || name == "help" {
			continue // cobra's own
		}
		words := strings.Fields(name)
		if code, _, stderr := orpheus(t, empty, append(words, "--no-such-flag")...); code != exitUsage || !strings.Contains(stderr, "no-such-flag") {
			t.Errorf("%s with a flag that it does not have: %d %s", name, code, stderr)
		}
		if code, _, stderr := orpheus(t, empty, append(words, "--help")...); code != 0 {
			t.Errorf("help of %s: %d %s", name, code, stderr)
		}
		if !cmd.HasSubCommands() {
			continue
		}
		if code, _, _ := orpheus(t, empty, append(words, "no-such-verb")...); code != exitUsage {
			t.Errorf("%s with a verb that it does not have: %d", name, code)
		}
	}
	for _, row := range []struct {
		args string
		code int
	}{
		{"status", exitFailed}, {"top", exitFailed}, {"events", exitFailed}, {"why web", exitFailed}, {"logs web", exitFailed}, {"exec web -- true", exitFailed},
		{"endpoints", exitFailed}, {"holds", exitFailed}, {"floor show", exitFailed}, {"status --network", exitFailed}, {"status --watch", exitFailed}, {"top --watch", exitFailed},
		{"why", exitUsage}, {"status a b", exitUsage}, {"top --sort size", exitUsage}, {"top --nodes web", exitUsage}, {"events --tail -1", exitUsage},
		{"nodes", exitUsage}, {"history", exitUsage}, {"version", 0}, {"no-such-verb", exitUsage},
		{"status --output yaml", exitUsage}, {"nodes -o table", exitUsage}, {"top --instances --nodes", exitUsage},
	} {
		args := strings.Fields(row.args)
		args = append([]string{args[0], "--socket", none}, args[1:]...)
		if code, stdout, stderr := orpheus(t, empty, args...); code != row.code || strings.Contains(stdout+stderr, "panic") {
			t.Errorf("%s: %d, want %d\n%s%s", row.args, code, row.code, stdout, stderr)
		}
	}
}
