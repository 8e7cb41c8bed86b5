package notify

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// Kind says what happened.
type Kind string

// The kinds of event, by their names in the configuration.
const (
	RolloutStarted  Kind = "rolloutStarted"
	RolloutDone     Kind = "rolloutDone"
	RolloutBlocked  Kind = "rolloutBlocked"
	RolloutFailing  Kind = "rolloutFailing" // with nothing to go back to
	RolloutReverted Kind = "rolloutReverted"
	RolloutPaused   Kind = "rolloutPaused" // until a person approves of it
	HookFailed      Kind = "hookFailed"
	NodeFenced      Kind = "nodeFenced"
	NodeBack        Kind = "nodeBack"
	CommitRefused   Kind = "commitRefused" // as a whole, or files of it
	Alarm           Kind = "alarm"         // records went back
)

// Kinds lists all kinds, in the order of the documentation.
var Kinds = []Kind{RolloutStarted, RolloutDone, RolloutFailing, RolloutBlocked, RolloutReverted, RolloutPaused, HookFailed, NodeFenced, NodeBack, CommitRefused, Alarm}

// Event is one thing that happened.
type Event struct {
	Kind Kind `json:"event"`
	// ID is the same on every node that tells of the same thing, and for every
	// time it is sent.
	ID       string `json:"id"`
	Service  string `json:"service,omitempty"`
	Revision string `json:"revision,omitempty"`
	Node     string `json:"node,omitempty"` // the event is about
	Commit   string `json:"commit,omitempty"`
	Reason   string `json:"reason,omitempty"`
	// Text is the event in one sentence.
	Text string `json:"text"`
}

const (
	maxReason = 500
	maxText   = 700
)

// made fills in what follows from the rest. What tells the event from others
// of its kind is subject.
func (e Event) made(fleet string, subject ...string) Event {
	e.Reason = planner.OneLine(e.Reason, maxReason)
	e.Text = planner.OneLine(e.Text, maxText)
	sum := sha256.Sum256([]byte(strings.Join(append([]string{fleet, string(e.Kind)}, subject...), "\x00")))
	e.ID = hex.EncodeToString(sum[:8])
	return e
}

// Told is what the events of earlier facts were found by: it goes before Tell's
// next facts, and is kept on disk. The zero value knows nothing, and what is
// then found is not news.
type Told struct {
	Known    bool                    `json:"known"`
	Services map[string]ToldService  `json:"services,omitempty"` // by name
	Fenced   map[planner.NodeName]By `json:"fenced,omitempty"`
	Refused  string                  `json:"refused,omitempty"` // hash
	Faulty   string                  `json:"faulty,omitempty"`  // hash
	Alarm    bool                    `json:"alarm,omitempty"`
}

// ToldService is what was told of a service.
type ToldService struct {
	Revision planner.Revision `json:"revision"`
	// Said are the events of this attempt at Revision that have been, so that none
	// comes again however an instance's health changes.
	Said []string `json:"said,omitempty"`
	// BlockedAt is the Service.BlockedAt of that attempt, once it has failed: with
	// another one, or none, the next has begun.
	BlockedAt string `json:"blockedAt,omitempty"`
	// Done is the last revision whose rollout was completed.
	Done planner.Revision `json:"done,omitempty"`
}

// By is a fence.
type By struct {
	Node  planner.NodeName `json:"node"`
	Epoch uint64           `json:"epoch"`
}

// Tell finds what happened since it was last told of, and what is told now. An
// event is found by every node and returned by the one that is to tell it: of
// a service by who decided on it, of a node by who fenced it, of a commit by who
// ranks first, an alarm by everybody who has it. Whether it is returned or not,
// it is told once.
func Tell(before Told, now Facts) (Told, []Event) {
	t := &teller{before: before, now: now, out: before}
	t.alarm()
	t.out.Known = t.out.Known || now.Fresh
	if now.Stale || now.Commit.Hash == "" {
		return t.out, t.events // what else was told stands
	}
	t.out.Known = true
	t.commits()
	t.services()
	t.nodes()
	return t.out, t.events
}

// teller is the work of one Tell.
type teller struct {
	before Told
	now    Facts
	out    Told
	events []Event
}

// tell adds an event, if it is this node's to tell.
func (t *teller) tell(mine bool, e Event, subject ...string) {
	if mine && (t.before.Known || e.Kind == Alarm) {
		t.events = append(t.events, e.made(t.now.Fleet, subject...))
	}
}

func (t *teller) alarm() {
	t.out.Alarm = t.now.Alarm != ""
	if t.out.Alarm && !t.before.Alarm {
		t.tell(true, Event{Kind: Alarm, Node: string(t.now.Node), Reason: t.now.Alarm,
			Text: fmt.Sprintf("alarm of %s: %s", t.now.Node, t.now.Alarm)}, t.now.Alarm)
	}
}

