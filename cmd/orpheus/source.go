//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/orpheus-cd/orpheus/agent"
	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/planner/manifest"
)

// gitSource is where Git and manifests meet: gitsync fetches commits, the
// manifest loader reads them.
type gitSource struct {
	repo   *gitsync.Repository
	loader *manifest.Loader
	config repositoryConfig
	shown  string // URL without credentials
	hints  <-chan struct{}

	lastRead atomic.Pointer[time.Time]
}

var (
	_ agent.Source    = (*gitSource)(nil)
	_ gitsync.Fetcher = (*gitSource)(nil)
)

func (s *gitSource) Describe() agent.Description {
	d := agent.Description{URL: s.shown, Following: s.repo.Following(), Exact: s.config.Commit != "", Path: s.config.Path}
	if !d.Exact {
		d.Branch = s.config.Branch
	}
	if at := s.lastRead.Load(); at != nil {
		d.LastRead = *at
	}
	return d
}

// Fetch is the repository's, with a note of when it last succeeded. For one
// commit no server is asked once it is here, so that nothing is noted.
func (s *gitSource) Fetch(ctx context.Context) (planner.Commit, error) {
	commit, err := s.repo.Fetch(ctx)
	if err == nil && s.config.Commit == "" {
		now := time.Now()
		s.lastRead.Store(&now)
	}
	return commit, err
}

func (s *gitSource) Follow(ctx context.Context, interval func() time.Duration) <-chan agent.Look {
	// The agent logs what changes.
	updates := gitsync.Follow(ctx, s, gitsync.FollowOptions{Interval: interval, Hints: s.hints})
	looks := make(chan agent.Look)
	go func() {
		defer close(looks)
		for u := range updates {
			select {
			case looks <- agent.Look{Commit: u.Commit, Err: u.Err, Since: u.Since}:
			case <-ctx.Done():
			}
		}
	}()
	return looks
}

func (s *gitSource) Load(ctx context.Context, commit planner.Commit, since string) (agent.Loaded, error) {
	tree, err := s.repo.FS(commit.Hash)
	if err != nil {
		return agent.Loaded{}, err
	}
	desired, err := s.loader.Load(ctx, tree, s.config.Path, commit)
	var refused *manifest.RefusedError
	if errors.As(err, &refused) {
		return agent.Loaded{}, &agent.Refusal{Reason: refused.Why(), Faults: refused.Faults}
	}
	if err != nil {
		return agent.Loaded{}, fmt.Errorf("read manifests of commit %s: %w", commit.Short(), err)
	}
	loaded := agent.Loaded{Desired: desired}
	if since != "" && since != commit.Hash {
		loaded.Approved, err = s.repo.Approvals(ctx, since, commit.Hash)
		if err != nil && !errors.Is(err, gitsync.ErrUnknownCommit) {
			return agent.Loaded{}, fmt.Errorf("read approvals of commit %s: %w", commit.Short(), err)
		}
	}
	return loaded, nil
}

const (
	// relateTime bounds the search for how two commits stand to each other: the
	// agent's loop waits for it. The clone goes on from there when asked again.
	relateTime = 2 * time.Second
	// After a search that took too long, others get less for a while, so that
	// the loop comes to the rest of its work.
	relateShort = 50 * time.Millisecond
	relatePause = 10 * time.Second
	// maxWarned bounds the commits that a person was told of.
	maxWarned = 1000
)

var errSearching = errors.New("the search through their history takes long, and goes on")

// relate answers the agent's questions about commits from the clone: whether
// what is followed comes after its floor, and in a fleet which of two nodes is
// ahead. An error says why they could not be compared this time. It is for one
// goroutine.
func (s *gitSource) relate(log *slog.Logger) func(commit, other string) (planner.Relation, error) {
	warned := map[string]bool{}
	var over time.Time
	return func(commit, other string) (planner.Relation, error) {
		limit := relateTime
		if !over.IsZero() && time.Since(over) < relatePause {
			limit = relateShort
		}
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		relation, err := s.repo.Relation(ctx, commit, other)
		if err == nil {
			return relation, nil
		}
		slow := errors.Is(err, context.DeadlineExceeded)
		if slow && limit == relateTime {
			over = time.Now()
		}
		level := slog.LevelDebug
		if short := slow && limit == relateShort; !short && !warned[commit] && len(warned) < maxWarned {
			warned[commit], level = true, slog.LevelWarn
		}
		log.Log(ctx, level, "commits cannot be compared yet: neither is taken to come after the other", "commit", commit, "other", other, "err", err)
		var tooMany *gitsync.LimitError
		switch {
		case slow:
			err = errSearching
		case errors.As(err, &tooMany):
			err = fmt.Errorf("more than %d commits would have to be read", tooMany.Max)
		}
		return relation, err
	}
}

// collectors shows the manifest cache in /metrics.
func (s *gitSource) collectors() []prometheus.Collector {
	counter := func(name, help string, value func(manifest.Stats) uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help},
			func() float64 { return float64(value(s.loader.Stats())) })
	}
	return []prometheus.Collector{
		counter("orpheus_manifest_loads_total", "Commits whose manifests were read.",
			func(st manifest.Stats) uint64 { return st.Loads }),
		counter("orpheus_manifest_blobs_parsed_total", "Manifest files that were read and parsed.",
			func(st manifest.Stats) uint64 { return st.Parsed }),
		counter("orpheus_manifest_blobs_reused_total", "Manifest files known by their object id, not parsed again.",
			func(st manifest.Stats) uint64 { return st.Reused }),
		counter("orpheus_manifest_folders_walked_total", "Folders whose entries were read.",
			func(st manifest.Stats) uint64 { return st.FoldersWalked }),
	}
}
