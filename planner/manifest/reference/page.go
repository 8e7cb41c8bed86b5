package reference

import (
	"regexp"
	"strings"
)

// row is what a table of docs/manifest.md says of one field, in its markdown.
type row struct {
	kind      string // in the column Type
	byDefault string
	notes     string
	restarts  bool
}

// page is docs/manifest.md taken apart: its rows by section and field path,
// and the text that each section begins with.
type page struct {
	rows  map[string]map[string]row
	intro map[string]string
}

// columns are those of a table of fields.
const columns = 5 // Field, Type, Default, Restarts, Notes

func readPage(text string) page {
	p := page{rows: map[string]map[string]row{}, intro: map[string]string{}}
	section, open := "", false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if title, ok := strings.CutPrefix(line, "## "); ok {
			section, open = title, true
			p.rows[section] = map[string]row{}
			continue
		}
		if cells := cellsOf(line); len(cells) == columns && strings.HasPrefix(cells[0], "`") {
			p.rows[section][strings.Trim(cells[0], "`")] = row{kind: cells[1], byDefault: cells[2], notes: cells[4], restarts: cells[3] == "yes"}
			continue
		}
		// The first paragraph, unless a table, an example or a list comes first.
		switch plain := line != "" && !strings.ContainsAny(line[:1], "|`-#"); {
		case open && plain:
			p.intro[section], open = line, false
		case line != "":
			open = false
		}
	}
	return p
}

// cellsOf returns the cells of a line of a table, nil if it is none.
func cellsOf(line string) []string {
	if !strings.HasPrefix(line, "|") {
		return nil
	}
	cells := strings.Split(strings.Trim(line, "|"), "|")
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	return cells
}

var link = regexp.MustCompile(`\[([^\]]*)\]\([^)\s]*\)`)

// unlinked is markdown without its links: whoever reads it is not on the page.
func unlinked(markdown string) string { return link.ReplaceAllString(markdown, "$1") }

// Plain is markdown of a table as plain text.
func Plain(markdown string) string { return strings.ReplaceAll(unlinked(markdown), "`", "") }
