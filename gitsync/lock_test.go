package gitsync_test

import (
	"errors"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/gitsync"
)

// TestOpenWaitsForTheLock: a predecessor that is about to end is waited for,
// one that stays is not.
func TestOpenWaitsForTheLock(t *testing.T) {
	repo := newRepo(t)
	cfg := gitsync.Config{URL: repo.Dir, Branch: "main", Dir: t.TempDir()}
	first := open(t, cfg)
	if _, err := gitsync.Open(cfg); !errors.Is(err, gitsync.ErrLocked) {
		t.Fatalf("locked for good: %v", err)
	}
	time.AfterFunc(50*time.Millisecond, func() { first.Close() })
	open(t, cfg)
}
