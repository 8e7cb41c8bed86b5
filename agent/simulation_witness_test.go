package agent

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

// settleTime is how long an instance runs before it counts as ready, written
// out: the witness does not take the agent's word.
const settleTime = time.Second

// witness reads what happened to instances and checks the rules at each event.
type witness struct {
	s       *simulation
	read    map[*runtimetest.Fake]int
	seen    map[string]*sighting
	pins    map[string]string // digest by service, revision and image
	byHand  map[string]bool   // removed by the test
	applied int               // index of a commit the agent had in force at the last look, or before
	begun   time.Time         // of the agent's process
	lost    time.Time         // when the state was lost last
	// ended are the slots that are without an instance through decisions, blocked
	// the revisions whose rollout failed once.
	ended   map[planner.ServiceID]map[string]bool
	blocked map[planner.Revision]bool
}

// sighting is an instance as the events so far show it.
type sighting struct {
	planner.Instance
	since   time.Time // running since; zero = does not run
	longest time.Duration
	// doomed: a commit since its start, or one that may have been in force
	// then, does not want it as it is; slotDoomed: does not want its slot.
	doomed, slotDoomed bool
}

func (i *sighting) judge(commits ...simCommit) {
	for _, c := range commits {
		exact, slot := c.wants(i.Instance)
		i.doomed, i.slotDoomed = i.doomed || !exact, i.slotDoomed || !slot
	}
}

func newWitness(s *simulation) *witness {
	return &witness{
		s: s, read: map[*runtimetest.Fake]int{}, seen: map[string]*sighting{},
		pins: map[string]string{}, byHand: map[string]bool{}, begun: time.Now(),
		ended: map[planner.ServiceID]map[string]bool{}, blocked: map[planner.Revision]bool{},
	}
}

// stateLost is called when the agent cannot know any more what it pinned and
// what the templates of running instances were.
func (w *witness) stateLost() {
	clear(w.pins)
	w.lost = time.Now()
	for _, d := range []*runtimetest.Fake{w.s.driver, w.s.procs} {
		for _, i := range d.Listing() {
			w.pinned(runtimetest.Event{Instance: i})
		}
	}
}

// look checks all events since the last look.
func (w *witness) look() {
	if w.s.agent != nil {
		w.blockedNow()
	}
	for _, d := range []*runtimetest.Fake{w.s.driver, w.s.procs} {
		history := d.History()
		for _, e := range history[w.read[d]:] {
			w.event(e)
		}
		w.read[d] = len(history)
	}
	if w.s.agent == nil {
		return
	}
	hash := w.s.agent.Status().Repository.Applied.Hash
	for n, c := range w.s.commits {
		if c.hash == hash {
			w.applied = n
		}
	}
}

// spoken is the newest commit up to that in force that has the service: where
// later ones keep it as it was, that one says what it is to become.
func (w *witness) spoken(id planner.ServiceID) int {
	n := w.applied
	for n > 0 {
		if _, has := w.s.commits[n].services[id]; has {
			break
		}
		n--
	}
	return n
}

// committed takes in a commit that is about to be made.
func (w *witness) committed(c simCommit) {
	w.look()
	w.s.commits = append(w.s.commits, c)
	for _, i := range w.seen {
		i.judge(c)
	}
}

func (w *witness) event(e runtimetest.Event) {
	id := e.Instance.ID
	before := w.seen[id]
	ran := before != nil && !before.since.IsZero()
	now := &sighting{Instance: e.Instance}
	runs := e.Instance.State == planner.StateRunning && !e.Removed
	switch {
	case runs && ran:
		now.since = before.since
	case runs:
		now.since = e.At
		now.judge(w.s.commits[w.spoken(e.Instance.Slot.Service):]...)
	}
	switch {
	case ran && !runs && w.byAgent(e):
		w.stopped(e, before)
	case ran && !runs:
		w.serves(e.Instance.Slot)
	}
	if ran && !runs {
		now.longest = e.At.Sub(before.since)
		if before.since.Before(w.lost) {
			w.unpin(e.Instance) // known from its listing alone, if it was listed in time
		}
	}
	if before != nil {
		// An instance that is restarted keeps its lease, and what dooms that.
		now.doomed, now.slotDoomed = now.doomed || before.doomed, now.slotDoomed || before.slotDoomed
		now.longest = max(now.longest, before.longest)
	}
	w.seen[id] = now
	if e.Removed {
		delete(w.byHand, id)
		now.State = planner.StateExited
		return
	}
	w.alone(e)
	w.pinned(e)
}

