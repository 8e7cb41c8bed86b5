package planner

import (
	"fmt"
	"slices"
)

// Unknown holds the fields of a JSON object that this version does not know,
// as the text of an object; "" = none. They are written back.
type Unknown string

// A body is a JSON object with one field per line and one element of a list, or
// entry of a map of objects, per line, so that git log and git diff are of use.
// Equal values have equal bodies, fields of later versions come last, sorted by name. What is read is
// held to the letter: names match exactly, no key is given twice, nothing
// follows the object, every number fits its field.

// FormatError says that a body is of a later format than this version reads.
// The value that comes with it holds what could be read all the same: enough
// to keep what runs, nothing to decide on.
type FormatError struct{ Format int }

func (e *FormatError) Error() string {
	return fmt.Sprintf("format %d is newer than this version of orpheus reads (%d to %d): update it", e.Format, MinFormat, MaxFormat)
}

// Body is the record's JSON, without what a fencer added.
func (r NodeRecord) Body() string { return encode(r) }

// ParseNodeRecord reads what Body wrote, for the node's own part alone: see
// ParseNodeMessage. That the record is in the ref of its node is the caller's
// to check, here and below.
func ParseNodeRecord(body string) (NodeRecord, error) {
	var r NodeRecord
	err := parse("node record", body, &r)
	return r, err
}

// Body is the block's JSON. The reason is cut and made printable.
func (f Fence) Body() string {
	f.Reason = OneLine(f.Reason, maxReason)
	return encode(f)
}

// ParseFence reads what Body wrote.
func ParseFence(body string) (Fence, error) {
	var f Fence
	err := parse("fence", body, &f)
	return f, err
}

// Body is the document's JSON, with the leases in order of slot and token. It
// may be longer than a record may be: see Shards.
func (d LeaseDoc) Body() string {
	d.Leases = ordered(d.Leases)
	return encode(d)
}

// ParseLeaseDoc reads what Body wrote, or one shard of a document. The leases
// are in order of slot and token.
func ParseLeaseDoc(body string) (LeaseDoc, error) {
	var d LeaseDoc
	err := parse("lease document", body, &d)
	d.Leases = ordered(d.Leases)
	return d, err
}

// ordered returns the leases in order of slot and token, themselves if they
// are in it.
func ordered(leases []Lease) []Lease {
	if slices.IsSortedFunc(leases, compareLeases) {
		return leases
	}
	return slices.SortedStableFunc(slices.Values(leases), compareLeases)
}

// Body is the record's JSON.
func (r FleetRecord) Body() string { return encode(r) }

// ParseFleetRecord reads what Body wrote.
func ParseFleetRecord(body string) (FleetRecord, error) {
	var r FleetRecord
	err := parse("fleet record", body, &r)
	return r, err
}

// Body is the status as JSON. Reasons are made printable and cut, further the
// more there are, so that a status with many instances still fits a record. If
// it does not it goes without endpoints, and says so by Serving 0: peers are
// told of them directly.
func (s NodeStatus) Body() string {
	for _, limit := range []int{maxReason, 64, 0} {
		if body := encode(s.withReasons(limit)); len(body) <= maxBody {
			return body
		}
	}
	s = s.withReasons(0)
	s.Serving = 0
	for i := range s.Instances {
		s.Instances[i].Endpoints = nil
	}
	return encode(s)
}

// withReasons returns the status with reasons of at most limit bytes.
func (s NodeStatus) withReasons(limit int) NodeStatus {
	if s.Rejected != nil {
		s.Rejected = &RejectedCommit{Commit: s.Rejected.Commit, Reason: OneLine(s.Rejected.Reason, limit)}
	}
	s.Instances = slices.Clone(s.Instances)
	for i := range s.Instances {
		s.Instances[i].Reason = OneLine(s.Instances[i].Reason, limit)
	}
	s.Refusals = slices.Clone(s.Refusals)
	for i := range s.Refusals {
		s.Refusals[i].Reason = OneLine(s.Refusals[i].Reason, limit)
	}
	return s
}

// ParseNodeStatus reads what Body wrote.
func ParseNodeStatus(body string) (NodeStatus, error) {
	var s NodeStatus
	err := parse("node status", body, &s)
	return s, err
}

// checked is a value of a record that can tell whether it makes sense.
type checked interface{ check() error }

// parse reads a body into a value. Of a later format it takes the fields that
// can be read and returns a FormatError.
func parse(what, body string, into checked) error {
	tree, err := parseJSON(body)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if format, ok := later(tree); ok {
		decodeSome(tree, into)
		return &FormatError{Format: format}
	}
	if err := decode(tree, into); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := into.check(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
