package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/planner/manifest"
)

func hasAgentConfig() bool {
	_, err := os.Stat(defaultConfigFile)
	return err == nil
}

// readConfigured reads the records as the agent of a configuration would.
func readConfigured(ctx context.Context, file string, want wantedRecords) (recordStore, recordPlace, error) {
	place := recordPlace{}
	c, err := loadConfig(file)
	if err == nil {
		err = c.complete()
	}
	if err != nil {
		return nil, place, usageError(fmt.Errorf("configuration: %w", err))
	}
	if c.Coordination == coordinationNone {
		return nil, place, errors.New("this node takes part in no fleet (coordination: none), so there are no records")
	}
	log := slog.New(slog.DiscardHandler)
	_, _, d, err := c.lookNow(ctx, log)
	if err != nil {
		return nil, place, err
	}
	config := c.board(d.Fleet.Records, log)
	board, err := gitsync.NewBoard(config)
	if err != nil {
		return nil, place, err
	}
	place = recordPlace{url: board.URL(), prefix: config.Prefix, specs: d.Nodes, desired: d}
	if place.prefix == "" {
		place.prefix = gitsync.DefaultPrefix
	}
	store := &boardStore{ctx: ctx, board: board, closer: board}
	if err := store.load(want); err != nil {
		store.close()
		return nil, place, err
	}
	if len(store.newest) == 0 {
		store.close()
		return nil, place, &noRecordsError{place}
	}
	return store, place, nil
}

// found names what lookNow looked at, without credentials.
type found struct{ url, following string }

// lookNow fetches what is followed into a clone of its own, and reads its
// manifests. A commit that comes with an error was fetched, but its manifests
// are refused.
func (c *config) lookNow(ctx context.Context, log *slog.Logger) (at found, commit planner.Commit, d planner.Desired, err error) {
	dir, err := os.MkdirTemp("", "orpheus-look-")
	if err != nil {
		return at, commit, d, err
	}
	defer os.RemoveAll(dir)
	where := c.git(log)
	where.Dir = dir
	repo, err := gitsync.Open(where)
	if err != nil {
		return at, commit, d, err
	}
	defer repo.Close()
	commit, err = repo.Fetch(ctx)
	at = found{repo.URL(), repo.Following()}
	if err != nil {
		return at, planner.Commit{}, d, err
	}
	source := &gitSource{repo: repo, loader: manifest.NewLoader(manifest.Limits{}), config: c.Repository}
	loaded, err := source.Load(ctx, commit, "")
	return at, commit, loaded.Desired, err
}

// boardStore reads records from the board of an agent's configuration. Older
// values are fetched one by one, where the server gives them away.
type boardStore struct {
	ctx    context.Context // of the one command that makes it
	board  gitsync.Board
	closer io.Closer
	newest map[planner.Ref]planner.Hash
	known  map[planner.Ref]planner.Record
	bad    map[planner.Ref]string
}

var _ recordStore = (*boardStore)(nil)

// boardBatch bounds one read.
const boardBatch = 256

func (s *boardStore) load(want wantedRecords) error {
	listing, err := s.board.List(s.ctx)
	if err != nil {
		return err
	}
	s.newest, s.known, s.bad = map[planner.Ref]planner.Hash{}, map[planner.Ref]planner.Record{}, map[planner.Ref]string{}
	for ref, id := range listing.Refs {
		if slices.ContainsFunc(want.rooms, func(room string) bool { return inRoom(room, ref) }) {
			s.newest[ref] = id
		}
	}
	for refs := range slices.Chunk(slices.Sorted(maps.Keys(s.newest)), boardBatch) {
		batch := map[planner.Ref]planner.Hash{}
		for _, ref := range refs {
			batch[ref] = s.newest[ref]
		}
		reading, err := s.board.Read(s.ctx, batch)
		if err != nil {
			return err
		}
		maps.Copy(s.known, reading.Records)
		maps.Copy(s.bad, reading.Unreadable)
	}
	return nil
}

// inRoom reports whether a pattern, in which a * at the end stands for
// anything as it does for git, covers a ref.
func inRoom(room string, ref planner.Ref) bool {
	return strings.HasPrefix(string(ref), strings.TrimSuffix(room, "*"))
}

func (s *boardStore) values() map[planner.Ref]planner.Hash { return s.newest }

func (s *boardStore) read(ref planner.Ref, id planner.Hash) (planner.Record, error) {
	if s.newest[ref] == id {
		if record, ok := s.known[ref]; ok {
			return record, nil
		}
		if why, ok := s.bad[ref]; ok {
			return planner.Record{}, errors.New(why)
		}
		return planner.Record{}, errors.New("it changed while it was read")
	}
	reading, err := s.board.Read(s.ctx, map[planner.Ref]planner.Hash{ref: id})
	if err != nil {
		return planner.Record{}, fmt.Errorf("older values cannot be read from here: %w", err)
	}
	if record, ok := reading.Records[ref]; ok {
		return record, nil
	}
	return planner.Record{}, errors.New("it could not be fetched")
}

func (s *boardStore) close() { _ = s.closer.Close() }
