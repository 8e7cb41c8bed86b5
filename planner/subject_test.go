package planner_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/orpheus-cd/orpheus/planner"
)

func TestOneLine(t *testing.T) {
	for _, test := range []struct {
		name, text string
		limit      int
		want       string
	}{
		{"as it is", "läuft – ok", 20, "läuft – ok"},
		{"exactly", "12345", 5, "12345"},
		{"too long", "123456", 5, "12…"},
		{"no room for an ellipsis", "1234", 2, ""},
		{"nothing", "1234", 0, ""},
		// A forged line of the log, or a forged record.
		{"line ends", "a\n\n{\"epoch\":9}\r", 80, `a\n\n{"epoch":9}\r`},
		{"a terminal's escape", "\x1b]0;owned\a", 80, `\x1b]0;owned\a`},
		{"text that runs backwards", "a\u202eb", 80, `a\u202eb`},
		{"not UTF-8", "a\xffb", 80, `a\xffb`},
		// Not half an escape or half a character.
		{"cut before an escape", "ab\x1bcdef", 8, `ab…`},
		{"cut before a character", "abä…ö", 6, "ab…"},
	} {
		got := planner.OneLine(test.text, test.limit)
		if got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
		if planner.OneLine(got, test.limit) != got || len(got) > test.limit || !utf8.ValidString(got) {
			t.Errorf("%s: %q changes once more or is too long", test.name, got)
		}
	}
	if got := planner.Subject(strings.Repeat("x", 1000)); len(got) > planner.MaxSubject || !strings.HasSuffix(got, "…") {
		t.Errorf("subject %q", got)
	}
}

// Reasons come from containers and other nodes: a status fits its record
// however many there are, and however long.
func TestStatusFits(t *testing.T) {
	status := fullStatus()
	one := status.Instances[1]
	one.Reason = strings.Repeat("no\n", 5000)
	status.Instances = nil
	for range 900 {
		status.Instances = append(status.Instances, one)
	}
	body := status.Body()
	if len(body) > planner.MaxRecordBytes {
		t.Errorf("%d bytes", len(body))
	}
	if _, err := planner.ParseNodeStatus(body); err != nil {
		t.Error(err)
	}
	if status.Instances[0].Reason != one.Reason {
		t.Error("the status itself was changed")
	}
}
