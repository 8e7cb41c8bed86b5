//go:build linux

package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/agent/event"
)

// jsonShapes are what verbs print with -o json, by verb; see docs/cli.md. A verb
// that shows a table and is not here fails TestEveryTableHasJSON.
var jsonShapes = []struct {
	verb, note string
	value      any
}{
	{"status", "of an agent", hereStatus{}},
	{"status", "from records", recordedStatus{}},
	{"status --network", "", networkReport{}},
	{"status --via ssh", "", reachedStatus{}},
	{"status --plan", "", plannedStatus{}},
	{"nodes", "", nodesReport{}},
	{"top", "", topReport{}},
	{"events", "one document a line", event.Event{}},
	{"events --via ssh", "one document a line", nodeEvent{}},
	{"why", "", whyReport{}},
	{"history", "", historyReport{}},
	{"logs", "one document a line", api.LogLine{}},
	{"logs --via ssh", "one document a line", nodeLogLine{}},
	{"endpoints", "", api.Endpoints{}},
	{"endpoints --via ssh", "", seenEndpoints{}},
	{"holds", "", []api.Hold{}},
	{"floor show", "", floorReport{}},
	{"doctor", "", []finding{}},
	{"version", "", buildInfo{}},
	{"render", "", rendering{}},
}

// jsonElsewhere are verbs whose documents other pages or their own help describe.
var jsonElsewhere = []string{"validate", "plan", "explain", "schema", "convert", "dev status"}

// nothingToList are the verbs that do something and say in a sentence that they did,
// or print a text of which they are the only author.
var nothingToList = []string{
	"abandon", "agent", "agent check", "agent install", "agent uninstall", "completion", "completion bash", "completion fish", "completion powershell", "completion zsh",
	"cordon", "dev", "dev cut", "dev down", "dev heal", "dev kill", "dev logs", "dev start", "dev up", "drain", "exec", "floor", "floor reset", "help", "hold", "hook",
	"hook pre-receive", "init", "promote", "release", "restart", "run-revision", "schema", "uncordon",
}

// sources tell where verbs have what they show from.
var sources = [][3]string{
	{"`status`", "this node: what runs, what keeps it from running, and its fleet", "the whole fleet"},
	{"`status --plan`", "", "whether the fleet did what was planned"},
	{"`nodes`", "", "all nodes"},
	{"`top`", "what instances use", "what is asked of each node, and restarts"},
	{"`events`", "what happened on this node", "what was decided"},
	{"`why`", "a service here and in the fleet, and what happened lately", "a service, and what was decided lately"},
	{"`history`", "", "what was decided"},
	{"`logs`, `exec`", "what runs on this node", ""},
	{"`endpoints`, `status --network`", "where this node leads connections", ""},
	{"`holds`, `floor show`", "this node", ""},
	{"`doctor`", "this machine, and what the agent knows", ""},
}

// verbsOf lists all verbs but hidden ones, by their words.
func verbsOf(root *cobra.Command) map[string]*cobra.Command {
	all := map[string]*cobra.Command{}
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			if !sub.Hidden {
				all[strings.TrimPrefix(sub.CommandPath(), root.Name()+" ")] = sub
				walk(sub)
			}
		}
	}
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	walk(root)
	return all
}

// TestEveryTableHasJSON: a verb either prints -o json, of a shape that is
// documented, or is known to list nothing.
func TestEveryTableHasJSON(t *testing.T) {
	var out bytes.Buffer
	shaped := map[string]bool{}
	for _, s := range jsonShapes {
		shaped[strings.Split(s.verb, " --")[0]] = true
	}
	for name, cmd := range verbsOf(newRootCommand(&out, &out)) {
		flag := cmd.Flags().Lookup("output")
		hasJSON := flag != nil && strings.Contains(flag.Value.Type(), "json")
		described := shaped[name] || slices.Contains(jsonElsewhere, name)
		if hasJSON && !described {
			t.Errorf("orpheus %s prints JSON of a shape that nothing describes: name it in jsonShapes", name)
		}
		if !hasJSON && !slices.Contains(nothingToList, name) {
			t.Errorf("orpheus %s has no -o json; if it lists nothing, say so in nothingToList", name)
		}
	}
}

