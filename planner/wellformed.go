package planner

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Bounds of the values of records, beyond those of their JSON.
const (
	maxReason = 512 // bytes of a reason, when written
	maxWord   = 128 // bytes of a word
	maxLine   = 1 << 10
	maxLeases = 2 << 10 // of one shard
	maxPins   = 256     // revisions with pins or blocked, of one document
	// maxCounter bounds epochs, tokens and generations: no honest one comes
	// near, and one more always fits.
	maxCounter = 1 << 62
	// maxValidity bounds both durations of an exclusive lease.
	maxValidity = 7 * 24 * time.Hour
)

// all returns the first error.
func all(checks ...error) error {
	for _, err := range checks {
		if err != nil {
			return err
		}
	}
	return nil
}

// each checks the items of a list.
func each[T any](field string, items []T, check func(T) error) error {
	for i, item := range items {
		if err := check(item); err != nil {
			return in(field, in("["+strconv.Itoa(i)+"]", err))
		}
	}
	return nil
}

// format checks that a format is one of those that are read. A later one was
// seen before.
func format(n int) error {
	if n < MinFormat {
		return in("format", fmt.Errorf("%d is none", n))
	}
	return nil
}

// label checks a name of ours.
func label(field, s string) error {
	if !dnsLabel(s) {
		return in(field, fmt.Errorf("%s is no name: a-z, 0-9 and -, at most 63", quote(s)))
	}
	return nil
}

func (s ServiceID) check() error {
	return all(label("namespace", s.Namespace), label("name", s.Name))
}

func (s SlotID) check() error {
	if err := s.Service.check(); err != nil {
		return in("service", err)
	}
	return label("name", s.Name)
}

// word checks a hash, revision or random name: letters, digits and .-_+, or
// nothing.
func word(field, s string) error {
	ok := len(s) <= maxWord && !strings.HasPrefix(s, "-") && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(".-_+", r))
	})
	if !ok {
		return in(field, fmt.Errorf("%s is no word of at most %d letters, digits and .-_+", quote(s), maxWord))
	}
	return nil
}

// given is a word that must be there.
func given(field, s string) error {
	if s == "" {
		return in(field, errors.New("is missing"))
	}
	return word(field, s)
}

// line checks text that must be printable and on one line.
func line(field, s string) error {
	if len(s) > maxLine || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return in(field, fmt.Errorf("%s is not one printable line of at most %d bytes", quote(s), maxLine))
	}
	return nil
}

// counter checks an epoch, token or generation.
func counter(field string, n, least uint64) error {
	if n < least || n > maxCounter {
		return in(field, fmt.Errorf("%d is not from %d to 2^62", n, least))
	}
	return nil
}

// atMost checks the length of a list or map.
func atMost(field string, n, most int) error {
	if n > most {
		return in(field, fmt.Errorf("%d are more than %d", n, most))
	}
	return nil
}

// natural checks an amount.
func natural[T int | int64](field string, n T) error {
	if n < 0 {
		return in(field, fmt.Errorf("%d is negative", n))
	}
	return nil
}

// lines checks keys and values.
func lines[K ~string](field string, m map[K]string) error {
	for key, value := range m {
		if line("", string(key)) != nil || key == "" || line("", value) != nil {
			return in(field, errors.New("a key or value is not one printable line"))
		}
	}
	return nil
}

func (r *NodeRecord) check() error {
	err := all(
		format(r.Format),
		label("node", string(r.Node)),
		line("key", r.Key),
		in("life", all(word("machine", r.Life.Machine), word("state", r.Life.State), word("boot", r.Life.Boot))),
		counter("epoch", r.Epoch, 1),
		counter("since", r.Since, 0),
		word("incarnation", r.Incarnation),
		word("salt", r.Salt),
		line("address", r.Address),
		lines("labels", r.Labels),
		each("taints", r.Taints, func(t Taint) error {
			return all(line("key", t.Key), line("value", t.Value), line("effect", t.Effect))
		}),
		word("os", r.OS),
		word("arch", r.Arch),
		in("capacity", all(natural("cpu", r.Capacity.CPUMillis), natural("memory", r.Capacity.MemoryBytes), natural("pids", r.Capacity.PIDs))),
		each("drivers", r.Drivers, func(d string) error { return word("", d) }),
		each("volumes", r.Volumes, SlotID.check),
		line("version", r.Version),
	)
	switch {
	case err != nil:
		return err
	case r.Key == "":
		return in("key", errors.New("is missing"))
	case r.Since > r.Epoch:
		return in("since", fmt.Errorf("%d is above the epoch %d", r.Since, r.Epoch))
	case r.Reads[0] < 1 || r.Reads[0] > r.Reads[1]:
		return in("reads", fmt.Errorf("%d to %d is no range of formats", r.Reads[0], r.Reads[1]))
	}
	return nil
}

func (f *Fence) check() error {
	if !f.Fenced {
		return in("fenced", errors.New("is not true"))
	}
	return all(counter("epoch", f.Epoch, 1), label("by", string(f.By)), given("nonce", f.Nonce))
}

