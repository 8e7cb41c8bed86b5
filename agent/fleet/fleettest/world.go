package fleettest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/planner"
)

// Options are what a world is made of beside chance.
type Options struct {
	Seed uint64
	// Real has records signed with real keys, which lie in Dir; otherwise a
	// keyed sum stands in for them, some hundred times cheaper.
	Real bool
	Dir  string
	// Torn lets a listing show values of two instants.
	Torn bool
	// TwoPushes is a server without atomic pushes.
	TwoPushes bool
	// Traced keeps a trace.
	Traced bool
}

// World is a simulated fleet: machines, a server, people, and a true time of
// which nobody in it knows.
type World struct {
	Options
	rng    *rand.Rand
	now    time.Duration
	seq    uint64
	queue  queue
	events uint64
	keys   int
	broken error // the first violation of a rule

	memory       *gitsynctest.Memory
	board        *gitsynctest.MemoryBoard
	serverUp     bool
	registryDown bool
	tags         int // which images tags stand for
	lists, reads int
	asked        func(push bool) // told of every request that reaches the server; may be nil
	restores     int             // of backups
	calm         bool            // nothing fails by chance

	machines []*machine
	history  history
	wanted   manifests
	witness  *witness
	trace    trace
}

// New makes a world without machines, whose branch has one commit.
func New(o Options) *World {
	w := &World{
		Options: o, rng: rand.New(rand.NewPCG(o.Seed, 0x6f7270686575)), serverUp: true, memory: gitsynctest.NewMemory(),
		history: history{commits: map[string]*commit{}},
		wanted: manifests{
			services: map[planner.ServiceID]planner.Service{}, nodes: map[planner.NodeName]planner.NodeSpec{},
			broken: map[planner.ServiceID]bool{},
		},
	}
	if o.TwoPushes {
		w.memory.AtomicOff()
	}
	w.board = w.memory.Board()
	w.trace.on = o.Traced
	w.witness = newWitness(w)
	w.Commit("the fleet begins")
	return w
}

// served counts a request that reached the server.
func (w *World) served(push bool) {
	if w.asked != nil {
		w.asked(push)
	}
}

// between draws a duration.
func (w *World) between(a, b time.Duration) time.Duration {
	if b <= a {
		return a
	}
	return a + time.Duration(w.rng.Int64N(int64(b-a)))
}

// Broken is the first violation of a rule; nil = there was none.
func (w *World) Broken() error { return w.broken }

// fail notes a violation and ends the run.
func (w *World) fail(format string, args ...any) {
	if w.broken == nil {
		w.broken = fmt.Errorf("at %s: %s", stamp(w.now), fmt.Sprintf(format, args...))
		w.say("", "RULE BROKEN: %s", fmt.Sprintf(format, args...))
	}
}

func itoa(n int) string { return strconv.Itoa(n) }

func hexSum(what string, n int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", what, n))
	return hex.EncodeToString(sum[:])
}
