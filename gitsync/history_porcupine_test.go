package gitsync_test

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/planner"
)

// operation is one thing a writer did to one ref: it looked, or it swapped.
type operation struct {
	ref      planner.Ref
	swap     bool
	old, new planner.Hash // of a swap; "" = no such ref
}

// answer is what it was told.
type answer struct {
	value   planner.Hash // of a look
	outcome gitsync.Outcome
}

// registers is what a board promises: each ref is a register that changes only
// by comparison. A swap that was lost did nothing (it may have lost by a lock
// alone); an unknown one may have been carried out, at any later time.
var registers = (&porcupine.NondeterministicModel{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		parts := map[planner.Ref][]porcupine.Operation{}
		for _, op := range history {
			ref := op.Input.(operation).ref
			parts[ref] = append(parts[ref], op)
		}
		var out [][]porcupine.Operation
		for _, part := range parts {
			out = append(out, part)
		}
		return out
	},
	Init: func() []any { return []any{planner.Hash("")} },
	Step: func(state, input, output any) []any {
		value, op, got := state.(planner.Hash), input.(operation), output.(answer)
		switch {
		case !op.swap && value != got.value, op.swap && got.outcome == gitsync.Won && value != op.old:
			return nil
		case op.swap && got.outcome == gitsync.Won:
			return []any{op.new}
		case op.swap && got.outcome == gitsync.Unknown && value == op.old:
			return []any{value, op.new}
		}
		return []any{value}
	},
	DescribeOperation: func(input, output any) string {
		op, got := input.(operation), output.(answer)
		if !op.swap {
			return fmt.Sprintf("%s is %q", op.ref, got.value.Short())
		}
		return fmt.Sprintf("%s: %q -> %q %s", op.ref, op.old.Short(), op.new.Short(), got.outcome)
	},
}).ToModel()

// history is what some writers did.
type history struct {
	begin time.Time
	mu    sync.Mutex
	ops   []porcupine.Operation
	count map[gitsync.Outcome]int
}

func (h *history) now() int64 { return time.Since(h.begin).Nanoseconds() }

func (h *history) add(client int, call int64, op operation, got answer) {
	end := h.now()
	if op.swap && got.outcome == gitsync.Unknown {
		end = math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: op, Output: got, Call: call, Return: end})
	if op.swap {
		h.count[got.outcome]++
	}
}

var contended = []planner.Ref{"nodes/a", "leases/default/web", "leases/default/db"}

const writers = 16

// write makes 16 writers look and swap at once, and returns what they saw.
// Each has a way of its own to the board. In every other round all of them
// have looked before one swaps.
func write(t *testing.T, rounds int, open func() gitsync.Board) *history {
	t.Helper()
	h := &history{begin: time.Now(), count: map[gitsync.Outcome]int{}}
	var all sync.WaitGroup
	looked := make([]sync.WaitGroup, rounds)
	for i := range looked {
		looked[i].Add(writers)
	}
	for client := range writers {
		board := open()
		all.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(client)))
			known := map[planner.Ref]planner.Hash{}
			for round := range rounds {
				h.look(t, client, board, known)
				looked[round].Done()
				if round%2 == 0 {
					looked[round].Wait()
				}
				h.push(client, client*1000+round*10, board, random, known)
			}
		})
	}
	all.Wait()
	h.look(t, 0, open(), map[planner.Ref]planner.Hash{})
	return h
}

// look is one operation per ref, for an advertisement is no snapshot. One that
// fails tells nothing.
func (h *history) look(t *testing.T, client int, board gitsync.Board, known map[planner.Ref]planner.Hash) {
	call := h.now()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	l, err := board.List(ctx)
	if err != nil {
		t.Logf("writer %d: %v", client, err)
		return
	}
	for _, ref := range contended {
		known[ref] = l.Refs[ref]
		h.add(client, call, operation{ref: ref}, answer{value: l.Refs[ref]})
	}
}

