// Package review tells what a commit will do to a fleet before it is merged. The
// report is made of values alone: the manifests of two revisions, what is
// followed before and after, and the records; the planner that agents have
// foresees the rest. Whoever calls reads the repository, and writes the report
// as text; the form for a comment of a pull request is written here.
package review

import "github.com/orpheus-cd/orpheus/planner"

// FormatReport is the version of the report's JSON: fields may be added to it,
// none is renamed or removed as long as it stays.
const FormatReport = 1

// Report is what a commit will do.
type Report struct {
	Format int    `json:"format"`
	Fleet  string `json:"fleet"` // its name
	Path   string `json:"path"`  // of its folder; "." = the top of the repository
	Base   Side   `json:"base"`
	Head   Side   `json:"head"`
	// Records says where the records were read; NoRecords why none were: then
	// nothing is known of nodes, and Turns, Nodes and Unplaced are empty.
	Records   string `json:"records,omitempty"`
	NoRecords string `json:"noRecords,omitempty"`
	// Refused says why agents refuse the head as a whole: nothing changes.
	Refused string  `json:"refused,omitempty"`
	Summary Summary `json:"summary"`

	Services     []Service `json:"services"` // that are changed, or moved; ordered
	FleetChanges []Field   `json:"fleetChanges,omitempty"`
	NodeChanges  []Node    `json:"nodeChanges,omitempty"`

	// Turns is what agents will decide, in order; decisions of one turn are taken
	// at once, and what they begin is available before the next. Cut: there is
	// more than a plan follows.
	Turns []Turn `json:"turns,omitempty"`
	Cut   bool   `json:"cut,omitempty"`
	// Loads is what is asked of each node; the last one, without a name, is of all.
	Loads    []Load     `json:"loads,omitempty"`
	Unplaced []Unplaced `json:"unplaced,omitempty"`
	// Races are the nodes on which it hangs on who is quicker which slots of some
	// services go first, and which to another node instead.
	Races []Race `json:"races,omitempty"`
	// Waiting are services that have not come to rest at the end, and why.
	Waiting []Waiting `json:"waiting,omitempty"`

	Deletions *Deletions `json:"deletions,omitempty"`
	Findings  []Finding  `json:"findings,omitempty"`
	Faults    []Fault    `json:"faults,omitempty"` // of the head
	// UnderWay are services that the fleet is changing already, or cannot place,
	// without this commit.
	UnderWay []string `json:"underWay,omitempty"`
	// Notes say what the plan rests on, or does not know.
	Notes []string `json:"notes,omitempty"`
}

// Side is one of the two revisions.
type Side struct {
	Name   string `json:"name"`             // as the user wrote it, or "work tree"
	Commit string `json:"commit,omitempty"` // "" = it is none
	// Subject is the first line of the commit's message.
	Subject string `json:"subject,omitempty"`
}

// Summary counts.
type Summary struct {
	// Changes: something changes. Trouble: a fault, a slot without a place, or a
	// deletion that waits; see Report.Trouble.
	Changes bool `json:"changes"`
	Trouble bool `json:"trouble"`

	Added   int `json:"added"` // services
	Changed int `json:"changed"`
	Deleted int `json:"deleted"`
	// Of slots, as far as the records tell.
	Restart int `json:"restart"`
	Move    int `json:"move"`
	Appear  int `json:"appear"`
	Go      int `json:"go"`
	// Steps is how many decisions agents take, Turns in how many turns.
	Steps int `json:"steps"`
	Turns int `json:"turns"`
}

// The kinds of change of a service.
const (
	Added   = "added"
	Changed = "changed"
	Deleted = "deleted"
	Moved   = "moved"   // only its slots change place: its manifest is as it was
	Awaits  = "awaits"  // the commit lacks it, and its deletion awaits approval
	Kept    = "kept"    // the commit cannot speak for it: it stays as it was
	Renamed = "renamed" // only the file that describes it is another
	Begun   = "begun"   // its slots change without this commit, too: see UnderWay
)

// Service is what becomes of one.
type Service struct {
	Service string `json:"service"` // NAME or NAMESPACE/NAME
	Change  string `json:"change"`
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	// About says in a few words what an added or deleted service is.
	About string           `json:"about,omitempty"`
	Old   planner.Revision `json:"oldRevision,omitempty"`
	New   planner.Revision `json:"newRevision,omitempty"`
	// Restarts: its instances are made anew.
	Restarts bool    `json:"restarts"`
	Fields   []Field `json:"fields,omitempty"`
	// How says how its rollout goes, and what it waits for.
	How []string `json:"how,omitempty"`
	// Down says which slots are down meanwhile, and for how long; "" = none is.
	Down  string `json:"down,omitempty"`
	Slots []Slot `json:"slots,omitempty"` // that change, ordered
	// Stay is how many of its slots do not.
	Stay int `json:"stay,omitempty"`
	// Why says why it is Kept, Moved or Awaits.
	Why string `json:"why,omitempty"`
}

