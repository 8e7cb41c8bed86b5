package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// budget is what a change may take of a service.
type budget struct{ slots, surge, unavailable int }

// observer looks at a fleet from outside, some ten times a second: at what runs
// on every node, whether its agent answers or not, and at the documents that
// stand in the records. It notes whatever is over budget.
type observer struct {
	f       *fleet
	budgets map[string]budget
	cancel  context.CancelFunc
	ended   chan struct{}

	mu    sync.Mutex
	lost  map[string]bool // nodes that died
	mute  map[string]bool // nodes whose agent died: what records say of them is old
	runs  []map[string]seen
	views [2]view // of the last look: by what runs, by the records
	looks int
	wrong []string
	told  bool
}

// seen is an instance as its node told it last.
type seen struct {
	slot  string // service/slot
	pid   int
	ready bool
}

// view is what slots of a service are without an available instance, by
// service/slot. Those that were lost with a node are marked.
type view map[string]bool

// observe begins to look, once the records tell of all that runs.
func (f *fleet) observe(budgets map[string]budget) *observer {
	ctx, cancel := context.WithCancel(f.t.Context())
	o := &observer{f: f, budgets: budgets, cancel: cancel, ended: make(chan struct{}),
		lost: map[string]bool{}, mute: map[string]bool{}, runs: make([]map[string]seen, len(f.Nodes)), views: [2]view{{}, {}}}
	o.allTold()
	go func() {
		defer close(o.ended)
		for ctx.Err() == nil {
			o.look(ctx)
			select {
			case <-time.After(80 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}()
	f.t.Cleanup(o.stop) // also of a test that gave up
	return o
}

// loses tells that a node is about to die, or is back: what it takes along is
// nobody's decision.
func (o *observer) loses(node string, dies bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lost[node] = dies
}

// mutes tells that a node's agent is about to die, or has told all again. What
// runs there runs on.
func (o *observer) mutes(node string, dies bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mute[node] = dies
}

// allTold waits until the records say of all slots that they are available: what
// agents tell their own people comes a moment earlier.
func (o *observer) allTold() {
	o.f.t.Helper()
	o.f.await("the records tell of all slots", patience, func([]*api.Status) string {
		now := o.f.records(o.f.t.Context()).available()
		for name, b := range o.budgets {
			for n := range b.slots {
				if slot := fmt.Sprintf("%s/%d", name, n); !now[slot] {
					return slot + " is not available"
				}
			}
		}
		return ""
	})
}

// stop ends the observation and fails the test with what was wrong.
func (o *observer) stop() {
	o.f.t.Helper()
	if o.cancel(); o.told {
		return
	}
	<-o.ended
	o.told = true
	o.f.t.Logf("an observer looked %d times", o.looks)
	for _, wrong := range o.wrong[:min(len(o.wrong), 20)] {
		o.f.t.Errorf("over budget: %s", wrong)
	}
	if o.looks < 20 {
		o.f.t.Errorf("the observer looked %d times: this proves nothing", o.looks)
	}
}

// look takes one look. What seems wrong is looked at once more: nodes are asked
// one beside the other, and a slot may have gone from one to another meanwhile.
func (o *observer) look(ctx context.Context) {
	statuses, records := o.f.Statuses(ctx), o.f.records(ctx)
	if ctx.Err() != nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	wrong := o.judge(statuses, records)
	if len(wrong) > 0 {
		if wrong = o.judge(o.f.Statuses(ctx), o.f.records(ctx)); ctx.Err() != nil {
			return
		}
	}
	for _, w := range wrong {
		o.wrong = append(o.wrong, time.Now().UTC().Format("15:04:05.000 ")+w)
	}
	o.looks++
}

// judge compares what is seen with the budgets, and with what was seen last.
func (o *observer) judge(statuses []*api.Status, records *records) (wrong []string) {
	now := [2]map[string]bool{o.running(statuses), records.available()}
	for _, name := range slices.Sorted(maps.Keys(o.budgets)) {
		b := o.budgets[name]
		for k, by := range []string{"what runs", "the records"} {
			var down, fresh []string
			for n := range b.slots {
				slot := fmt.Sprintf("%s/%d", name, n)
				if now[k][slot] {
					delete(o.views[k], slot)
					continue
				}
				down = append(down, slot)
				if _, before := o.views[k][slot]; !before && !o.excused(slot, k == 1) {
					fresh = append(fresh, slot)
				}
			}
			if len(fresh) > 0 && len(down) > b.unavailable {
				wrong = append(wrong, fmt.Sprintf("by %s %v are not available, %v since the last look; %d may be", by, down, fresh, b.unavailable))
				continue // is looked at once more
			}
			for _, slot := range down {
				o.views[k][slot] = true
			}
		}
		if doubles := records.doubles(name); len(doubles) > b.surge {
			wrong = append(wrong, fmt.Sprintf("slots %v of %s have two leases in force; %d may have", doubles, name, b.surge))
		}
	}
	return wrong
}

// excused reports whether a slot was last seen to run on a node that died, or
// as far as records go on one whose agent did.
func (o *observer) excused(slot string, records bool) bool {
	for k, n := range o.f.Nodes {
		for _, i := range o.runs[k] {
			if i.slot == slot && (o.lost[n.Name] || records && o.mute[n.Name]) {
				return true
			}
		}
	}
	return false
}

// running are the slots that have a ready instance: as its node says, or where
// no agent answers, as it said last, as long as the process lives.
func (o *observer) running(statuses []*api.Status) map[string]bool {
	ready := map[string]bool{}
	for k, st := range statuses {
		switch {
		case st != nil && len(st.Services) > 0:
			o.runs[k] = map[string]seen{}
			for _, s := range st.Services {
				for _, i := range s.Instances {
					if len(i.Containers) == 1 && i.Containers[0].State == string(planner.StateRunning) {
						o.runs[k][i.ID] = seen{s.Name + "/" + i.Slot, i.Containers[0].PID, i.Phase == planner.PhaseReady}
					}
				}
			}
		case o.lost[o.f.Nodes[k].Name]: // keeps what it had, for excused
			continue
		}
		for _, i := range o.runs[k] {
			ready[i.slot] = ready[i.slot] || i.ready && (i.pid == 0 || syscall.Kill(i.pid, 0) == nil)
		}
	}
	return ready
}

// records are those that stand on the server at one moment.
type records struct {
	docs     map[string]planner.LeaseDoc // by the service's name
	nodes    map[planner.NodeName]planner.NodeRecord
	statuses map[planner.NodeName]planner.NodeStatus
}

// records reads them past the server, which need not run.
func (f *fleet) records(ctx context.Context) *records {
	text, err := f.Repo.Git("", "for-each-ref", "--format=%(refname)%00%(contents)%01", prefix)
	if err != nil && ctx.Err() == nil {
		f.t.Errorf("read the records: %v", err)
	}
	r := &records{map[string]planner.LeaseDoc{}, map[planner.NodeName]planner.NodeRecord{}, map[planner.NodeName]planner.NodeStatus{}}
	for part := range strings.SplitSeq(text, "\x01") {
		ref, message, ok := strings.Cut(strings.TrimPrefix(part, "\n"), "\x00")
		if !ok {
			continue
		}
		kind, rest, _ := strings.Cut(strings.TrimPrefix(ref, prefix), "/")
		if err := r.add(kind, rest, message); err != nil {
			f.t.Errorf("%s: %v\n%s", ref, err, message)
		}
	}
	return r
}

func (r *records) add(kind, name, text string) error {
	if kind == "nodes" {
		n, err := planner.ParseNodeMessage(text)
		r.nodes[planner.NodeName(name)] = n
		return err
	}
	if kind != "leases" && kind != "status" {
		return nil
	}
	m, err := planner.ParseMessage(text)
	if err != nil {
		return err
	}
	body := m.Parts[0].Body
	if kind == "leases" {
		doc, err := planner.ParseLeaseDoc(body)
		r.docs[doc.Service.Name] = doc
		return err
	}
	st, err := planner.ParseNodeStatus(body)
	r.statuses[planner.NodeName(name)] = st
	return err
}

// inForce reports a lease whose node has not been fenced since it was given.
func (r *records) inForce(l planner.Lease) bool {
	return !l.Ending && l.Epoch == r.nodes[l.Node].Epoch
}

// available are the slots whose holder says that their instance is ready.
func (r *records) available() map[string]bool {
	out := map[string]bool{}
	for name, doc := range r.docs {
		for _, l := range doc.Leases {
			for _, i := range r.statuses[l.Node].Instances {
				if i.Slot == (planner.SlotID{Service: doc.Service, Name: l.Slot}) && i.Token == l.Token && i.Phase == planner.PhaseReady && r.inForce(l) {
					out[name+"/"+l.Slot] = true
				}
			}
		}
	}
	return out
}

// doubles are the slots of a service with more than one lease in force that may
// both be run.
func (r *records) doubles(service string) (slots []string) {
	seen := map[string]int{}
	for _, l := range r.docs[service].Leases {
		if l.Hook == "" && !l.StopFirst && r.inForce(l) {
			seen[l.Slot]++
		}
	}
	for slot, n := range seen {
		if n > 1 {
			slots = append(slots, slot)
		}
	}
	slices.Sort(slots)
	return slots
}