// TestReference: docs/cli.md is what the program says of itself. With -update it is
// written anew.
func TestReference(t *testing.T) {
	var out bytes.Buffer
	t.Setenv("ORPHEUS_SOCKET", "/run/orpheus/orpheus.sock")
	got := cliReference(newRootCommand(&out, &out))
	path := filepath.Join("..", "..", "docs", "cli.md")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("docs/cli.md is not what the program says of itself; write it anew with\n\tgo test ./cmd/orpheus -run TestReference -update\nand look at the difference: flags, exit codes and JSON are promises.\n%s", firstDifference(got, string(want)))
	}
}

// firstDifference shows the first lines that differ.
func firstDifference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for k := range a {
		if k >= len(b) || a[k] != b[k] {
			return fmt.Sprintf("line %d: %q is new", k+1, a[k])
		}
	}
	return "the file has more lines"
}

// cliReference is docs/cli.md.
func cliReference(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString(`# The command line

Written by ` + "`go test ./cmd/orpheus -run TestReference -update`" + ` from the program itself: do not edit it.

## Where what is shown comes from

A node's agent answers on its unix socket. What it knows of the fleet, and a laptop that has no agent, comes from the fleet's records in Git: verbs that read them do so where no agent answers, in a checkout of the fleet's repository, and with ` + "`-C`, `--path`, `--repository`, `--records` or `--config`" + ` in any case. With ` + "`--via ssh`" + ` the records say which nodes there are, and their agents are [asked over your own ssh](fleet.md#from-your-own-machine): ` + "`status`, `top`, `events`, `why`, `endpoints`, `logs` and `exec`" + `.

| verb | from the agent of this node | from records alone |
|---|---|---|
`)
	for _, row := range sources {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", row[0], row[1], row[2])
	}
	b.WriteString(`
` + "`status` and `why`" + ` say first whether it is fine: ` + "`FINE`, `AT WORK`" + ` (it becomes as asked by itself), ` + "`ASKS YOU`" + ` (it goes on when a person says so) or ` + "`NOT FINE`" + `, with what is not, and what there is to do; with ` + "`-o json`" + ` these are ` + "`state`" + ` (` + "`fine`, `busy`, `asks`, `bad`" + `), ` + "`summary` and `toDo`" + `. Of more than ` + fmt.Sprint(maxFine) + ` services or nodes those are listed that are not fine; ` + "`--all`" + ` lists all.

## Terminals

On a terminal lines are cut to its width: columns are left out before anything is cut, a name that is too long is cut in its middle (` + "`…`" + `), and a number never is. In a pipe nothing is cut. ` + "`--watch`" + ` draws in place, on the terminal's second screen, and leaves the last view behind when it is ended with Ctrl-C; in a pipe a new block follows whenever there is news. Text from repositories, records and agents never acts on the terminal: what could is shown as an escape.

Colours and bars are for terminals. ` + "`NO_COLOR`" + ` (set to anything) and ` + "`TERM=dumb`" + ` turn colours off; ` + "`CLICOLOR_FORCE=1`" + ` turns them on in a pipe.

` + "`orpheus completion bash|zsh|fish`" + ` prints what a shell has to read to complete verbs, flags, and names of services, slots and nodes: from the agent, else from the manifests of the checkout, within a second.

## Exit codes

| code | of | meaning |
|---|---|---|
`)
	for _, c := range exitCodes {
		verbs := c.verbs
		if verbs == "" {
			verbs = "all verbs"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", c.code, verbs, c.meaning)
	}
	b.WriteString("\n## Verbs\n")
	all := verbsOf(root)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if first, _, _ := strings.Cut(name, " "); first != "completion" && first != "help" {
			describeVerb(&b, name, all[name])
		}
	}
	b.WriteString("\n## JSON\n\nFields may be added; none is taken away or changes its meaning. `?` marks those that are left out where they say nothing. Durations are in nanoseconds, times as in RFC 3339.\n")
	told := map[reflect.Type]string{}
	for _, s := range jsonShapes {
		title := "`" + s.verb + "`"
		if s.note != "" {
			title += ", " + s.note
		}
		fmt.Fprintf(&b, "\n### %s\n\n```\n", title)
		describeShape(&b, reflect.TypeOf(s.value), "", title, told)
		b.WriteString("```\n")
	}
	// As root has it, whoever runs this.
	return strings.NewReplacer(defaultStateDir(), "/var/lib/orpheus", defaultRunDir(), "/run/orpheus").Replace(b.String())
}

