package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// toldPlan is what `orpheus plan -o json` says, as docs/plan.md describes it: the
// words that a reviewer relies on, and nothing of how they were found.
type toldPlan struct {
	Records string `json:"records"`
	Refused string `json:"refused"`
	Summary map[string]any
	// Services are those that change; slots that do not are counted by Stay.
	Services []struct {
		Service string     `json:"service"`
		Change  string     `json:"change"`
		Slots   []toldSlot `json:"slots"`
		Stay    int        `json:"stay"`
		Down    string     `json:"down"`
	} `json:"services"`
	Turns []struct {
		After string     `json:"after"`
		Steps []toldStep `json:"steps"`
	} `json:"turns"`
	Cut   bool `json:"cut"`
	Loads []struct {
		Node  string `json:"node"`
		After struct {
			Instances int `json:"instances"`
		} `json:"after"`
	} `json:"loads"`
	Unplaced []struct {
		Slot string `json:"slot"`
	} `json:"unplaced"`
	Faults []struct {
		Holds []string `json:"holds"`
	} `json:"faults"`
	Deletions *struct {
		Services, Waiting []string
		Approve           string
	} `json:"deletions"`
	UnderWay []string `json:"underWay"`
}

type toldSlot struct {
	Slot string     `json:"slot"` // web-0
	Does string     `json:"does"`
	From *toldPlace `json:"from"`
	To   *toldPlace `json:"to"`
}

type toldStep struct {
	Service  string `json:"service"`
	Approved bool   `json:"approved"`
	Changes  []struct {
		Slot string     `json:"slot"` // 0
		From *toldPlace `json:"from"`
		To   *toldPlace `json:"to"`
	} `json:"changes"`
}

type toldPlace struct {
	Node     string `json:"node"`
	Revision string `json:"revision"`
}

func (p *toldPlace) String() string { return p.Node + " " + p.Revision }

func readPlan(t *testing.T, out string) toldPlan {
	t.Helper()
	var p toldPlan
	if err := json.Unmarshal([]byte(out), &p); err != nil {
		t.Fatalf("the plan is no JSON: %v\n%.2000s", err, out)
	}
	return p
}

// counts are those of the summary that are not zero, in order of their names.
func (p toldPlan) counts() string {
	var parts []string
	for _, name := range []string{"added", "changed", "deleted", "restart", "move", "appear", "go"} {
		if n, _ := p.Summary[name].(float64); n != 0 {
			parts = append(parts, fmt.Sprintf("%s %.0f", name, n))
		}
	}
	return strings.Join(parts, ", ")
}

// write is one value of a lease document: the leases that it gives and takes, in
// order, as text. Values that do neither are left out.
type write struct {
	leases []string
	// after is for how long nothing was to be decided before, at its time.
	after, at time.Duration
}

func (w write) String() string { return strings.Join(w.leases, ", ") }

// steps are the values of the plan's documents, by service, up to where a person
// has to let one go on.
func (p toldPlan) steps(t *testing.T) map[string][]write {
	t.Helper()
	all := map[string][]write{}
	for _, turn := range p.Turns {
		after, err := time.ParseDuration(turn.After)
		if turn.After != "" && err != nil {
			t.Errorf("a turn comes after %q", turn.After)
		}
		for _, s := range turn.Steps {
			if s.Approved {
				return all
			}
			w := write{after: after}
			for _, c := range s.Changes {
				if c.From != nil {
					w.leases = append(w.leases, c.Slot+" leaves "+c.From.String())
				}
				if c.To != nil {
					w.leases = append(w.leases, c.Slot+" gets "+c.To.String())
				}
			}
			if slices.Sort(w.leases); len(w.leases) > 0 {
				all[s.Service] = append(all[s.Service], w)
			}
		}
	}
	return all
}

// approved reports whether a person is asked on the way. What comes after that is not
// to happen by the commit of this plan.
func (p toldPlan) approved() bool {
	for _, turn := range p.Turns {
		if slices.ContainsFunc(turn.Steps, func(s toldStep) bool { return s.Approved }) {
			return true
		}
	}
	return false
}

