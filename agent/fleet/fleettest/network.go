package fleettest

import (
	"context"
	"errors"
	"hash/fnv"
	"maps"
	"time"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/planner"
)

// requestTimeout is when an agent gives up a request.
const requestTimeout = 15 * time.Second

var (
	errRefused = errors.New("connection refused")
	errTimeout = errors.New("no answer in time")
)

// reaches reports whether a machine reaches the server.
func (w *World) reaches(m *machine) bool { return w.serverUp && m.up && !m.cutGit }

// way is how long a message takes to the server or back.
func (w *World) way(m *machine) time.Duration {
	return w.between(2*time.Millisecond, 40*time.Millisecond) + m.slow
}

// ask sends a request. serve runs at the server, at an instant of its own,
// whatever has become of the asker, and returns what the answer does to it.
func (p *process) ask(loss lossKind, serve func() func(planner.Time), fail func(error, planner.Time)) {
	w, m := p.w, p.m
	begin := w.now
	lost := func() { // nobody answers
		p.later(begin+requestTimeout-w.now, func() { fail(errTimeout, p.now()) })
	}
	if !w.reaches(m) {
		if w.rng.IntN(2) == 0 {
			p.later(w.between(time.Millisecond, 100*time.Millisecond), func() { fail(errRefused, p.now()) })
		} else {
			lost()
		}
		return
	}
	out, back := w.way(m), w.way(m)
	if loss == loseLate {
		out = requestTimeout + w.between(0, 45*time.Second)
	}
	late := out+back >= requestTimeout
	if late || loss == loseRequest {
		lost()
	}
	if loss == loseRequest {
		return
	}
	w.after(out, func() {
		if !w.serverUp || m.cutGit && loss != loseLate {
			if !late {
				lost()
			}
			return
		}
		answer := serve()
		if late {
			return
		}
		if loss == loseReply {
			lost()
			return
		}
		w.after(back, func() {
			if w.reaches(m) {
				p.deliver(func() { answer(p.now()) })
			} else {
				lost()
			}
		})
	})
}

func (p *process) list() {
	w := p.w
	tell := func(l gitsync.Listing) func(planner.Time) {
		return func(now planner.Time) {
			p.member.Listed(l, nil, now)
			p.tipSeen(l.Tip)
		}
	}
	fail := func(err error, now planner.Time) { p.member.Listed(gitsync.Listing{}, err, now) }
	if !w.Torn || w.rng.IntN(4) > 0 {
		p.ask(loseNothing, func() func(planner.Time) {
			w.lists++
			w.served(false)
			l, _ := w.board.List(context.Background())
			return tell(l)
		}, fail)
		return
	}
	salt := w.rng.Uint64()
	p.ask(loseNothing, func() func(planner.Time) {
		w.lists++
		w.served(false)
		before, _ := w.board.List(context.Background())
		return func(now planner.Time) {
			after, _ := w.board.List(context.Background())
			tell(torn(before, after, salt))(now)
		}
	}, fail)
}

// torn is an advertisement of which some values are older than others.
func torn(before, after gitsync.Listing, salt uint64) gitsync.Listing {
	old := func(ref planner.Ref) bool {
		h := fnv.New64a()
		h.Write([]byte(ref))
		x := (h.Sum64() ^ salt) * 0x9e3779b97f4a7c15
		return x>>63 == 0
	}
	out := gitsync.Listing{Refs: maps.Clone(after.Refs), Tip: after.Tip, Ignored: after.Ignored}
	for ref := range after.Refs {
		if hash, ok := before.Refs[ref]; old(ref) && ok {
			out.Refs[ref] = hash
		} else if old(ref) {
			delete(out.Refs, ref)
		}
	}
	for ref, hash := range before.Refs {
		if old(ref) {
			out.Refs[ref] = hash
		}
	}
	return out
}

func (p *process) fetch(want map[planner.Ref]planner.Hash) {
	w := p.w
	p.ask(loseNothing, func() func(planner.Time) {
		w.reads++
		w.served(false)
		got, _ := w.board.Read(context.Background(), want)
		if w.Torn { // the server gives only what it advertises
			now, _ := w.board.List(context.Background())
			for ref, hash := range want {
				if now.Refs[ref] != hash {
					delete(got.Records, ref)
				}
			}
		}
		return func(now planner.Time) {
			p.member.Read(got, nil, now)
		}
	}, func(err error, now planner.Time) { p.member.Read(gitsync.Reading{}, err, now) })
}

func (p *process) swap(push gitsync.Push) {
	w, m := p.w, p.m
	loss := m.lose
	m.lose = loseNothing
	w.witness.sends(p, push)
	p.ask(loss, func() func(planner.Time) {
		w.served(true)
		results, _ := w.board.Swap(context.Background(), push)
		w.witness.landed(p, push, results)
		return func(now planner.Time) {
			p.member.Pushed(results, nil, now)
		}
	}, func(err error, now planner.Time) {
		p.member.Pushed(make([]gitsync.Result, len(push.Changes)), err, now)
	})
}