// push swaps one ref or more from the values known, atomically or not; now and
// then it deletes one.
func (h *history) push(client, n int, board gitsync.Board, random *rand.Rand, known map[planner.Ref]planner.Hash) {
	push := gitsync.Push{Atomic: random.IntN(3) == 0}
	for i, ref := range contended {
		if len(push.Changes) > 0 && random.IntN(3) > 0 {
			continue
		}
		if i < len(contended)-1 && random.IntN(2) == 0 {
			continue
		}
		change := gitsync.Change{Ref: ref, Old: known[ref], New: gitsynctest.NewRecord("a", n+i)}
		if change.Old != "" && random.IntN(8) == 0 {
			change.New = nil
		}
		push.Changes = append(push.Changes, change)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	call := h.now()
	results, _ := board.Swap(ctx, push) // the results say what an error means
	for i, c := range push.Changes {
		op := operation{ref: c.Ref, swap: true, old: c.Old}
		if c.New != nil {
			op.new = c.New.Hash()
		}
		h.add(client, call, op, answer{outcome: results[i].Outcome})
	}
}

func (h *history) check(t *testing.T) porcupine.CheckResult {
	t.Helper()
	t.Logf("%d operations in %s: %d swaps won, %d lost, %d unknown", len(h.ops), time.Since(h.begin).Round(time.Millisecond),
		h.count[gitsync.Won], h.count[gitsync.Lost], h.count[gitsync.Unknown])
	return porcupine.CheckOperationsTimeout(registers, h.ops, 30*time.Second)
}

// tell logs what was done to each ref whose history is not one of a register.
func (h *history) tell(t *testing.T) {
	t.Helper()
	slices.SortFunc(h.ops, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	for _, part := range registers.Partition(h.ops) {
		if porcupine.CheckOperations(registers, part) {
			continue
		}
		for _, op := range part {
			t.Logf("writer %2d, %s to %s: %s", op.ClientId, time.Duration(op.Call).Round(time.Microsecond),
				time.Duration(op.Return).Round(time.Microsecond), registers.DescribeOperation(op.Input, op.Output))
		}
	}
}

// TestHistories: what 16 writers see of a real server, whose replies and
// requests get lost now and then, is a history of registers.
func TestHistories(t *testing.T) {
	if testing.Short() {
		t.Skip("hundreds of pushes by git")
	}
	for _, tt := range []struct {
		name  string
		lossy bool
		make  func(t *testing.T) func() gitsync.Board
	}{
		{"local path", false, func(t *testing.T) func() gitsync.Board {
			repo := newRepo(t)
			return func() gitsync.Board { return openBoard(t, gitsync.BoardConfig{URL: repo.Dir}) }
		}},
		{"https", true, func(t *testing.T) func() gitsync.Board {
			srv, _, cfg := boardServer(t, gitsynctest.Options{TLS: true})
			srv.SetFault(gitsynctest.OnPush(sometimes(gitsynctest.LoseReply(), gitsynctest.LoseRequest())))
			return func() gitsync.Board { return openBoard(t, cfg) }
		}},
		{"ssh", true, func(t *testing.T) func() gitsync.Board {
			srv := newSSHD(t, gitsynctest.SSHDOptions{})
			repo := gitsynctest.Must(gitsynctest.NewRepo(filepath.Join(t.TempDir(), "records.git")))(t)
			var answers atomic.Int64
			srv.SetCut(func(d gitsynctest.Direction, data []byte) bool { // a list, or a report
				return d == gitsynctest.ToClient && len(data) > 200 && answers.Add(1)%17 == 0
			})
			return func() gitsync.Board { return openBoard(t, sshBoard(srv, repo)) }
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := write(t, 6, tt.make(t))
			if result := h.check(t); result != porcupine.Ok {
				h.tell(t)
				t.Errorf("the history is %s", result)
			}
			if h.count[gitsync.Won] == 0 || h.count[gitsync.Lost] == 0 || tt.lossy != (h.count[gitsync.Unknown] > 0) {
				t.Errorf("outcomes are %v: this history shows too little", h.count)
			}
		})
	}
}

// sometimes takes the faults in turn for every fifth request.
func sometimes(faults ...gitsynctest.Fault) gitsynctest.Fault {
	var count atomic.Int64
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			handler := next
			if n := int(count.Add(1)); n%5 == 0 {
				handler = faults[n/5%len(faults)](next)
			}
			handler.ServeHTTP(w, r)
		})
	}
}

// TestHistoriesRejectBrokenBoards: the check finds the boards that must not
// be.
func TestHistoriesRejectBrokenBoards(t *testing.T) {
	for _, tt := range []struct {
		name   string
		broken func(gitsync.Board) gitsync.Board // nil = sound
	}{
		{"sound", nil},
		{"loses what it says was won", func(b gitsync.Board) gitsync.Board { return lyingBoard{b, gitsync.Lost, gitsync.Won} }},
		{"wins what it says was lost", func(b gitsync.Board) gitsync.Board { return lyingBoard{b, gitsync.Won, gitsync.Lost} }},
		{"does not compare", func(b gitsync.Board) gitsync.Board { return blindBoard{b} }},
		{"shows old values", func(b gitsync.Board) gitsync.Board { return &staleBoard{Board: b} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			memory := gitsynctest.NewMemory()
			h := write(t, 20, func() gitsync.Board {
				b := memory.Board()
				if tt.broken != nil {
					return tt.broken(b)
				}
				return b
			})
			want := porcupine.Illegal
			if tt.broken == nil {
				want = porcupine.Ok
			}
			if result := h.check(t); result != want {
				t.Errorf("the history is %s, want %s", result, want)
			}
		})
	}
	t.Run("a git server that does not compare", func(t *testing.T) {
		srv, repo, cfg := boardServer(t, gitsynctest.Options{})
		srv.SetFault(gitsynctest.OnPush(gitsynctest.IgnoreOld(repo)))
		h := write(t, 3, func() gitsync.Board { return openBoard(t, cfg) })
		if result := h.check(t); result != porcupine.Illegal {
			t.Errorf("the history is %s", result)
		}
	})
}

// lyingBoard says one outcome for another.
type lyingBoard struct {
	gitsync.Board
	real, said gitsync.Outcome
}

func (b lyingBoard) Swap(ctx context.Context, push gitsync.Push) ([]gitsync.Result, error) {
	results, err := b.Board.Swap(ctx, push)
	for i := range results {
		if results[i].Outcome == b.real {
			results[i].Outcome = b.said
		}
	}
	return results, err
}

// blindBoard changes refs whatever their value is.
type blindBoard struct{ gitsync.Board }

func (b blindBoard) Swap(ctx context.Context, push gitsync.Push) ([]gitsync.Result, error) {
	l, err := b.List(ctx)
	if err != nil {
		return make([]gitsync.Result, len(push.Changes)), err
	}
	push.Changes = slices.Clone(push.Changes)
	for i := range push.Changes {
		push.Changes[i].Old = l.Refs[push.Changes[i].Ref]
	}
	return b.Board.Swap(ctx, push)
}

// staleBoard shows what it showed before.
type staleBoard struct {
	gitsync.Board
	shown gitsync.Listing
}

func (b *staleBoard) List(ctx context.Context) (gitsync.Listing, error) {
	old := b.shown
	var err error
	b.shown, err = b.Board.List(ctx)
	return old, err
}
