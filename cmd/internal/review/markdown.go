package review

import (
	"fmt"
	"io"
	"strings"
)

// MaxMarkdown bounds a comment, in bytes: forges take 65,536 characters.
const MaxMarkdown = 60_000

// Marker is the first line of the comment for a fleet's folder, by which CI finds
// the comment that it made before.
func Marker(path string) string {
	if path == "." || path == "" {
		return "<!-- orpheus plan -->"
	}
	var b strings.Builder
	last := rune(' ')
	for _, r := range path {
		plain := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '/' || r == '.' || r == '_' || r == '-' && last != '-'
		if !plain {
			r = '_'
		}
		b.WriteRune(r)
		last = r
	}
	return "<!-- orpheus plan " + b.String() + " -->"
}

// WriteMarkdown writes a report as one comment of a pull request. Of what does not
// fit it says how much it leaves out.
func WriteMarkdown(w io.Writer, r *Report) error {
	m := &markdown{r: r}
	m.head()
	m.trouble()
	m.findings()
	m.said()
	m.services()
	_, err := io.WriteString(w, m.text.String())
	return err
}

type markdown struct {
	r    *Report
	text strings.Builder
	full bool
}

// room is kept for what says that something is left out.
const room = 2000

// add appends a piece if it fits, and reports whether it did. Once one did not,
// none does.
func (m *markdown) add(piece string) bool {
	if m.full || m.text.Len()+len(piece) > MaxMarkdown-room {
		m.full = true
		return false
	}
	m.text.WriteString(piece)
	return true
}

// items adds a list under a title, as far as it fits.
func (m *markdown) items(title string, items []string) {
	if len(items) == 0 || !m.add("\n### "+title+"\n\n") {
		return
	}
	const most = 50
	for i, item := range items {
		if i == most || !m.add("- "+item+"\n") {
			m.full = false
			m.add(fmt.Sprintf("- and %d more\n", len(items)-i))
			return
		}
	}
}

func (m *markdown) head() {
	icon := "✅"
	switch {
	case m.r.Trouble():
		icon = "❌"
	case m.r.Summary.Changes:
		icon = "🔶"
	}
	m.add(Marker(m.r.Path) + "\n## " + icon + " Plan for fleet " + span(m.r.Fleet) + "\n\n")
	m.add("**" + Headline(m.r) + ".** " + m.side(m.r.Base) + " → " + m.side(m.r.Head))
	if m.r.Path != "." {
		m.add(", folder " + span(m.r.Path))
	}
	m.add("\n")
	if m.r.NoRecords != "" {
		m.add("\nThe records of the fleet were not read, so that nothing is said of nodes: " + span(cut(m.r.NoRecords, 500)) + "\n")
	}
}

func (m *markdown) side(s Side) string {
	name := s.Name
	if len(s.Commit) > 8 && !strings.HasPrefix(name, s.Commit[:8]) {
		name += " (" + s.Commit[:8] + ")"
	}
	if name == "" {
		name = "nothing"
	}
	return span(cut(name, 200))
}

// cut bounds a text, in runes.
func cut(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}

func (m *markdown) trouble() {
	if m.r.Refused != "" {
		m.add("\nAgents will refuse the commit and go on with what they follow: " + span(cut(m.r.Refused, 1000)) + "\n")
	}
	var faults, warnings, places []string
	for _, f := range m.r.Faults {
		text := span(cut(f.String(), 600))
		if !f.New {
			text += " (without this commit, too)"
		}
		if len(f.Holds) > 0 {
			text += ", keeps as they were: " + span(list(f.Holds, 20))
		}
		if f.Warning {
			warnings = append(warnings, text)
		} else {
			faults = append(faults, text)
		}
	}
	m.items("Faults", faults)
	for _, u := range m.r.Unplaced {
		text := span(u.Slot)
		if u.Before {
			text += " (without this commit, too)"
		}
		if u.Nearest != "" {
			text += ": " + span(cut(u.Nearest, 300))
		}
		for i, reason := range u.Reasons {
			if i == 10 {
				text += "\n  - and " + plural(len(u.Reasons)-i, "other reason")
				break
			}
			text += "\n  - " + span(NodeList(reason.Nodes)+": "+cut(reason.Reason, 300))
		}
		if len(u.Reasons) == 0 {
			text += ": there are no nodes"
		}
		places = append(places, text)
	}
	m.items("No place", places)
	if m.r.Deletions != nil {
		var lines []string
		for _, text := range DeletionWords(m.r.Deletions) {
			lines = append(lines, span(text))
		}
		m.items("Deletions", lines)
	}
	m.items("Warnings", warnings)
}

func (m *markdown) findings() {
	var out []string
	for _, f := range m.r.Findings {
		text := span(f.Service + " " + cut(f.What, 300))
		if f.File != "" {
			text += " in " + span(place(f.File, f.Line))
		}
		out = append(out, text)
	}
	if m.items("To look at", out); m.r.PolicyDecides() {
		m.add("\n" + PolicyRemark + "\n")
	}
}

