package gitsync

import (
	"context"
	"fmt"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// Board is the repository of the fleet's records: refs below one prefix, each
// of which changes only by comparison with the value that was read.
//
// A Board keeps nothing between calls but connections. Its methods may be
// called at once, but a caller that has a Swap under way must not begin
// another: what becomes of two pushes to one ref would depend on their luck.
type Board interface {
	// List looks once: one advertisement of the refs below the prefix. It is no
	// snapshot: the values of two refs may be of different instants.
	List(ctx context.Context) (Listing, error)
	// Read fetches records by the values a List showed. Records the server does
	// not have any more are left out; so are those that are no commit or larger
	// than planner.MaxRecordBytes, which Unreadable then explains.
	Read(ctx context.Context, want map[planner.Ref]planner.Hash) (Reading, error)
	// Swap pushes changes, all or none of them if push.Atomic is set. The
	// results are in the order of the changes, also when the error is not nil:
	// an error means that no answer came, which makes those results Unknown
	// that may have been carried out, and Lost those that certainly were not.
	Swap(ctx context.Context, push Push) ([]Result, error)
}

// Listing is what one advertisement shows.
type Listing struct {
	Refs map[planner.Ref]planner.Hash // of others, too: not to be changed
	// Tip is the branch's tip where records and manifests share a repository;
	// "" elsewhere.
	Tip planner.Hash
	// Ignored counts refs below the prefix that are no records.
	Ignored int
}

// Reading is what one fetch brought.
type Reading struct {
	Records    map[planner.Ref]planner.Record
	Unreadable map[planner.Ref]string // why, for people
}

// Push is one request to change refs.
type Push struct {
	Atomic  bool
	Changes []Change
}

// Check says why no Board would send the push: a ref that git does not take
// for a name or that is in it twice, a record that is too large, nothing to
// change. Swap then has all changes Lost, and this error.
func (p Push) Check() error {
	seen := make(map[planner.Ref]bool, len(p.Changes))
	for _, c := range p.Changes {
		switch {
		case !goodRefName(string(c.Ref)):
			return fmt.Errorf("record %q: not a name git takes", printable(string(c.Ref), 80))
		case seen[c.Ref]:
			return fmt.Errorf("record %s: twice in one push", c.Ref)
		case c.Old == "" && c.New == nil:
			return fmt.Errorf("record %s: nothing to delete", c.Ref)
		case c.Old != "" && !isID(string(c.Old)):
			return fmt.Errorf("record %s: old value %q is no object id", c.Ref, printable(string(c.Old), 50))
		}
		if c.New != nil {
			if n := len(c.New.Object()); n > planner.MaxRecordBytes {
				return fmt.Errorf("record %s: %w", c.Ref, &LimitError{Limit: "record", What: "a record", Max: planner.MaxRecordBytes, Value: int64(n), Bytes: true})
			}
		}
		seen[c.Ref] = true
	}
	return nil
}

// isID reports whether s is a full object id other than the one that stands
// for none.
func isID(s string) bool {
	return len(s) == 40 && strings.Trim(s, "0123456789abcdef") == "" && strings.Trim(s, "0") != ""
}

// Change replaces one value by another.
type Change struct {
	Ref planner.Ref
	Old planner.Hash    // "" = the ref must not exist
	New *planner.Record // nil = delete
}

// Outcome is what became of a change.
type Outcome int

// The outcomes. Only a report of the server makes a change Won or Lost.
const (
	Unknown Outcome = iota // it may have been carried out, or may still be
	Won
	Lost
)

func (o Outcome) String() string { return [...]string{"unknown", "won", "lost"}[o] }

// Result is the outcome of one change, with what the server said of a loss.
type Result struct {
	Outcome Outcome
	Reason  string
}

// Abilities is what a remote can do, as its start-up probe found.
type Abilities struct {
	// Compares is set when the server refuses a change from a wrong old value.
	// Without it nothing may be coordinated.
	Compares bool
	Atomic   bool // several changes, all or none
	V2       bool // lists refs by prefix
}
