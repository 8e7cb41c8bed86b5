package redact

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

const secret = "pl@nted/se%cret+1"

func TestClean(t *testing.T) {
	s := Join(Login("ada", secret), Token("t0ken-of-another"))
	basic := base64.StdEncoding.EncodeToString([]byte("ada:" + secret))
	for text, want := range map[string]string{
		"says " + secret + "!":                   "says " + Mark + "!",
		url.QueryEscape(secret):                  Mark,
		strings.ToLower(url.QueryEscape(secret)): Mark,
		url.PathEscape(secret):                   Mark,
		"Basic " + basic:                         "Basic " + Mark,
		"ada t0ken-of-another ada":               "ada " + Mark + " ada",
		// Cut off.
		Printable("says "+secret, 12):         "says " + Mark + ellipsis,
		Printable("Basic "+basic, 20):         "Basic " + Mark + ellipsis,
		"x" + basic[:10] + ellipsis + " then": "x" + Mark + ellipsis + " then",
		"pl@n" + ellipsis + "t0ke" + ellipsis: Mark + ellipsis + Mark + ellipsis,
		// Not.
		"a pl" + ellipsis: "a pl" + ellipsis,
		"pl@nted":         "pl@nted",
		"":                "",
	} {
		if got := s.Clean(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if got := Login("ghp_t0ken", "").Clean("user ghp_t0ken"); got != "user "+Mark {
		t.Errorf("a token given as the user: %q", got)
	}
	for _, none := range []Scrubber{nil, Login("", ""), Token(""), Join()} {
		if got := none.Clean("text" + ellipsis); got != "text"+ellipsis {
			t.Errorf("%q", got)
		}
	}
}

// FuzzClean: whatever it stands in and wherever it is cut, no secret is left.
func FuzzClean(f *testing.F) {
	f.Add("before ", " after", 20)
	f.Add("", "", 3)
	f.Fuzz(func(t *testing.T, before, after string, max int) {
		s := Login("ada", secret)
		if got := s.Clean(Printable(before+secret+after, max%1000)); strings.Contains(got, secret[:8]) && !strings.Contains(before+after, secret[:1]) {
			t.Errorf("%q", got)
		}
	})
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		" a\tb\x1b[2J\n": "a\uFFFDb\uFFFD[2J",
		"\xff\xfe":       "\uFFFD",
		"abcdef":         "abcde" + ellipsis,
		"äöüäö":          "äöüäö",
		"":               "",
	} {
		max := 9
		if text == "abcdef" {
			max = 5
		}
		if got := Printable(text, max); got != want || !utf8.ValidString(got) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
