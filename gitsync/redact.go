package gitsync

import (
	"context"
	"encoding/base64"
	"errors"
	"net/url"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

// redacted stands where a secret stood.
const redacted = "[redacted]"

// scrubber removes secrets from texts, in every spelling a server or library
// may give them back in.
type scrubber []string

// newScrubber knows the secrets of c and their encodings.
func newScrubber(c Credentials) scrubber {
	var s scrubber
	for _, secret := range []string{c.Password, c.Token} {
		if secret == "" {
			continue
		}
		s = append(s, secret, url.QueryEscape(secret), url.PathEscape(secret), url.UserPassword("u", secret).String()[2:],
			base64.StdEncoding.EncodeToString([]byte(secret)),
			base64.StdEncoding.EncodeToString([]byte(c.Username+":"+secret)))
	}
	// A hosting token is often given as the user's name.
	if c.Username != "" && c.Password == "" {
		s = append(s, c.Username, url.PathEscape(c.Username), base64.StdEncoding.EncodeToString([]byte(c.Username+":")))
	}
	sort.Slice(s, func(i, j int) bool { return len(s[i]) > len(s[j]) })
	return s
}

// clean returns text without secrets. Percent-encodings are compared without
// regard to case.
func (s scrubber) clean(text string) string {
	for _, secret := range s {
		text = strings.ReplaceAll(text, secret, redacted)
		if strings.Contains(secret, "%") {
			text = strings.ReplaceAll(text, lowerEscapes(secret), redacted)
		}
	}
	return text
}

// lowerEscapes turns %2F into %2f.
func lowerEscapes(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			b[i+1], b[i+2] = byte(unicode.ToLower(rune(b[i+1]))), byte(unicode.ToLower(rune(b[i+2])))
		}
	}
	return string(b)
}

// error returns err if its text holds no secret, else an error of the same
// kind with the cleaned text and nothing to unwrap but the kind.
func (s scrubber) error(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	clean := s.clean(text)
	if clean == text {
		return err
	}
	out := &scrubbedError{text: clean}
	for _, kind := range []error{ErrUnreachable, ErrUnauthorized, ErrRepositoryNotFound, ErrBranchNotFound,
		ErrEmptyRepository, ErrCorrupt, ErrStorage, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, kind) {
			out.kinds = append(out.kinds, kind)
		}
	}
	return out
}

type scrubbedError struct {
	text  string
	kinds []error
}

func (e *scrubbedError) Error() string   { return e.text }
func (e *scrubbedError) Unwrap() []error { return e.kinds }

// printable makes a text of strangers fit for a terminal: one line, at most
// max runes, no control characters, valid UTF-8.
func printable(text string, max int) string {
	text = strings.TrimFunc(strings.ToValidUTF8(text, "\uFFFD"), func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r)
	})
	var b strings.Builder
	n := 0
	for _, r := range text {
		if n == max {
			b.WriteString("…")
			break
		}
		if !unicode.IsPrint(r) && r != ' ' {
			r = utf8.RuneError
		}
		b.WriteRune(r)
		n++
	}
	return b.String()
}