// byAgent reports whether an end was the agent's doing.
func (w *witness) byAgent(e runtimetest.Event) bool {
	if e.Removed {
		return !w.byHand[e.Instance.ID]
	}
	return e.Instance.Exit != nil && e.Instance.Exit.Signal != 0
}

// alone: a slot with a volume never has two instances that may be alive.
func (w *witness) alone(e runtimetest.Event) {
	if !strings.HasPrefix(e.Instance.Slot.Service.Name, "db") || e.Instance.State == planner.StateExited {
		return
	}
	for id, other := range w.seen {
		if id != e.Instance.ID && other.Slot == e.Instance.Slot && other.State != planner.StateExited {
			w.s.violated("%s: %s of %s is %s while %s is %s", e.At.Format("15:04:05.000"), id, other.Slot, other.State, e.Instance.ID, e.Instance.State)
		}
	}
}

// unpin forgets what a revision ran from.
func (w *witness) unpin(i planner.Instance) {
	for _, c := range i.Containers {
		delete(w.pins, fmt.Sprint(i.Slot.Service, i.Revision, c.Image))
	}
}

// pinned: a revision keeps its digests, whatever becomes of the tags.
func (w *witness) pinned(e runtimetest.Event) {
	for _, c := range e.Instance.Containers {
		if c.Image == "" {
			continue
		}
		key := fmt.Sprint(e.Instance.Slot.Service, e.Instance.Revision, c.Image)
		if had, ok := w.pins[key]; ok && had != c.Digest && e.Instance.State == planner.StateRunning {
			w.s.violated("%s runs digest %.15s of %s, had %.15s", e.Instance.Slot, c.Digest, c.Image, had)
		}
		if e.Instance.State == planner.StateRunning {
			w.pins[key] = c.Digest
		}
	}
}

// stopped checks that the agent had a reason to stop what ran.
func (w *witness) stopped(e runtimetest.Event, was *sighting) {
	i := e.Instance
	if down := w.s.gitDown; !down.IsZero() && down.Before(w.begun) && e.At.Sub(w.begun) > 200*time.Millisecond {
		w.s.violated("%s stopped although this process never read the repository", i.ID)
	}
	wanted, slotWanted := !was.doomed, !was.slotDoomed
	twin, successor := false, false
	for id, other := range w.seen {
		if id == i.ID || other.Slot != i.Slot {
			continue
		}
		twin = twin || other.Revision == i.Revision && !other.since.IsZero()
		ran := other.longest
		if !other.since.IsZero() {
			ran = max(ran, e.At.Sub(other.since))
		}
		successor = successor || ran >= settleTime
	}
	if wanted && !twin && !w.blocked[i.Revision] {
		w.s.violated("%s: %s (%s at %s) stopped although every commit wants it", e.At.Format("15:04:05.000"), i.ID, i.Slot, i.Revision.Short())
	}
	single := strings.HasPrefix(i.Slot.Service.Name, "db")
	if slotWanted && !single && !successor && was.since.After(w.lost) && e.At.Sub(was.since) > settleTime && !w.withinBudget(i, e.At) {
		w.s.violated("%s: %s stopped before another of its slot was ready", e.At.Format("15:04:05.000"), i.ID)
	}
}

// wants reports whether a commit asks for the instance as it is, and for its
// slot at all. What the commit does not speak of is wanted.
func (c simCommit) wants(i planner.Instance) (exact, slot bool) {
	svc, ok := c.services[i.Slot.Service]
	if !ok {
		keeps := c.kept || strings.HasPrefix(i.Slot.Service.Name, "db") && !c.approves
		return keeps, keeps
	}
	n, _ := strconv.Atoi(i.Slot.Name)
	slot = n < svc.Replicas
	return slot && svc.Revision == i.Revision, slot
}

// trace is what the test did and the agent logged, for a seed that fails.
type trace struct {
	mu    sync.Mutex
	lines []string
}

func (t *trace) add(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, time.Now().Format("15:04:05.000 ")+line)
}

func (t *trace) last(n int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.lines[max(0, len(t.lines)-n):], "\n")
}

// tail writes logs to a trace.
type tail struct{ *trace }

func newTail(t *trace) slog.Handler { return tail{t} }

func (t tail) Enabled(context.Context, slog.Level) bool { return true }
func (t tail) WithAttrs([]slog.Attr) slog.Handler       { return t }
func (t tail) WithGroup(string) slog.Handler            { return t }

func (t tail) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString("   " + r.Message)
	r.Attrs(func(a slog.Attr) bool { fmt.Fprintf(&b, " %s=%v", a.Key, a.Value); return true })
	t.add(b.String())
	return nil
}
