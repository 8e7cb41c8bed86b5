package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/planner/manifest/reference"
)

func newExplainCommand(e *env) *cobra.Command {
	var output string
	var recursive bool
	cmd := &cobra.Command{
		Use:   "explain [KIND[.FIELD...]]",
		Short: "Explain a field of manifests",
		Long: `Explain a kind of document or one of its fields: what it takes, its default,
whether a change of it restarts the service, and what it is for. A path without
a kind is that of a Service. Without arguments the kinds are listed.

It is what docs/manifest.md says, for this version of the program.`,
		Example: `  orpheus explain Service.spec.update
  orpheus explain spec.ports            # of a Service; also spec.ports[].publish
  orpheus explain Probe --recursive`,
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return reference.Read().Complete(typed), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
		},
		RunE: func(_ *cobra.Command, args []string) error {
			book := reference.Read()
			s := e.newScreen()
			if len(args) == 0 {
				if output == "json" {
					return writeJSON(e.stdout, explainedKinds(book), false)
				}
				drawKinds(s, book)
				return s.writeTo(e.stdout)
			}
			entry, err := book.Find(args[0])
			if err != nil {
				return usageError(err)
			}
			switch {
			case output == "json":
				return writeJSON(e.stdout, entry, false)
			default:
				drawEntry(s, entry, recursive)
			}
			return s.writeTo(e.stdout)
		},
	}
	addOutputFlag(cmd, &output, "text", "json")
	cmd.Flags().BoolVar(&recursive, "recursive", false, "list the fields below, at any depth, by name and type")
	return cmd
}

// kindSummary is one kind in the list of all.
type kindSummary struct {
	Name        string `json:"name"`
	Type        string `json:"type"`
	Description string `json:"description"`
}

func explainedKinds(b *reference.Book) []kindSummary {
	var all []kindSummary
	for _, entries := range [][]*reference.Entry{b.Kinds, b.Parts} {
		for _, k := range entries {
			all = append(all, kindSummary{k.Name, k.Type, reference.Plain(k.Notes)})
		}
	}
	return all
}

func drawKinds(s *screen, b *reference.Book) {
	t := &table{titles: []string{"NAME", "TYPE", "DESCRIPTION"}}
	for _, k := range explainedKinds(b) {
		t.add(k.Description, plain, cell{text: k.Name, colour: bold}, cell{text: k.Type})
	}
	t.draw(s)
	s.blank()
	s.prose("", plain, dim, "orpheus explain NAME.FIELD tells more, such as orpheus explain Service.spec.update")
}

func drawEntry(s *screen, e *reference.Entry, recursive bool) {
	s.labelled("field", bold, e.Path)
	s.labelled("type", plain, reference.Plain(e.Type))
	if words := e.Words(); len(words) > 0 {
		s.labelled("values", plain, strings.Join(words, ", "))
	}
	switch {
	case e.Required:
		s.labelled("default", plain, "none: it is required")
	case e.Default != "":
		s.labelled("default", plain, reference.Plain(e.Default))
	}
	if restarts := whatRestarts(e); restarts != "" {
		s.labelled("restarts", plain, restarts)
	}
	if e.Notes != "" {
		s.blank()
		s.prose("", plain, plain, reference.Plain(e.Notes))
	}
	if len(e.Fields) == 0 {
		return
	}
	s.blank()
	if recursive {
		drawTree(s, e.Fields, "")
		return
	}
	t := &table{titles: []string{"FIELD", "TYPE", "DEFAULT", "RESTARTS", "DESCRIPTION"}, spare: []int{3, 2}}
	for _, f := range e.Fields {
		t.add(reference.Plain(f.Notes), plain, cell{text: f.Name, colour: bold}, cell{text: reference.Plain(f.Type)},
			cell{text: shortDefault(f)}, cell{text: restartsWord(f)})
	}
	t.draw(s)
}

// drawTree lists fields and what is below them, each with its type.
func drawTree(s *screen, fields []*reference.Entry, indent string) {
	for _, f := range fields {
		line := indent + s.paint(bold, f.Name)
		if f.Type != "" {
			line += "  " + s.paint(dim, reference.Plain(f.Type))
		}
		s.line(line)
		drawTree(s, f.Fields, indent+"  ")
	}
}

// shortDefault is what a table has room for.
func shortDefault(e *reference.Entry) string {
	if e.Required {
		return "required"
	}
	return reference.Plain(e.Default)
}

// whatRestarts says whether a change of the field restarts the service, "" for
// what is no field of one.
func whatRestarts(e *reference.Entry) string {
	some := false
	for _, f := range e.Fields {
		some = some || restartsWord(f) != "no" && restartsWord(f) != ""
	}
	switch word := restartsWord(e); {
	case word == "":
		return ""
	case word == "yes":
		return "a change gives the service a new revision, which is rolled out"
	case some:
		return "it depends on the field"
	}
	return "a change restarts nothing"
}

// restartsWord is the column of the table; "" for what is no field of a
// service.
func restartsWord(e *reference.Entry) string {
	switch {
	case e.Kind == "Fleet" || e.Kind == "Node" || e.Path == e.Kind:
		return ""
	case e.Restarts:
		return "yes"
	}
	for _, f := range e.Fields {
		if restartsWord(f) != "no" {
			return "some"
		}
	}
	return "no"
}
