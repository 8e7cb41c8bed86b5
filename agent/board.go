package agent

import (
	"context"
	"errors"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/planner"
)

// openBoard connects to the records once a commit says where they are, and
// finds out what their server can do.
func (a *Agent) openBoard(ctx context.Context) {
	ms := a.fleet
	f := a.state.followed
	now := a.cfg.Clock().Boot
	if f.Commit.Hash == "" || ms.probing || ms.retryAt > now {
		return
	}
	if ms.board != nil && !samePlace(ms.place, f.Fleet.Records) {
		a.log.Warn("records have moved: they are read from their new place", "url", ms.board.URL())
		left := ms.board
		a.work(func() { _ = left.Close() }) // connections only
		ms.board, ms.able = nil, false
	}
	if ms.board == nil {
		board, err := ms.cfg.Open(f.Fleet.Records)
		a.problem("records' repository", err)
		if err != nil {
			ms.retryAt = now + boardRetry
			return
		}
		ms.board, ms.place = board, f.Fleet.Records
	}
	if ms.able {
		return
	}
	if s := ms.server; s != nil && s.URL == ms.board.URL() {
		if age := a.cfg.Clock().Wall.Sub(s.Probed); age >= 0 && age < probeAgain {
			ms.able = true
			ms.member.Able(s.Able)
			return
		}
	}
	ms.probing = true
	board := ms.board
	a.ask(ctx, func(ctx context.Context) func(planner.Time) {
		able, err := board.Probe(ctx, string(a.cfg.Node.Name))
		return func(now planner.Time) { a.probed(board, able, err, now) }
	})
}

func samePlace(a, b *planner.RecordsPlace) bool {
	return a == b || a != nil && b != nil && *a == *b
}

func (a *Agent) probed(board Board, able gitsync.Abilities, err error, now planner.Time) {
	ms := a.fleet
	ms.probing = false
	if err == nil && !able.Compares {
		err = errors.New("its server changes refs without comparing their old value: no leases can be agreed on there; use another server for the records")
	}
	a.problem("records' repository", err)
	if err != nil || ms.board != board {
		ms.retryAt = now.Boot + boardRetry
		return
	}
	ms.able, ms.unsaved = true, true
	ms.server = &server{URL: board.URL(), Able: able, Probed: now.Wall}
	ms.member.Able(able)
	a.log.Info("records can be written", "url", board.URL(), "atomic", able.Atomic, "v2", able.V2)
}
