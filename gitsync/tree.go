package gitsync

import (
	"bytes"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-git/go-git/v5/plumbing"
)

// treeEntry is one entry of a folder as it stands in the repository.
type treeEntry struct {
	// name is fit to be an element of a path. What is not (empty, ".", "..",
	// with a slash, control characters, invalid UTF-8, too long, or twice in
	// one folder) is quoted and marked bad.
	name string
	mode fs.FileMode // of a bad entry: fs.ModeIrregular
	id   plumbing.Hash
	bad  string // why the entry cannot be opened; "" = it can
}

const (
	gitModeDir     = 0o040000
	gitModeFile    = 0o100644
	gitModeExec    = 0o100755
	gitModeSymlink = 0o120000
	gitModeGitlink = 0o160000

	maxNameLength = 255
)

// rawEntry is one entry of a tree object, unchecked: with the mode as it
// stands there (go-git's object.Tree shows 100664 as 100644, and a device as a
// submodule) and any name (it refuses a folder for one without).
type rawEntry struct {
	mode uint32
	name []byte
	id   plumbing.Hash
}

// nextRawEntry splits "<octal mode> <name>\0<20 bytes>" off data.
func nextRawEntry(data []byte) (rawEntry, []byte, error) {
	space := bytes.IndexByte(data, ' ')
	if space < 1 || space > 7 {
		return rawEntry{}, nil, fmt.Errorf("malformed folder: no mode: %w", ErrCorrupt)
	}
	mode, err := strconv.ParseUint(string(data[:space]), 8, 32)
	if err != nil {
		return rawEntry{}, nil, fmt.Errorf("malformed folder: bad mode: %w", ErrCorrupt)
	}
	data = data[space+1:]
	end := bytes.IndexByte(data, 0)
	if end < 0 || len(data) < end+1+len(plumbing.Hash{}) {
		return rawEntry{}, nil, fmt.Errorf("malformed folder: cut off: %w", ErrCorrupt)
	}
	e := rawEntry{mode: uint32(mode), name: data[:end]}
	data = data[end+1:]
	copy(e.id[:], data)
	return e, data[len(e.id):], nil
}

// maxFolderSize is more than a folder of that many entries with proper names
// can take.
func maxFolderSize(entries int) int64 {
	return int64(entries) * int64(len("100644 ")+maxNameLength+1+len(plumbing.Hash{}))
}

func tooManyEntries(limit int) error {
	return &LimitError{Limit: "TreeEntries", What: "entries of one folder", Max: int64(limit)}
}

// parseTree returns the entries of a tree object sorted by name.
func parseTree(data []byte, limit int) ([]treeEntry, error) {
	var entries []treeEntry
	for len(data) > 0 {
		raw, rest, err := nextRawEntry(data)
		if err != nil {
			return nil, err
		}
		if len(entries) == limit {
			return nil, tooManyEntries(limit)
		}
		entries = append(entries, newTreeEntry(raw))
		data = rest
	}
	sortEntries(entries)
	for markDuplicates(entries) { // a new name may be another's
		sortEntries(entries)
	}
	return entries, nil
}

func newTreeEntry(raw rawEntry) treeEntry {
	e := treeEntry{name: string(raw.name), id: raw.id, mode: fileMode(raw.mode)}
	if e.mode == fs.ModeIrregular {
		e.bad = fmt.Sprintf("has mode %06o, which is neither file nor folder", raw.mode)
	}
	if why := badName(e.name); why != "" {
		e.name, e.mode, e.bad = quoteName(e.name), fs.ModeIrregular, why
	}
	return e
}

func fileMode(mode uint32) fs.FileMode {
	switch mode {
	case gitModeDir:
		return fs.ModeDir | 0o755
	case gitModeFile:
		return 0o644
	case gitModeExec:
		return 0o755
	case gitModeSymlink:
		return fs.ModeSymlink | 0o777
	}
	return fs.ModeIrregular
}

// badName says why a name cannot be part of a path; "" = it can. Names that
// only a checkout has to fear (.git, git~1, a trailing dot) are none of ours.
func badName(name string) string {
	switch {
	case name == "":
		return "has an empty name"
	case name == "." || name == "..":
		return "is named " + name
	case strings.Contains(name, "/"):
		return "has a slash in its name"
	case len(name) > maxNameLength:
		return "has a name of more than " + strconv.Itoa(maxNameLength) + " bytes"
	case !utf8.ValidString(name):
		return "has a name that is not UTF-8"
	case strings.ContainsFunc(name, unicode.IsControl):
		return "has control characters in its name"
	}
	return ""
}

// quoteName makes a bad name visible and harmless: in quotes, everything odd
// escaped, at most 100 bytes of it.
func quoteName(name string) string {
	if len(name) > 100 {
		name = name[:100]
	}
	return strings.ReplaceAll(strconv.QuoteToASCII(name), "/", `\x2f`)
}

func sortEntries(entries []treeEntry) {
	slices.SortStableFunc(entries, func(a, b treeEntry) int { return strings.Compare(a.name, b.name) })
}

// markDuplicates makes every entry bad whose name another one has: which of
// them is meant, nobody can say. The later ones get a longer name, and are no
// longer sorted if it returns true.
func markDuplicates(entries []treeEntry) (renamed bool) {
	for i := 0; i < len(entries); {
		j := i + 1
		for j < len(entries) && entries[j].name == entries[i].name {
			j++
		}
		if j-i > 1 {
			for k := i; k < j; k++ {
				entries[k].mode, entries[k].bad = fs.ModeIrregular, fmt.Sprintf("stands %d times in its folder", j-i)
				if k > i {
					entries[k].name = fmt.Sprintf("%s (%d)", entries[k].name, k-i+1)
				}
			}
			renamed = true
		}
		i = j
	}
	return renamed
}
