package manifest

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// Report is what `orpheus validate` prints of one reading.
type Report struct {
	Files    int             `json:"files"`    // with at least one service
	Services int             `json:"services"` // that can be run
	Nodes    int             `json:"nodes"`    // that are described
	Faults   []planner.Fault `json:"faults"`   // never null
}

// NewReport counts what a load gave.
func NewReport(d planner.Desired) Report {
	files := map[string]bool{}
	for _, s := range d.Services {
		files[s.File] = true
	}
	return Report{len(files), len(d.Services), len(d.Nodes), append([]planner.Fault{}, d.Faults...)}
}

// Broken counts the faults that hold something back.
func (r Report) Broken() int {
	n := 0
	for _, f := range r.Faults {
		if !f.Warning {
			n++
		}
	}
	return n
}

// WriteText prints faults for people, a heading for each file. Nothing in it
// can act on a terminal.
func WriteText(w io.Writer, r Report) error {
	p := &printer{w: w}
	file := ""
	for i, f := range r.Faults {
		if i == 0 || f.File != file {
			file = f.File
			if i > 0 {
				p.line("")
			}
			p.line("%s", Printable(orWhole(file)))
		}
		p.line("  %s", textFault(f))
		if f.Remedy != "" {
			p.line("      → %s", Printable(f.Remedy))
		}
	}
	if len(r.Faults) > 0 {
		p.line("")
	}
	broken := r.Broken()
	nodes := ""
	if r.Nodes > 0 {
		nodes = count(r.Nodes, "node") + ", "
	}
	p.line("%s in %s, %s%s, %s", count(r.Services, "service"), count(r.Files, "file"), nodes, count(broken, "fault"), count(len(r.Faults)-broken, "warning"))
	return p.err
}

func textFault(f planner.Fault) string {
	var b strings.Builder
	if f.Line > 0 {
		fmt.Fprintf(&b, "%d", f.Line)
		if f.Column > 0 {
			fmt.Fprintf(&b, ":%d", f.Column)
		}
		b.WriteString(": ")
	}
	if f.Warning {
		b.WriteString("warning: ")
	}
	if f.Field != "" {
		b.WriteString(Printable(f.Field) + ": ")
	}
	b.WriteString(Printable(f.Reason))
	return b.String()
}

// orWhole names a file, or the repository where there is none.
func orWhole(file string) string {
	if file == "" {
		return "(the repository)"
	}
	return file
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// WriteJSON prints {"files":N,"services":N,"nodes":N,"faults":[…]}, a fault having the
// fields of planner.Fault. encoding/json escapes control characters.
func WriteJSON(w io.Writer, r Report) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if r.Faults == nil {
		r.Faults = []planner.Fault{}
	}
	return enc.Encode(r)
}

// WriteGitHub prints one workflow command per fault, which GitHub shows beside
// the line in a pull request.
func WriteGitHub(w io.Writer, r Report) error {
	p := &printer{w: w}
	for _, f := range r.Faults {
		level, title := "error", "Manifest"
		if f.Warning {
			level = "warning"
		}
		if f.Field != "" {
			title = f.Field
		}
		var properties []string
		add := func(name, value string) {
			properties = append(properties, name+"="+escapeProperty(Printable(value)))
		}
		if f.File != "" {
			add("file", f.File)
		}
		if f.Line > 0 {
			add("line", fmt.Sprint(f.Line))
		}
		if f.Column > 0 {
			add("col", fmt.Sprint(f.Column))
		}
		add("title", title)
		message := f.Reason
		if f.Remedy != "" {
			message += "; " + f.Remedy
		}
		p.line("::%s %s::%s", level, strings.Join(properties, ","), escapeMessage(Printable(message)))
	}
	return p.err
}

var (
	messageEscapes  = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	propertyEscapes = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

func escapeMessage(s string) string  { return messageEscapes.Replace(s) }
func escapeProperty(s string) string { return propertyEscapes.Replace(s) }

// printer keeps the first error of a series of writes.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}