// untilApproved leaves the slots out that change only after a person was asked.
func (p toldPlan) untilApproved(t *testing.T) toldPlan {
	if !p.approved() {
		return p
	}
	steps := p.steps(t)
	p.Services, p.Loads = slices.Clone(p.Services), nil
	for i, s := range p.Services {
		text := lines(steps[s.Service])
		begins := func(slot toldSlot) bool {
			return slot.To != nil && strings.Contains(text, strings.TrimPrefix(slot.Slot, s.Service+"-")+" gets "+slot.To.String())
		}
		p.Services[i].Slots = slices.DeleteFunc(slices.Clone(s.Slots), func(slot toldSlot) bool { return !begins(slot) })
		p.Services[i].Stay += len(s.Slots) - len(p.Services[i].Slots)
	}
	return p
}

// history is what stands in the records of one service's leases, oldest first.
type history struct {
	docs  []planner.LeaseDoc
	times []time.Time // when each was written, by its writer's clock, in seconds
}

// histories reads all of them past the server.
func (f *fleet) histories() map[string]history {
	f.t.Helper()
	all := map[string]history{}
	for ref := range f.refs() {
		if !strings.HasPrefix(ref, prefix+"leases/") {
			continue
		}
		h := history{docs: f.log(ref)}
		text, err := f.Repo.Git("", "log", "--format=%ct", ref)
		f.must(err)
		for line := range strings.FieldsSeq(text) {
			seconds, err := strconv.ParseInt(line, 10, 64)
			f.must(err)
			h.times = append(h.times, time.Unix(seconds, 0))
		}
		slices.Reverse(h.docs)
		slices.Reverse(h.times)
		all[h.docs[0].Service.String()] = h
	}
	return all
}

// since are the values that came after those of before.
func (h history) since(before history) []write {
	var out []write
	for i := len(before.docs); i < len(h.docs); i++ {
		var was planner.LeaseDoc
		if i > 0 {
			was = h.docs[i-1]
		}
		w := write{leases: append(leases("leaves", was, h.docs[i]), leases("gets", h.docs[i], was)...)}
		w.at = h.times[i].Sub(h.times[max(0, i-1)])
		if slices.Sort(w.leases); len(w.leases) > 0 {
			out = append(out, w)
		}
	}
	return out
}

// leasesBetween tells what was written about leases in between.
func leasesBetween(before, after map[string]history) string {
	var b strings.Builder
	for _, service := range sortedKeys(before, after) {
		if came := after[service].since(before[service]); len(came) > 0 {
			fmt.Fprintf(&b, "%s\n%s", service, lines(came))
		}
	}
	return b.String()
}

// leases tells those of one document that another does not have.
func leases(verb string, of, but planner.LeaseDoc) []string {
	var out []string
	for _, l := range of.Leases {
		if !slices.ContainsFunc(but.Leases, func(o planner.Lease) bool { return o.Token == l.Token }) {
			out = append(out, fmt.Sprintf("%s %s %s %s", l.Slot, verb, l.Node, l.Revision))
		}
	}
	return out
}

// newest are the leases of the slots of a service, with those of hooks left out.
func (h history) newest() map[string]planner.Lease {
	out := map[string]planner.Lease{}
	if len(h.docs) == 0 {
		return out
	}
	for _, l := range h.docs[len(h.docs)-1].Leases {
		if l.Hook == "" && l.Token > out[l.Slot].Token {
			out[l.Slot] = l
		}
	}
	return out
}

