package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPlanOfUnreadableWorkTree: what git cannot add is an error that says what, and
// nothing stays behind.
func TestPlanOfUnreadableWorkTree(t *testing.T) {
	_, dir := fleetRemote(t, map[string]string{"fleet.yaml": planFleetYAML})
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	gitAs(t, dir, "init", "-q", filepath.Join(dir, "inner")) // without a commit
	code, _, errs := orpheus(t, dir, "plan", "--offline")
	if code != exitFailed || !strings.Contains(errs, "read the work tree: git add: ") || !strings.Contains(errs, "inner") {
		t.Errorf("%d %s", code, errs)
	}
	left, err := filepath.Glob(filepath.Join(temp, "orpheus-plan-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "inner")); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := orpheus(t, dir, "plan", "--offline"); code != 0 {
		t.Errorf("%d %s", code, errs)
	}
}
