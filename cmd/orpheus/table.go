package main

import (
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/cmd/internal/terminal"
	"github.com/orpheus-cd/orpheus/planner/manifest"
)

// cell is one field of a table.
type cell struct {
	text   string
	colour colour
}

// row is one line of a table. Its note stands in the last column if it fits
// there, else in lines of its own below. What is more is always below.
type row struct {
	cells      []cell
	note       string
	noteColour colour
	more       []more
}

// more is text below a row.
type more struct {
	text   string
	colour colour
}

// table has columns with titles, the last of which is for notes. Columns that
// are empty in all rows are left out.
type table struct {
	titles []string
	// spare lists columns that may be left out of a narrow screen, by index,
	// the first one first.
	spare []int
	// whole lists columns that are not cut: numbers, of which a part is another one.
	whole []int
	rows  []row
}

const (
	gap      = 2  // columns between columns
	minNotes = 40 // columns that notes need beside the others
	// minColumn is how narrow a column may become by one long name in it.
	minColumn = 16
	noteLead  = "  └ "
	moreLead  = "  · "
	maxNote   = 4 // lines below a row
)

func (t *table) add(note string, c colour, cells ...cell) {
	for i := range cells {
		cells[i].text = manifest.Printable(cells[i].text)
	}
	t.rows = append(t.rows, row{cells: cells, note: manifest.Printable(note), noteColour: c})
}

// below adds text under the last row.
func (t *table) below(c colour, text string) {
	last := &t.rows[len(t.rows)-1]
	last.more = append(last.more, more{text, c})
}

// widths measures the columns; 0 = left out. room is what is left for notes,
// below 0 if there is no bound.
func (t *table) widths(width int) (columnWidths []int, room int) {
	last := len(t.titles) - 1
	w := make([]int, last)
	for _, r := range t.rows {
		for i, c := range r.cells {
			if c.text != "" {
				w[i] = max(w[i], terminal.Columns(c.text), terminal.Columns(t.titles[i]))
			}
		}
	}
	if width == 0 {
		return w, -1
	}
	spare := t.spare
	for {
		over := total(w) - width
		if over <= 0 {
			return w, max(0, width-total(w)-gap)
		}
		widest := t.widest(w)
		switch {
		case len(spare) > 0:
			w[spare[0]], spare = 0, spare[1:]
		case widest >= 0:
			w[widest] = max(minColumn, w[widest]-over)
		case last > 1 && lastShown(w) > 0: // a very narrow screen
			w[lastShown(w)] = 0
		default:
			w[0] = width
			return w, 0
		}
	}
}

// total is how wide columns are together.
func total(w []int) int {
	used := 0
	for _, n := range w {
		if n > 0 {
			used += n + gap
		}
	}
	return max(0, used-gap)
}

// widest is the widest column that may be cut; -1 = none is left.
func (t *table) widest(w []int) int {
	at := -1
	for k, n := range w {
		if n > minColumn && (at < 0 || n > w[at]) && !slices.Contains(t.whole, k) {
			at = k
		}
	}
	return at
}

// lastShown is the last column that is not left out.
func lastShown(w []int) int {
	for k := len(w) - 1; k > 0; k-- {
		if w[k] > 0 {
			return k
		}
	}
	return 0
}

// draw adds the table to a screen.
func (t *table) draw(s *screen) {
	if len(t.rows) == 0 {
		return
	}
	w, room := t.widths(s.width)
	notes := false
	for _, r := range t.rows {
		notes = notes || r.note != ""
	}
	beside := room < 0 || room >= minNotes
	var titles []cell
	for _, title := range t.titles[:len(t.titles)-1] {
		titles = append(titles, cell{title, bold})
	}
	line := t.join(s, w, titles)
	if notes && beside {
		line += s.paint(bold, t.titles[len(t.titles)-1])
	}
	s.line(line)
	for _, r := range t.rows {
		line := t.join(s, w, r.cells)
		if r.note == "" || beside && (room < 0 || terminal.Columns(r.note) <= room) {
			s.line(line + s.paint(r.noteColour, r.note))
		} else {
			s.line(line)
			t.noteBelow(s, r)
		}
		for _, m := range r.more {
			s.prose(moreLead, dim, m.colour, m.text)
		}
	}
}

func (t *table) join(s *screen, w []int, cells []cell) string {
	var b strings.Builder
	for i, c := range cells {
		if w[i] > 0 {
			text := terminal.ClipInside(c.text, w[i])
			b.WriteString(s.paint(c.colour, text) + strings.Repeat(" ", w[i]-terminal.Columns(text)+gap))
		}
	}
	return b.String()
}

// noteBelow draws a row's note under it.
func (t *table) noteBelow(s *screen, r row) {
	lines := terminal.Wrap(r.note, s.room(terminal.Columns(noteLead)))
	if len(lines) > maxNote {
		lines = lines[:maxNote]
		lines[maxNote-1] = terminal.Clip(lines[maxNote-1]+" …", s.room(terminal.Columns(noteLead)))
	}
	for i, l := range lines {
		lead := noteLead
		if i > 0 {
			lead = strings.Repeat(" ", terminal.Columns(noteLead))
		}
		s.line(s.paint(dim, lead) + s.paint(r.noteColour, l))
	}
}