// reordered says why steps that came are not those of a plan in an order that it
// allows. Where a step gives leases to several slots at once nobody promises which of
// these is available first: what follows upon that may be written sooner, later, or
// apart. But each slot still goes the way of the plan, and none gets a lease before
// another that was to get one in an earlier step.
func reordered(planned, came []write) (why string) {
	atOnce := slices.ContainsFunc(planned, func(w write) bool { return len(w.gets()) > 1 })
	if !atOnce {
		return "and no step gives several slots a lease"
	}
	if ways, went := ways(planned), ways(came); !maps.Equal(ways, went) {
		return fmt.Sprintf("slots went %v", went)
	}
	turn := map[string]int{}
	for i, w := range planned {
		for _, l := range w.gets() {
			turn[l] = i
		}
	}
	latest := 0
	for _, w := range came {
		before := latest
		for _, l := range w.gets() {
			if turn[l] < before {
				return l + " came too late"
			}
			latest = max(latest, turn[l])
		}
	}
	return ""
}

// gets are the leases that a value gives.
func (w write) gets() []string {
	return slices.DeleteFunc(slices.Clone(w.leases), func(l string) bool { return !strings.Contains(l, " gets ") })
}

// ways are what becomes of each slot, in order.
func ways(all []write) map[string]string {
	out := map[string]string{}
	for _, w := range all {
		for _, l := range w.leases {
			slot, what, _ := strings.Cut(l, " ")
			out[slot] += what + "; "
		}
	}
	return out
}

// compareSteps demands that each service had exactly the steps of the plan, in
// their order (but see reordered), and rested where the plan says so.
func compareSteps(t *testing.T, p toldPlan, before, after map[string]history) {
	t.Helper()
	planned := p.steps(t)
	for _, service := range sortedKeys(planned, after) {
		came := after[service].since(before[service])
		if want, got := lines(planned[service]), lines(came); want != got {
			if why := reordered(planned[service], came); why != "" {
				t.Errorf("%s: the steps were planned as\n%sand came as\n%s%s", service, want, got, why)
			}
			continue
		}
		for i, w := range planned[service] {
			// The records have seconds.
			if i > 0 && came[i].at < w.after-time.Second {
				t.Errorf("%s: %q was to come %s after what was before, and came after %s", service, w, w.after, came[i].at)
			}
		}
	}
}

func lines(all []write) string {
	var b strings.Builder
	for _, w := range all {
		fmt.Fprintf(&b, "\t%s\n", w)
	}
	return b.String()
}

// compareSlots demands that what the plan says of each slot is what became of its
// lease, and that no other lease is another.
func compareSlots(t *testing.T, p toldPlan, before, after map[string]history) {
	t.Helper()
	told, stay := map[string]string{}, map[string]int{}
	for _, s := range p.Services {
		stay[s.Service] = s.Stay
		for _, slot := range s.Slots {
			told[slot.Slot] = fate(slot.Does, slot.From, slot.To)
		}
	}
	came := map[string]string{}
	for _, service := range sortedKeys(before, after) {
		was, is := before[service].newest(), after[service].newest()
		stayed := 0
		for _, slot := range sortedKeys(was, is) {
			from, to := placeOf(was, slot), placeOf(is, slot)
			switch {
			case from == nil:
				came[service+"-"+slot] = fate("appears", from, to)
			case to == nil:
				came[service+"-"+slot] = fate("goes", from, to)
			case was[slot].Token == is[slot].Token:
				stayed++
			case from.Node != to.Node:
				came[service+"-"+slot] = fate("moves", from, to)
			default:
				came[service+"-"+slot] = fate("restarts", from, to)
			}
		}
		if n, said := stay[service]; said && n != stayed {
			t.Errorf("%s: %d slots were to stay as they are, and %d did", service, n, stayed)
		}
	}
	for _, slot := range sortedKeys(told, came) {
		if told[slot] != came[slot] {
			t.Errorf("%s: planned %q, came %q", slot, told[slot], came[slot])
		}
	}
}

func fate(does string, from, to *toldPlace) string {
	return fmt.Sprintf("%s from %v to %v", does, from, to)
}

func placeOf(leases map[string]planner.Lease, slot string) *toldPlace {
	l, has := leases[slot]
	if !has {
		return nil
	}
	return &toldPlace{string(l.Node), string(l.Revision)}
}

