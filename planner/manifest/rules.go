package manifest

import (
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/orpheus-cd/orpheus/planner"
)

// rule is what a text must obey.
type rule struct {
	// check says what is wrong with a text, as the end of a sentence that
	// begins with it; reason "" = nothing.
	check func(s string) (reason, remedy string)
	// form is as much of the rule as can be told without running it.
	form
}

// form describes texts to who cannot run a rule. It allows what the rule
// allows, and more where that cannot be put so.
type form struct {
	// pattern is a regular expression for the whole text, of what RE2 and
	// JavaScript read alike; "" = any text.
	pattern string
	never   string   // a pattern of what is not allowed, anywhere in the text; "" = none
	words   []string // all that is allowed, or beside a pattern the usual ones; nil = no such list
	says    string   // the rule in words, as the end of "must be …"
}

// anyText allows everything but control characters.
var anyText = rule{func(s string) (string, string) { return noControl(s, "") }, form{
	pattern: `[^\x00-\x1f\x7f-\x9f]*`, says: "text without control characters",
}}

// longText allows tabs and new lines as well: arguments and values.
var longText = rule{func(s string) (string, string) { return noControl(s, "\t\n\r") }, form{
	pattern: `[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]*`, says: "text without control characters",
}}

func noControl(s, allowed string) (string, string) {
	if len(s) > maxTextBytes {
		return fmt.Sprintf("is longer than %d bytes", maxTextBytes), "shorten it"
	}
	for _, r := range s {
		if unicode.IsControl(r) && !strings.ContainsRune(allowed, r) {
			return "has a control character", "remove it"
		}
	}
	if !utf8.ValidString(s) {
		return "is not valid UTF-8", "save it as UTF-8"
	}
	return "", ""
}

// dnsLabel allows what can be one part of a host name, up to max bytes.
func dnsLabel(max int) rule {
	check := func(s string) (string, string) {
		switch {
		case s == "":
			return "must not be empty", "write a value, or remove it"
		case len(s) > max:
			return fmt.Sprintf("is longer than %d characters", max), ""
		case !isLabel(s, false):
			return "must be a name of lower case letters, digits and hyphens, with no hyphen at its ends", labelLike(s)
		}
		return "", ""
	}
	return rule{check, form{
		pattern: fmt.Sprintf("[a-z0-9]([a-z0-9-]{0,%d}[a-z0-9])?", max-2),
		says:    fmt.Sprintf("a name of lower case letters, digits and hyphens, with no hyphen at its ends, up to %d characters", max),
	}}
}

// aliasName allows what can be one part of a name that is looked up: a DNS label
// or, as name servers answer for it all the same, one with underscores.
func aliasName(max int) rule {
	check := func(s string) (string, string) {
		switch {
		case s == "":
			return "must not be empty", "write a value, or remove it"
		case len(s) > max:
			return fmt.Sprintf("is longer than %d characters", max), ""
		case !isLabel(strings.ReplaceAll(s, "_", "-"), false):
			return "must be a name of lower case letters, digits, hyphens and underscores, with a letter or a digit at its ends", labelLike(s)
		}
		return "", ""
	}
	return rule{check, form{
		pattern: fmt.Sprintf("[a-z0-9]([a-z0-9_-]{0,%d}[a-z0-9])?", max-2),
		says:    fmt.Sprintf("a name of lower case letters, digits, hyphens and underscores, with a letter or a digit at its ends, up to %d characters", max),
	}}
}

// labelLike is the remedy for a name that is no label: the nearest that is.
func labelLike(s string) string {
	label := strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		case r == '_' || r == '.' || r == ' ':
			return '-'
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-':
			return r
		}
		return -1
	}, s), "-")
	if label == "" {
		return "write one like web-1"
	}
	return "write it like " + label
}

func isLabel(s string, dots bool) bool {
	for i := range len(s) {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || i == len(s)-1 || c != '-' && (c != '.' || !dots)) {
			return false
		}
	}
	return s != ""
}

// oneOf allows the given words.
func oneOf(words ...string) rule {
	check := func(s string) (string, string) {
		for _, w := range words {
			if s == w {
				return "", ""
			}
		}
		remedy := suggest(s, words)
		if remedy == "" {
			remedy = "write " + strings.Join(words, " or ")
		}
		return "is not known here", remedy
	}
	return rule{check, form{words: words}}
}

// labelKey allows Kubernetes' keys: an optional DNS prefix, a slash, a name.
var labelKey = rule{checkLabelKey, form{
	pattern: "([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?",
	says:    "a label key: a name such as disk, or one below a domain such as example.com/disk",
}}

func checkLabelKey(s string) (string, string) {
	prefix, name, found := strings.Cut(s, "/")
	if !found {
		prefix, name = "", s
	}
	if found && (len(prefix) > 253 || !isLabel(prefix, true)) {
		return "must have a DNS name before the slash", "write example.com/NAME, or NAME alone"
	}
	if name == "" {
		return "must have a name", "write a name behind the slash"
	}
	if reason, _ := checkLabelValue(name); reason != "" {
		return reason, ""
	}
	return "", ""
}