func (r *FleetRecord) check() error {
	return all(
		format(r.Format),
		word("floor", r.Floor),
		counter("generation", r.Generation, 0),
		counter("tokens", r.Tokens, 0),
		label("by", string(r.By)),
	)
}

func (d *LeaseDoc) check() error {
	return all(
		format(d.Format),
		in("service", d.Service.check()),
		word("commit", d.Commit),
		counter("generation", d.Generation, 0),
		label("by", string(d.By)),
		counter("tokens", d.Tokens, 0),
		atMost("leases", len(d.Leases), maxLeases),
		each("leases", d.Leases, d.checkLease),
		d.checkTwins(),
		atMost("images", len(d.Images), maxPins),
		d.checkImages(),
		atMost("history", len(d.History), MaxHistory),
		each("history", d.History, func(a Applied) error {
			return all(given("revision", string(a.Revision)), word("commit", a.Commit))
		}),
		atMost("blocked", len(d.Blocked), maxPins),
		each("blocked", d.Blocked, func(r Revision) error { return given("", string(r)) }),
		line("blockedWhy", d.BlockedWhy),
		word("blockedAt", d.BlockedAt),
		word("blockedManifest", d.BlockedManifest),
		word("lastGood", string(d.LastGood)),
		natural("step", d.Step),
		atMost("hooks", len(d.Hooks), maxPins),
		each("hooks", d.Hooks, func(h HookRun) error {
			return all(label("kind", string(h.Kind)), given("revision", string(h.Revision)), counter("token", h.Token, 0), word("node", string(h.Node)), line("failed", h.Failed), word("commit", h.Commit))
		}),
		atMost("failed", len(d.Failed), maxLeases),
		each("failed", d.Failed, func(f FailedOn) error {
			return all(label("slot", f.Slot), label("node", string(f.Node)), given("revision", string(f.Revision)))
		}),
	)
}

func (d *LeaseDoc) checkLease(l Lease) error {
	err := all(
		label("slot", l.Slot),
		label("node", string(l.Node)),
		counter("epoch", l.Epoch, 1),
		counter("token", l.Token, 1),
		given("revision", string(l.Revision)),
		word("hook", string(l.Hook)),
	)
	if err == nil && l.Token > d.Tokens {
		err = in("token", fmt.Errorf("%d is above the document's %d", l.Token, d.Tokens))
	}
	if err == nil && l.Hook != "" && string(l.Hook) != l.Slot {
		err = in("hook", fmt.Errorf("%s is not the name of its slot, %s", quote(string(l.Hook)), l.Slot))
	}
	if err == nil && l.Exclusive != nil {
		err = in("exclusive", all(duration("validity", l.Exclusive.Validity), duration("grace", l.Exclusive.Grace)))
	}
	return err
}

func duration(field string, d time.Duration) error {
	if d < 0 || d > maxValidity {
		return in(field, fmt.Errorf("%v is not from 0 to %v", d, maxValidity))
	}
	return nil
}

// checkTwins finds two leases of one slot with one token.
func (d *LeaseDoc) checkTwins() error {
	type key struct {
		slot  string
		token uint64
	}
	seen := make(map[key]bool, len(d.Leases))
	for _, l := range d.Leases {
		k := key{l.Slot, l.Token}
		if seen[k] {
			return in("leases", fmt.Errorf("slot %s has token %d twice", l.Slot, l.Token))
		}
		seen[k] = true
	}
	return nil
}

func (d *LeaseDoc) checkImages() error {
	for revision, pins := range d.Images {
		if err := all(given("", string(revision)), lines("", pins)); err != nil {
			return in("images", errors.New("a revision, reference or digest is garbled"))
		}
	}
	return nil
}

func (s *NodeStatus) check() error {
	err := all(
		format(s.Format),
		label("node", string(s.Node)),
		word("incarnation", s.Incarnation),
		word("applied", s.Applied),
		each("instances", s.Instances, func(i InstanceStatus) error {
			return all(in("slot", i.Slot.check()), counter("token", i.Token, 0), word("revision", string(i.Revision)),
				word("phase", string(i.Phase)), natural("restarts", i.Restarts), checkEndpoints(i.Endpoints))
		}),
		each("refusals", s.Refusals, func(r Refusal) error {
			return all(in("service", r.Service.check()), given("revision", string(r.Revision)))
		}),
		each("images", s.Images, func(i ResolvedImages) error {
			return all(in("service", i.Service.check()), given("revision", string(i.Revision)), lines("images", i.Images))
		}),
		s.checkEnded(),
		each("pressure", s.Pressure, func(p string) error { return line("", p) }),
		line("failing", s.Failing),
	)
	if err == nil && s.Rejected != nil {
		err = in("rejected", given("commit", s.Rejected.Commit))
	}
	return err
}

// checkEnded wants one promise per slot: which of two would count?
func (s *NodeStatus) checkEnded() error {
	seen := make(map[SlotID]bool, len(s.Ended))
	return each("ended", s.Ended, func(e EndedSlot) error {
		if seen[e.Slot] {
			return fmt.Errorf("slot %s is given twice", e.Slot)
		}
		seen[e.Slot] = true
		return all(in("slot", e.Slot.check()), counter("token", e.Token, 0))
	})
}
