package compose

import (
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/template"
)

var testEnv = map[string]string{"A": "a", "EMPTY": "", "LONG": "x y", "B": "${A}", "_u1": "u"}

// ours expands a text.
func ours(text string) (string, []complaint) {
	e := &expansion{env: testEnv, left: maxExpanded}
	return e.text(text, 0), e.wrong
}

// writtenReferences are texts as people write them, and as they do not.
var writtenReferences = []string{
	"", "plain", "$A", "${A}", "$A$A", "${A}${B}", "$$A", "$$$A", "$${A}", "${A}}", "a$", "$", "$1", "$ A", "$-", "100%$", "$_u1",
	"${NO:-d}", "${NO-d}", "${EMPTY:-d}", "${EMPTY-d}", "${A:+x}", "${NO:+x}", "${EMPTY:+x}", "${EMPTY+x}", "${A+x}", "${NO+x}",
	"${A:?why}", "${A?why}", "${EMPTY?why}", "${NO:-${A}}", "${NO:-${ALSO:-${A}}}", "${NO:-$A}", "${NO:-}", "${NO-}", "${A:-${NO:-x}}",
	"${NO:-a}-${NO:-b}", "${A}-${NO:-b}", "${NO:-{\"a\":1}}", "${NO:-{{.Names}}}", "${NO:-a:b-c?d+e}", "${NO:-http://x:80/?q}", "${NO:-x} }", "x${A}y${NO:-z}w",
	"${", "${}", "${A", "${A:}", "${A:-x", "${1A}", "${A B}", "${-x}", "${A:=x}", "${A!x}", "${NO:-${}", "${NO:-${A}", "{$A}", "{${A}}",
	"${NO:-a\nb}", "${A:-x}\n${NO:-y}", "$é", "${é}", "${NO:-é}", "${NO:-$$}", "${NO:-$$A}", "${NO:+$NEVER}", "${A:-$NEVER}", "$a", "${a:-lower}", "$\u017f", "${\u212a:-x}",
}

// compose-go's own expansion gives the same, wherever neither complains; and
// where it complains we do, too.
func expandsAlike(t *testing.T, text string) {
	missing := false
	want, err := template.SubstituteWithOptions(text, func(name string) (string, bool) {
		v, ok := testEnv[name]
		missing = missing || !ok
		return v, ok
	}, template.WithoutLogging)
	got, wrong := ours(text)
	switch {
	case err != nil && len(wrong) == 0:
		t.Errorf("%q: compose-go refuses it (%v), and we read %q", text, err, got)
	case err == nil && len(wrong) == 0 && got != want:
		t.Errorf("%q: compose-go reads %q, and we %q", text, want, got)
	case err == nil && len(wrong) > 0 && !missing:
		t.Errorf("%q: compose-go reads %q, and we refuse it: %v", text, want, wrong)
	}
}

func TestVariablesAsComposeReadsThem(t *testing.T) {
	for _, text := range writtenReferences {
		expandsAlike(t, text)
	}
}

func FuzzVariables(f *testing.F) {
	for _, text := range writtenReferences {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 200 || strings.Contains(text, "{{") || strings.Contains(text, "{}") || strings.Count(text, "{") > 6 {
			return // compose-go counts braces by twos: what it makes of these is an accident
		}
		expandsAlike(t, text)
	})
}

// What is not defined and has no default is told, once for each text, and not
// what nobody asked for.
func TestUndefinedVariables(t *testing.T) {
	for text, want := range map[string]string{
		"$NO ${NO}":        "NO",
		"${NO} ${OTHER}":   "NO OTHER",
		"${A:-$NO}":        "",
		"${NO:-$OTHER}":    "OTHER",
		"${NO:+$OTHER}":    "",
		"$$NO $${NO} ${A}": "",
	} {
		var names []string
		_, wrong := ours(text)
		for _, w := range wrong {
			names = append(names, strings.Fields(w.reason)[1])
		}
		if slices.Sort(names); strings.Join(names, " ") != want {
			t.Errorf("%q: undefined are %q, want %q", text, names, want)
		}
	}
}