// compareRunning demands that processes are where the plan has them at the end, that
// those it does not name run on untouched, and that it counts them all.
func compareRunning(t *testing.T, p toldPlan, before, after places) {
	t.Helper()
	want := maps.Clone(before)
	for _, s := range p.Services {
		_, name, namespaced := strings.Cut(s.Service, "/")
		if !namespaced {
			name = s.Service
		}
		for _, slot := range s.Slots {
			key := name + "/" + strings.TrimPrefix(slot.Slot, s.Service+"-")
			delete(want, key)
			now := after[key]
			switch {
			case slot.To == nil && len(now) > 0:
				t.Errorf("%s was to go, and runs: %+v", slot.Slot, now)
			case slot.To != nil && (len(now) != 1 || now[0].node != slot.To.Node || !now[0].ready):
				t.Errorf("%s was to run on %s, and runs at %+v", slot.Slot, slot.To.Node, now)
			case slot.To != nil && slot.From != nil && len(before[key]) == 1 && before[key][0].PID == now[0].PID:
				t.Errorf("%s %s, and is still process %d", slot.Slot, slot.Does, now[0].PID)
			}
		}
	}
	if changed := want.changed(after); changed != "" {
		t.Errorf("was not to be touched: %s", changed)
	}
	perNode := map[string]int{}
	for _, at := range after {
		for _, where := range at {
			perNode[where.node]++
			perNode[""]++
		}
	}
	for _, l := range p.Loads {
		if l.After.Instances != perNode[l.Node] {
			t.Errorf("%d instances were to run on %q at the end, and %d do", l.After.Instances, l.Node, perNode[l.Node])
		}
	}
}

// sortedKeys are the keys of two maps, in order.
func sortedKeys[A, B any](a map[string]A, b map[string]B) []string {
	return slices.Compact(slices.Sorted(func(yield func(string) bool) {
		for k := range a {
			if !yield(k) {
				return
			}
		}
		for k := range b {
			if !yield(k) {
				return
			}
		}
	}))
}

// TestReordered: which other order of steps is still that of a plan.
func TestReordered(t *testing.T) {
	steps := func(text string) (all []write) {
		for value := range strings.SplitSeq(text, " | ") {
			all = append(all, write{leases: strings.Split(value, ", ")})
		}
		return all
	}
	const oneByOne = "0 gets b | 0 leaves a, 1 gets b | 1 leaves a"
	const atOnce = "0 gets b, 1 gets b | 0 leaves a, 1 leaves a, 2 gets b | 2 leaves a"
	tests := []struct {
		name, planned, came string
		same                bool
	}{
		{"one after the other has no other order", oneByOne, "0 gets b, 1 gets b | 0 leaves a | 1 leaves a", false},
		{"one of two is there first", atOnce, "0 gets b, 1 gets b | 1 leaves a, 2 gets b | 0 leaves a | 2 leaves a", true},
		{"they begin apart", atOnce, "1 gets b | 0 gets b | 0 leaves a, 1 leaves a, 2 gets b | 2 leaves a", true},
		{"the last begins first", atOnce, "2 gets b | 0 gets b, 1 gets b | 0 leaves a, 1 leaves a, 2 leaves a", false},
		{"another place", atOnce, "0 gets b, 1 gets c | 0 leaves a, 1 leaves a, 2 gets b | 2 leaves a", false},
		{"something is left out", atOnce, "0 gets b, 1 gets b | 0 leaves a, 1 leaves a, 2 gets b", false},
		{"something more", atOnce, atOnce + " | 0 leaves b", false},
		{"a slot leaves before it has another", atOnce, "0 leaves a | 0 gets b, 1 gets b | 1 leaves a, 2 gets b | 2 leaves a", false},
	}
	for _, tt := range tests {
		if why := reordered(steps(tt.planned), steps(tt.came)); (why == "") != tt.same {
			t.Errorf("%s: %q", tt.name, why)
		}
	}
}