// describeVerb writes what the help of a verb says.
func describeVerb(b *strings.Builder, name string, cmd *cobra.Command) {
	fmt.Fprintf(b, "\n### orpheus %s\n\n%s.\n\n```\n%s\n```\n", name, cmd.Short, cmd.UseLine())
	if text := strings.TrimSpace(cmd.Long); text != "" {
		fmt.Fprintf(b, "\n```text\n%s\n```\n", text)
	}
	if cmd.Example != "" {
		fmt.Fprintf(b, "\n```\n%s\n```\n", strings.TrimRight(cmd.Example, "\n"))
	}
	first := true
	cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		if first {
			b.WriteString("\n| flag | meaning |\n|---|---|\n")
			first = false
		}
		short := ""
		if f.Shorthand != "" {
			short = "-" + f.Shorthand + ", "
		}
		value, usage := pflag.UnquoteUsage(f)
		fmt.Fprintf(b, "| `%s` | %s |\n", strings.ReplaceAll(strings.TrimSpace(short+"--"+f.Name+" "+value), "|", "\\|"), strings.ReplaceAll(usage, "|", "\\|"))
	})
}

// describeShape writes the fields of a type as they are in JSON. told are the types
// that were described already, and where.
func describeShape(b *strings.Builder, typ reflect.Type, indent, title string, told map[reflect.Type]string) {
	typ, _ = element(typ)
	if typ.Kind() != reflect.Struct {
		return
	}
	if told[typ] == "" {
		told[typ] = title
	}
	for f := range typ.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		inner, kind := element(f.Type)
		switch {
		case f.Anonymous && name == "":
			describeShape(b, f.Type, indent, title, told)
			continue
		case !f.IsExported() || name == "-":
			continue
		case name == "":
			name = f.Name
		}
		if strings.Contains(options, "omit") {
			name += "?"
		}
		if where := told[inner]; where != "" && inner.NumField() > 3 {
			fmt.Fprintf(b, "%s%s: %s, as in %s\n", indent, name, kind, strings.ReplaceAll(where, "`", ""))
			continue
		}
		fmt.Fprintf(b, "%s%s: %s\n", indent, name, kind)
		if !leaf(inner) {
			describeShape(b, inner, indent+"  ", title, told)
		}
	}
}

// leaf reports whether a type is one value in JSON whatever it is made of.
func leaf(typ reflect.Type) bool {
	return typ.Kind() != reflect.Struct || typ == reflect.TypeFor[time.Time]() || isText(typ)
}

func isText(typ reflect.Type) bool {
	type marshaler interface{ MarshalText() ([]byte, error) }
	return typ.Implements(reflect.TypeFor[marshaler]())
}

// element is what lists, maps and pointers are of, and what a value is called.
func element(typ reflect.Type) (of reflect.Type, kind string) {
	switch {
	case typ == reflect.TypeFor[time.Time]():
		return typ, "time"
	case typ == reflect.TypeFor[time.Duration]():
		return typ, "nanoseconds"
	case isText(typ):
		return typ, "string"
	}
	switch typ.Kind() {
	case reflect.Pointer:
		return element(typ.Elem())
	case reflect.Slice, reflect.Array:
		of, kind = element(typ.Elem())
		return of, "list of " + kind
	case reflect.Map:
		of, kind = element(typ.Elem())
		return of, "map of " + kind
	case reflect.Struct:
		return typ, "object"
	case reflect.String:
		return typ, "string"
	case reflect.Bool:
		return typ, "true or false"
	case reflect.Interface:
		return typ, "anything"
	}
	return typ, "number"
}