func (t *teller) commits() {
	f := t.now
	if f.Refusal != "" && f.Refused.Hash != t.before.Refused {
		t.tell(f.Rank == 0, Event{Kind: CommitRefused, Commit: f.Refused.Hash, Reason: f.Refusal,
			Text: fmt.Sprintf("commit %s is refused, nothing changes: %s", f.Refused.Short(), f.Refusal)}, f.Refused.Hash)
	}
	t.out.Refused = ""
	if f.Refusal != "" {
		t.out.Refused = f.Refused.Hash
	}
	if f.FaultCount > 0 && f.Commit.Hash != t.before.Faulty {
		t.tell(f.Rank == 0, Event{Kind: CommitRefused, Commit: f.Commit.Hash, Reason: faults(f),
			Text: fmt.Sprintf("commit %s has faults, their services stay as they are: %s", f.Commit.Short(), faults(f))}, f.Commit.Hash)
	}
	t.out.Faulty = ""
	if f.FaultCount > 0 {
		t.out.Faulty = f.Commit.Hash
	}
}

// faults are those of a commit in one line.
func faults(f Facts) string {
	text := strings.Join(f.Faults, "; ")
	if more := f.FaultCount - len(f.Faults); more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return text
}

func (t *teller) services() {
	t.out.Services = make(map[string]ToldService, len(t.now.Services))
	for _, s := range t.now.Services {
		t.out.Services[s.ID.String()] = t.service(s, t.before.Services[s.ID.String()])
	}
}

// service finds the events of one service.
func (t *teller) service(s Service, before ToldService) ToldService {
	said := ToldService{Revision: s.Revision, Done: before.Done, BlockedAt: s.BlockedAt}
	again := before.BlockedAt != "" && before.BlockedAt != s.BlockedAt // it is tried, or was while nobody looked
	if before.Revision == s.Revision && !again {
		said.Said = slices.Clone(before.Said)
	}
	name, revision := s.ID.String(), s.Revision.Short()
	once := func(kind Kind, what, reason, format string, args ...any) {
		key := string(kind) + what
		if slices.Contains(said.Said, key) {
			return
		}
		said.Said = append(said.Said, key)
		text := name + ": " + fmt.Sprintf(format, args...)
		if reason != "" {
			text += ": " + reason
		}
		t.tell(s.Mine, Event{Kind: kind, Service: name, Revision: string(s.Revision), Commit: t.now.Commit.Hash, Reason: reason, Text: text},
			name, string(s.Revision), what, t.now.Commit.Hash)
	}
	for _, h := range s.Hooks {
		once(HookFailed, "/"+string(h.Kind), h.Why, "hook %s of revision %s failed", h.Kind.Field(), revision)
	}
	switch s.Phase {
	case Rolling:
		if said.Done != s.Revision { // else it is only not ready everywhere, or scaled
			once(RolloutStarted, "", "", "revision %s is being rolled out", revision)
		}
	case Paused:
		once(RolloutPaused, fmt.Sprintf("/%d", s.Step), s.Why, "the rollout of revision %s waits for approval", revision)
	case Done:
		if said.Done != s.Revision {
			once(RolloutDone, "", "", "revision %s is rolled out", revision)
		}
		said.Done = s.Revision
	case Blocked, Reverted:
		end := "what runs stays"
		if s.Back != "" {
			end = "its slots return to " + s.Back.Short()
		}
		once(RolloutBlocked, "", s.Why, "revision %s is blocked, %s", revision, end)
		if s.Phase == Reverted {
			once(RolloutReverted, "", s.Why, "reverted from revision %s to %s", revision, s.Back.Short())
		}
	}
	if s.Failing != "" && said.Done != s.Revision {
		once(RolloutFailing, "", s.Failing, "revision %s fails and is tried further, for none was good before", revision)
	}
	return said
}

func (t *teller) nodes() {
	t.out.Fenced = map[planner.NodeName]By{}
	for _, n := range t.now.Nodes {
		fence, was := t.before.Fenced[n.Name]
		switch {
		case n.FencedBy != "":
			t.out.Fenced[n.Name] = By{n.FencedBy, n.Epoch}
			if !was || fence.Epoch != n.Epoch {
				t.tell(n.FencedBy == t.now.Node, Event{Kind: NodeFenced, Node: string(n.Name), Reason: n.Why,
					Text: fmt.Sprintf("node %s is fenced by %s, its slots run elsewhere: %s", n.Name, n.FencedBy, n.Why)}, string(n.Name), fmt.Sprint(n.Epoch))
			}
		case was && n.Live:
			t.tell(fence.Node == t.now.Node, Event{Kind: NodeBack, Node: string(n.Name),
				Text: fmt.Sprintf("node %s is back", n.Name)}, string(n.Name), fmt.Sprint(fence.Epoch))
		}
	}
}
