// Package redact keeps out of texts what must not be in them: secrets, in every
// spelling a server or library may give them back in, and what strangers write
// to upset a terminal.
package redact

import (
	"encoding/base64"
	"net/url"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Mark stands where a secret stood.
const Mark = "[redacted]"

// Scrubber removes secrets from texts. The zero value removes nothing.
type Scrubber []string

// Login knows a password and its encodings; a name without one is taken for
// a token, which hosts let be given so.
func Login(username, password string) Scrubber {
	switch {
	case password != "":
		return longestFirst(append(spellings(password), base64.StdEncoding.EncodeToString([]byte(username+":"+password))))
	case username != "":
		return longestFirst([]string{username, url.PathEscape(username), base64.StdEncoding.EncodeToString([]byte(username + ":"))})
	}
	return nil
}

// Token knows a token and its encodings.
func Token(token string) Scrubber {
	if token == "" {
		return nil
	}
	return longestFirst(append(spellings(token), base64.StdEncoding.EncodeToString([]byte(":"+token))))
}

// Join knows what all of them know.
func Join(scrubbers ...Scrubber) (all Scrubber) {
	for _, s := range scrubbers {
		all = append(all, s...)
	}
	return longestFirst(all)
}

func spellings(secret string) []string {
	return []string{secret, url.QueryEscape(secret), url.PathEscape(secret), url.UserPassword("u", secret).String()[2:],
		base64.StdEncoding.EncodeToString([]byte(secret))}
}

func longestFirst(secrets []string) Scrubber {
	sort.Slice(secrets, func(i, j int) bool { return len(secrets[i]) > len(secrets[j]) })
	return secrets
}

// Clean returns text without secrets, nor what Printable has left of one that
// it cut off. Percent-encodings are compared without regard to case.
func (s Scrubber) Clean(text string) string {
	for _, secret := range s {
		text = strings.ReplaceAll(text, secret, Mark)
		if strings.Contains(secret, "%") {
			text = strings.ReplaceAll(text, lowerEscapes(secret), Mark)
		}
	}
	return s.cleanCut(text)
}

const (
	ellipsis = "…"
	// minPart is how much of a secret must be left of it to be one: fewer
	// characters stand before ellipses by chance.
	minPart = 4
)

// cleanCut removes the beginnings of secrets before ellipses.
func (s Scrubber) cleanCut(text string) string {
	parts := strings.Split(text, ellipsis)
	for i, part := range parts[:len(parts)-1] {
		for _, secret := range s {
			for _, spelling := range []string{secret, lowerEscapes(secret)} {
				for n := min(len(spelling), len(part)); n >= minPart; n-- {
					if rest, ok := strings.CutSuffix(part, spelling[:n]); ok {
						part = rest + Mark
						break
					}
				}
			}
		}
		parts[i] = part
	}
	return strings.Join(parts, ellipsis)
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

// Printable makes a text of strangers fit for a terminal: one line, at most
// max runes, no control characters, valid UTF-8.
func Printable(text string, max int) string {
	text = strings.TrimFunc(strings.ToValidUTF8(text, "\uFFFD"), func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r)
	})
	var b strings.Builder
	n := 0
	for _, r := range text {
		if n == max {
			b.WriteString(ellipsis)
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