// Field is one value of a manifest that changes.
type Field struct {
	Field string `json:"field"` // its path; items of lists by name where they have one
	// Old and New are the values as JSON, or a description of a file; "" = there is
	// none.
	Old string `json:"old,omitempty"`
	New string `json:"new,omitempty"`
	// Restarts: a change of this field is one of the revision.
	Restarts bool `json:"restarts,omitempty"`
	// From is where the new value is written, or the old one that went: file:line,
	// and the variables it is made with.
	From string `json:"from,omitempty"`
}

// Node is what the commit says anew of a node.
type Node struct {
	Node   planner.NodeName `json:"node"`
	Change string           `json:"change"` // Added, Changed or Deleted
	Fields []Field          `json:"fields,omitempty"`
}

// The fates of a slot.
const (
	Restarts = "restarts" // where it is
	Moves    = "moves"    // to another node, at whatever revision
	Appears  = "appears"
	Goes     = "goes"
)

// Slot is what becomes of one.
type Slot struct {
	Slot string `json:"slot"` // web-0
	Does string `json:"does"`
	From *Place `json:"from,omitempty"`
	To   *Place `json:"to,omitempty"`
	// Down: its old instance ends before the new one begins.
	Down bool `json:"down,omitempty"`
	// Observed: only its lease changes. Its nodes do nothing, and the summary does
	// not count it (mode: observe).
	Observed bool `json:"observed,omitempty"`
}

// Place is a node and what runs there.
type Place struct {
	Node     planner.NodeName `json:"node"`
	Revision planner.Revision `json:"revision"`
}

// Turn is what is decided at once.
type Turn struct {
	Turn int `json:"turn"` // from 1
	// After is for how long rollouts rest before, as "1m0s".
	After string `json:"after,omitempty"`
	Steps []Step `json:"steps"`
}

// Step is one decision about a service.
type Step struct {
	Service string `json:"service"`
	// Approved: a person has to let the rollout go on before: orpheus promote.
	Approved bool     `json:"approved,omitempty"`
	Changes  []Change `json:"changes,omitempty"`
	// Says are the same in sentences, and what becomes of the rollout.
	Says []string `json:"says"`
	// Removed: the service is gone, and its document goes.
	Removed bool `json:"removed,omitempty"`
}

// Change is what a step does to a lease: it is given (To), taken (From), or one
// takes the place of the other.
type Change struct {
	Slot string `json:"slot"` // 0, a node's name, or that of a hook
	From *Place `json:"from,omitempty"`
	To   *Place `json:"to,omitempty"`
	Hook string `json:"hook,omitempty"` // preRollout, postRollout
}

// Load is what is asked of a node.
type Load struct {
	Node     planner.NodeName     `json:"node,omitempty"` // "" = all
	Capacity planner.ResourceList `json:"capacity"`       // zero = unknown
	Before   Amount               `json:"before"`
	Most     Amount               `json:"most"`
	After    Amount               `json:"after"`
}

// Amount is what so many instances ask for.
type Amount struct {
	Requests  planner.ResourceList `json:"requests"`
	Instances int                  `json:"instances"`
}

// Unplaced is a slot that no node takes.
type Unplaced struct {
	Slot string `json:"slot"`
	// Nearest says which node comes closest, and what it lacks; "" = none does.
	Nearest string   `json:"nearest,omitempty"`
	Reasons []Reason `json:"reasons"` // ordered by node
	// Before: it has no place without this commit either.
	Before bool `json:"before,omitempty"`
}

// Reason is why nodes do not take a slot.
type Reason struct {
	Nodes  []planner.NodeName `json:"nodes"`
	Reason string             `json:"reason"`
}

// Race is a node that has no room for all that changes on it at once. Without one it
// is a service whose slots move, and then change step by step.
type Race struct {
	Node     planner.NodeName `json:"node,omitempty"`
	Services []string         `json:"services"`
}

// Waiting is a service that waits at the end.
type Waiting struct {
	Service string `json:"service"`
	Why     string `json:"why"`
}

// Deletions is what the commit deletes, and what may go at once.
type Deletions struct {
	Services []string `json:"services"` // that go at once
	Waiting  []string `json:"waiting"`  // for approval; they run on
	// Budget is how many may go at once, without volumes.
	Budget int `json:"budget"`
	// Approve is the trailer of a later commit that lets those go that wait; its
	// value is the commit that reaches the branch.
	Approve string `json:"approve,omitempty"`
}

// Finding is something that a reviewer should look at.
type Finding struct {
	Service string `json:"service,omitempty"`
	What    string `json:"what"`
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	// Policy: each node's own policy decides whether it is allowed there.
	Policy bool `json:"policy,omitempty"`
}

// Fault is one of the head.
type Fault struct {
	planner.Fault
	// New: the base does not have it.
	New bool `json:"new"`
	// Holds are the services that stay as they were because of it.
	Holds []string `json:"holds,omitempty"`
}

// Trouble reports whether a person has to act before the commit can do all that
// it asks for.
func (r *Report) Trouble() bool { return r.Summary.Trouble }