// said is what changes of the fleet and its nodes.
func (m *markdown) said() {
	var out []string
	for _, f := range m.r.FleetChanges {
		out = append(out, span("fleet.yaml "+f.Field)+": "+span(FieldWords(f, 200)))
	}
	for _, n := range m.r.NodeChanges {
		for _, f := range n.Fields {
			out = append(out, "node "+span(string(n.Node))+" "+span(f.Field)+": "+span(FieldWords(f, 200)))
		}
	}
	m.items("Fleet and nodes", out)
}

// services tells of each service as much as leaves room to name those after it.
func (m *markdown) services() {
	all, tail := m.r.Services, m.tail()
	steps := StepsOf(m.r)
	inShort := make([]string, len(all))
	rest := len(tail) + room // what has to come after a service
	for i, s := range all {
		inShort[i] = "- " + span(cut(ServiceHead(s)+slotCounts(s), 300)) + "\n"
		rest += len(inShort[i])
	}
	if m.full = false; len(all) > 0 {
		m.add("\n### Services\n\n")
	}
	next := 0
	for ; next < len(all); next++ {
		after := rest - len(inShort[next])
		piece := details(all[next], steps[all[next].Service], 40)
		if m.text.Len()+len(piece)+after > MaxMarkdown {
			piece = details(all[next], nil, 5) // one that is large may go with less
		}
		if m.text.Len()+len(piece)+after > MaxMarkdown {
			break
		}
		m.text.WriteString(piece)
		rest = after
	}
	m.shortly(inShort[next:], tail)
	if m.text.Len()+len(tail) <= MaxMarkdown {
		m.text.WriteString(tail)
	}
}

// shortly lists the services for which there is no more room, as far as that goes.
func (m *markdown) shortly(lines []string, tail string) {
	if len(lines) == 0 {
		return
	}
	m.text.WriteString(fmt.Sprintf("\n**%s more in short: a comment has room for no more. `orpheus plan` prints all.**\n\n", plural(len(lines), "service")))
	for i, line := range lines {
		if m.text.Len()+len(line)+len(tail)+room/2 > MaxMarkdown {
			m.text.WriteString(fmt.Sprintf("- and %s\n", plural(len(lines)-i, "more service")))
			return
		}
		m.text.WriteString(line)
	}
}

// slotCounts says in short what becomes of the slots of a service.
func slotCounts(s Service) string {
	var sum Summary
	sum.count(s.Slots)
	if text := sum.slots(); text != "" {
		return ": " + text
	}
	return ""
}

// details is one service, folded.
func details(s Service, steps []string, most int) string {
	var lines []string
	add := func(sign, text string) { lines = append(lines, sign+" "+text) }
	if s.Why != "" {
		add("#", s.Why)
	}
	if s.About != "" {
		add("#", s.About)
	}
	for i, f := range s.Fields {
		if i == most {
			add("#", "and "+plural(len(s.Fields)-i, "more field"))
			break
		}
		note := FieldNote(f)
		if note != "" {
			note = "   # " + note
		}
		if f.Old != "" {
			add("-", f.Field+": "+cut(f.Old, 400))
		}
		if f.New != "" {
			add("+", f.Field+": "+cut(f.New, 400)+note)
		} else {
			lines[len(lines)-1] += note
		}
	}
	for i, slot := range s.Slots {
		if i == most {
			add("#", "and "+plural(len(s.Slots)-i, "more slot"))
			break
		}
		add("!", SlotWords(slot))
	}
	if s.Down != "" {
		add("!", s.Down)
	}
	for _, text := range s.How {
		add("#", text)
	}
	for i, text := range steps {
		if i == most {
			add("#", "and "+plural(len(steps)-i, "more step"))
			break
		}
		add(" ", text)
	}
	var b strings.Builder
	b.WriteString("<details><summary>" + element(ServiceHead(s)) + "</summary>\n\n")
	if len(lines) > 0 {
		b.WriteString(block("diff", lines) + "\n")
	}
	b.WriteString("</details>\n")
	return b.String()
}

// tail is what comes after the services.
func (m *markdown) tail() string {
	var b strings.Builder
	if len(m.r.Loads) > 0 && m.r.Summary.Changes {
		b.WriteString("\n<details><summary>Asked of nodes: before → at most meanwhile → after</summary>\n\n| node | instances | memory | CPU |\n|---|---|---|---|\n")
		for i, l := range m.r.Loads {
			if i >= 30 && l.Node != "" {
				continue
			}
			row := LoadWords(l)
			b.WriteString("| " + cellSpan(row[0]) + " | " + row[1] + " | " + row[2] + " | " + row[3] + " |\n")
		}
		b.WriteString("\n</details>\n")
	}
	for i, text := range Remarks(m.r) {
		if i == 0 {
			b.WriteString("\n### Notes\n\n")
		}
		b.WriteString("- " + span(cut(text, 500)) + "\n")
	}
	b.WriteString("\nThis is right as long as nothing else happens: images can be pulled, what is started becomes ready, hooks succeed, no node is lost.\n")
	return b.String()
}
