package manifest

import (
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/orpheus-cd/orpheus/planner"
)

// suspension is spec.suspend as written.
type suspension struct {
	until  time.Time
	reason string
}

const maxSuspendReason = 300

var suspendSchema = newSchema(
	instant("until", func(s *suspension) *time.Time { return &s.until }).must(),
	text("reason", reason, func(s *suspension) *string { return &s.reason }).must(),
)

// reason allows a sentence for people.
var reason = rule{checkReason, form{pattern: "[^\\n\\r\\t]+", says: "one line of text"}}

func checkReason(s string) (string, string) {
	switch {
	case s == "":
		return "must not be empty", "say why: others will ask"
	case len(s) > maxSuspendReason:
		return "is longer than 300 characters", "shorten it"
	case planner.OneLine(s, maxSuspendReason) != s:
		return "must be one line of printable text", "write it on one line"
	}
	return "", ""
}

// instant is a time with its zone, in quotes or not.
func instant[T any](name string, at func(*T) *time.Time) field[T] {
	return special(name, timeShape, func(d *decoder, v value, into *T) {
		n := v.node
		if n.Kind != yaml.ScalarNode || n.Tag != "!!str" && n.Tag != "!!timestamp" {
			d.wrong(v, "must be a time, not "+kindOf(n), "write one like 2026-12-24T18:00:00Z")
			return
		}
		t, err := time.Parse(time.RFC3339, n.Value)
		if err != nil {
			d.wrong(v, quote(n.Value)+" is not a time with its zone", "write one like 2026-12-24T18:00:00Z or 2026-12-24T19:00:00+01:00")
			return
		}
		*at(into) = t.UTC()
	})
}

// suspended is the suspension of a service, nil if it has none.
func (s *serviceSpec) suspended() *planner.Suspension {
	if s.suspend == nil || s.suspend.until.IsZero() {
		return nil
	}
	return &planner.Suspension{Until: s.suspend.until, Reason: s.suspend.reason}
}
