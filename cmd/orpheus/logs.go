package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/terminal"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/planner/manifest"
)

func newLogsCommand(e *env) *cobra.Command {
	var o remoteOptions
	var container string
	var tail int
	var follow bool
	cmd := &cobra.Command{
		Use:   "logs SERVICE | SLOT",
		Short: "Print what the containers of a service have written",
		Long: `Print what the containers of a SERVICE (NAME or NAMESPACE/NAME), or of one SLOT
of it (NAME-0), have written on this node. Lines begin with slot and container
where there are several. What earlier runs of a slot wrote is there too, up to
the size that the node keeps.

With --follow it goes on through crashes, restarts and rotation, and takes in
slots that are added, until it is interrupted.

A hook writes to a slot of its own, on the node it ran on: NAME-prerollout,
NAME-postrollout. That stays for a day.

On a terminal, characters that could act on it are shown as escapes; colours
pass. Elsewhere lines are printed as they were written, and with -o json each as a
document on a line of its own.
` + viaHelp + `
Lines of several nodes then follow each other, or with --follow come as they are
written; with -o json each tells its node. What is started on another node is taken
in, and one that is lost is asked again. It ends with 1 where a node was not
reached.`,
		Example: `  orpheus logs web
  orpheus logs shop/web-0 -f --tail 20
  orpheus logs web --container proxy
  orpheus logs web -f --via ssh      # of all nodes that run it`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: e.completeServices(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("tail") && tail < 0 {
				return usageError(fmt.Errorf("--tail %d: write a number of lines from 0", tail))
			}
			if err := o.checkRemote(e, cmd); err != nil {
				return usageError(err)
			}
			req := api.LogRequest{Container: container, Tail: tail, Follow: follow}
			if o.viaAsked() {
				return withInterrupt(cmd.Context(), func(ctx context.Context) error {
					return e.logsVia(ctx, o, args[0], req, o.output == "json")
				})
			}
			client, err := e.client()
			if err != nil {
				return err
			}
			defer client.Close()
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
			defer stop()
			st, err := client.Status(ctx)
			if err != nil {
				return e.explainAgent(err)
			}
			return e.printLogs(ctx, client, st, args[0], req, o.output == "json")
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what is written from now on")
	cmd.Flags().IntVarP(&tail, "tail", "n", -1, "only so many last `lines` of each container; all that is kept if not given")
	cmd.Flags().StringVarP(&container, "container", "c", "", "only this container")
	addOutputFlag(cmd, &o.output, "text", "json")
	o.addRemoteFlags(e, cmd)
	cmd.Flags().Lookup("tail").DefValue = "0" // said in its text; the zero of a number is not printed
	return cmd
}

// printLogs prints what is here of a service or slot, else says where it is.
func (e *env) printLogs(ctx context.Context, client *api.Client, st *api.Status, name string, req api.LogRequest, asJSON bool) error {
	service, slot, err := resolveSlot(st, name)
	if err == nil {
		req.Service, req.Slot = service.ID(), slot
		return client.Logs(ctx, req, e.logPrinter(service, req, asJSON))
	}
	id, kind, isHook := hookCalled(name)
	if !isHook {
		if elsewhere := writtenElsewhere(knowElsewhere(ctx, client, st, name), name); elsewhere != nil {
			return elsewhere
		}
		return err
	}
	// What a hook wrote stays for a while after its end, also where nothing else
	// of its service is, or was.
	st = knowElsewhere(ctx, client, st, id.String())
	node, elsewhere := ranElsewhere(st, id, kind)
	req.Service, req.Slot = id, string(kind)
	err = client.Logs(ctx, req, e.logPrinter(api.Service{Namespace: id.Namespace, Name: id.Name}, req, asJSON))
	switch {
	case elsewhere && err != nil:
		return fmt.Errorf("%w; it ran on %s: run this there", err, node)
	case elsewhere:
		fmt.Fprintf(e.stderr, "That is of an earlier run: the last one was on %s.\n", node)
	}
	return err
}

// logPrinter prints lines for people, or as JSON, one document a line.
func (e *env) logPrinter(service api.Service, req api.LogRequest, asJSON bool) func(api.LogLine) error {
	if asJSON {
		return func(l api.LogLine) error { return writeJSON(e.stdout, l, true) }
	}
	return newLogPrinter(e.stdout, service, req).print
}

// resolveSlot finds what a name means: a service, or a slot of one.
func resolveSlot(st *api.Status, name string) (service api.Service, slot string, err error) {
	id := planner.ParseServiceID(name)
	for _, s := range st.Services {
		if s.ID() == id {
			return s, "", nil
		}
	}
	for _, s := range st.Services {
		rest, ok := strings.CutPrefix(id.Name, s.Name+"-")
		if !ok || s.Namespace != id.Namespace {
			continue
		}
		for _, i := range s.Instances {
			if i.Slot == rest {
				return s, rest, nil
			}
		}
	}
	return api.Service{}, "", noService(st, name)
}

// logPrinter prints lines behind the name of their container.
type logPrinter struct {
	w        io.Writer
	service  planner.ServiceID
	slots    bool // name the slot
	several  bool // name the container
	width    int
	raw      bool              // as it was written: nothing is shown here
	coloured bool              // the leads are
	colours  map[string]colour // by lead
}

// slotColours take turns.
var slotColours = []colour{"36", "33", "32", "35", "34", "31"}

func newLogPrinter(w io.Writer, service api.Service, req api.LogRequest) *logPrinter {
	p := &logPrinter{w: w, service: service.ID(), raw: !terminal.Is(w), coloured: terminal.Colours(w), colours: map[string]colour{}}
	slots := map[string]bool{}
	for _, i := range service.Instances {
		slots[i.Slot] = true
		p.several = p.several || len(i.Containers) > 1 && req.Container == ""
	}
	p.slots = req.Slot == "" && (len(slots) > 1 || service.Replicas > 1)
	for _, i := range service.Instances {
		for _, c := range append(i.Containers, api.Container{}) {
			p.width = max(p.width, len(p.lead(i.Slot, c.Name)))
		}
	}
	return p
}

// lead names where a line comes from, "" if there is only one place.
func (p *logPrinter) lead(slot, container string) string {
	name := planner.SlotID{Service: p.service, Name: slot}.String()
	switch {
	case p.slots && p.several:
		return name + "/" + container
	case p.slots:
		return name
	case p.several:
		return container
	}
	return ""
}

func (p *logPrinter) print(l api.LogLine) error {
	line := l.Line
	if !p.raw {
		line = harmless(line)
	}
	lead := p.lead(l.Slot, l.Container)
	if lead != "" {
		lead = fmt.Sprintf("%-*s | ", p.width, manifest.Printable(lead))
	}
	if p.coloured && lead != "" {
		c, known := p.colours[lead]
		if !known {
			c = slotColours[len(p.colours)%len(slotColours)]
			p.colours[lead] = c
		}
		lead = "\x1b[" + string(c) + "m" + lead + "\x1b[0m"
	}
	_, err := fmt.Fprintln(p.w, lead+line)
	return err
}

// sgr is an escape sequence that sets colours and nothing else.
var sgr = regexp.MustCompile("\x1b\\[[0-9;]{0,32}m")

// harmless shows what could act on the terminal as escapes. Tabs and colours
// pass; colours end with the line.
func harmless(line string) string {
	var b strings.Builder
	text := func(s string) {
		for i, part := range strings.Split(s, "\t") {
			if i > 0 {
				b.WriteByte('\t')
			}
			b.WriteString(manifest.Printable(part))
		}
	}
	at, coloured := 0, false
	for _, m := range sgr.FindAllStringIndex(line, -1) {
		text(line[at:m[0]])
		b.WriteString(line[m[0]:m[1]])
		at, coloured = m[1], true
	}
	text(line[at:])
	if coloured {
		b.WriteString("\x1b[0m")
	}
	return b.String()
}