// labelValue allows Kubernetes' label values.
var labelValue = rule{checkLabelValue, form{
	pattern: "([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?",
	says:    "letters, digits, '-', '_' and '.', with a letter or digit at its ends, up to 63 characters",
}}

func checkLabelValue(s string) (string, string) {
	if len(s) > 63 {
		return "is longer than 63 characters", "shorten it"
	}
	for i := range len(s) {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || i == len(s)-1 || !strings.ContainsRune("-_.", rune(c))) {
			return "must be of letters, digits, '-', '_' and '.', with a letter or digit at its ends", "replace the other characters"
		}
	}
	return "", ""
}

// reservedPrefix is that of the labels and annotations with a meaning to us.
const reservedPrefix = planner.ReservedDomain

// restartedAt is the annotation whose change restarts a service.
const restartedAt = reservedPrefix + "restartedAt"

var ownLabelKey = rule{func(s string) (string, string) {
	if strings.HasPrefix(s, reservedPrefix) {
		return "begins with orpheus/, which is reserved", "use another prefix"
	}
	return checkLabelKey(s)
}, form{pattern: labelKey.pattern, never: "^" + reservedPrefix, says: labelKey.says + ", not below " + reservedPrefix}}

var annotationKey = rule{func(s string) (string, string) {
	if strings.HasPrefix(s, reservedPrefix) && s != restartedAt {
		return "is not an annotation this version knows", suggest(s, []string{restartedAt})
	}
	return checkLabelKey(s)
}, form{pattern: labelKey.pattern, never: "^" + reservedPrefix, words: []string{restartedAt}, says: labelKey.says + ", not below " + reservedPrefix}}

var envName = rule{checkEnvName, form{
	pattern: `[^=\x00-\x1f\x7f-\x9f]{1,256}`,
	says:    "the name of a variable, without =",
}}

func checkEnvName(s string) (string, string) {
	if s == "" {
		return "must not be empty", "write a value, or remove it"
	}
	if len(s) > 256 {
		return "is longer than 256 characters", "shorten it"
	}
	for _, r := range s {
		if r == '=' || !unicode.IsPrint(r) {
			return "must be printable and have no '='", "rename it"
		}
	}
	return "", ""
}

// unclean is what a path does not have that path.Clean leaves as it is.
const unclean = `//|/\.\.?(/|$)|[^/]/$`

// absolutePath allows clean absolute paths.
var absolutePath = rule{checkAbsolutePath, form{pattern: "/.*", never: unclean, says: "a clean absolute path"}}

func checkAbsolutePath(s string) (string, string) {
	if reason, remedy := anyText.check(s); reason != "" {
		return reason, remedy
	}
	switch {
	case len(s) > maxPathBytes:
		return fmt.Sprintf("is longer than %d bytes", maxPathBytes), ""
	case !path.IsAbs(s):
		return "must be an absolute path", "begin it with /"
	case path.Clean(s) != s:
		return "is not a clean path", "write " + quote(path.Clean(s))
	}
	return "", ""
}

var mountPath = rule{func(s string) (string, string) {
	if s == "/" {
		return "would hide the whole image", "mount a folder below it"
	}
	if strings.Contains(s, ":") {
		return "must have no colon", "remove it, or give it another name"
	}
	return checkAbsolutePath(s)
}, form{pattern: "/[^:]+", never: unclean, says: "an absolute path below /, without a colon"}}

var devicePath = rule{func(s string) (string, string) {
	if reason, remedy := checkAbsolutePath(s); reason != "" {
		return reason, remedy
	}
	if !strings.HasPrefix(s, "/dev/") {
		return "must be below /dev", "write a path such as /dev/fuse"
	}
	return "", ""
}, form{pattern: "/dev/.+", never: unclean, says: "a path below /dev"}}

// repositoryPath allows clean paths inside the repository that no checkout
// could turn into something else.
var repositoryPath = rule{checkRepositoryPath, form{
	pattern: "[^/].*", never: unclean + `|^\.\.?(/|$)|(^|/)\.[Gg][Ii][Tt](/|$)`,
	says: "a path in the repository, relative to its top",
}}

func checkRepositoryPath(s string) (string, string) {
	if s == "" || len(s) > maxPathBytes {
		return fmt.Sprintf("must have from 1 to %d bytes", maxPathBytes), ""
	}
	if path.IsAbs(s) {
		return "must be a path in the repository, not an absolute one", "write it relative to the top of the repository"
	}
	if path.Clean(s) != s || s == "." {
		return "is not a clean path", "write it relative to the top of the repository, without . and .."
	}
	if s == ".." || strings.HasPrefix(s, "../") {
		return "leads out of the repository", "write the path relative to the top of the repository"
	}
	parts := strings.Split(s, "/")
	if len(parts) > maxPathDepth {
		return fmt.Sprintf("lies more than %d folders deep", maxPathDepth), ""
	}
	for _, part := range parts {
		if reason := evilName(part); reason != "" {
			return reason, "write it relative to the top of the repository, without . and .."
		}
		if strings.EqualFold(part, ".git") {
			return "leads into Git's own folder", "name another path"
		}
	}
	return "", ""
}
