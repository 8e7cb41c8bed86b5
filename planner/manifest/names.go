package manifest

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// evilName says what makes the name of a tree entry one that no honest Git
// ever wrote, "" if nothing does. Such entries are named and never followed.
func evilName(name string) string {
	switch {
	case name == "":
		return "has an empty name"
	case name == "." || name == "..":
		return "is named " + name
	case strings.ContainsAny(name, `/\`):
		return "has a slash in its name"
	case strings.HasPrefix(strings.ToLower(name), "git~"):
		return "has a name some file systems take for .git"
	case strings.EqualFold(strings.TrimRight(name, ". "), ".git") && !strings.EqualFold(name, ".git"):
		return "has a name some file systems take for .git"
	case !utf8.ValidString(name):
		return "has a name that is not valid UTF-8"
	case len(name) > 255:
		return "has a name longer than 255 bytes"
	}
	for _, r := range name {
		switch {
		case unicode.IsControl(r):
			return "has a control character in its name"
		case r == utf8.RuneError || unicode.Is(unicode.Cf, r):
			return "has an invisible character in its name"
		}
	}
	return ""
}

// isManifestName reports whether files of this name are read.
func isManifestName(name string) bool {
	return strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml")
}

// almostManifestName reports whether someone surely meant the file to be read.
func almostManifestName(name string) bool {
	return !isManifestName(name) && isManifestName(strings.ToLower(strings.TrimRight(name, ". ")))
}

// hidden reports whether files and folders of this name are skipped.
func hidden(name string) bool { return strings.HasPrefix(name, ".") }
