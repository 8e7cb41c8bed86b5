package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

const (
	// topWindow is how long CPU is measured for: a rate needs two looks.
	topWindow = time.Second
	// watchTop is the time between two looks that are shown.
	watchTop = 2 * time.Second
)

// topOptions are the flags of top.
type topOptions struct {
	remoteOptions
	sort               string
	watching, all      bool
	byInstance, byNode bool
}

func newTopCommand(e *env) *cobra.Command {
	var o topOptions
	cmd := &cobra.Command{
		Use:   "top [SERVICE]",
		Short: "Show what services, instances and nodes use",
		Long: `Show what the services of this node use of CPU and memory beside what they ask
for and may use at most, their processes and restarts; with a SERVICE (NAME or
NAMESPACE/NAME) each of its instances.

CPU is in thousandths of a core ("250m" is a quarter of one), measured over a
second. ASKED is what is kept free for a service (resources.requests), LIMIT what
it may use at most (resources.limits); one without is bound by the node alone.

Where no agent answers, in a checkout of a fleet's repository, it shows the whole
fleet from its records: what is asked of each node, and restarts. What is used
only agents know. With -C, --path, --repository, --records or --config it shows
that in any case.
` + viaHelp + `

Exit codes: 0 shown, 1 no agent answers or there is no such service, 2 wrong
usage.`,
		Example: `  orpheus top
  orpheus top shop/web
  orpheus top --sort memory --watch
  orpheus top --nodes -C ~/fleet     # what is asked of each node
  orpheus top --nodes --via ssh      # what all nodes use`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: e.completeServices(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := errors.Join(o.check(e, cmd), o.checkVia(cmd)); err != nil {
				return usageError(err)
			}
			service := ""
			if len(args) > 0 {
				service = args[0]
				if o.byNode {
					return usageError(errors.New("--nodes shows nodes; remove it, or the service"))
				}
			}
			return e.top(cmd, o, service)
		},
	}
	addOutputFlag(cmd, &o.output, "text", "json")
	o.addPlaceFlags(e, cmd)
	o.addViaFlags(cmd)
	f := cmd.Flags()
	o.sort = topKeys[0]
	f.Var(choice{&o.sort, topKeys}, "sort", "what comes first: most of it, or names in order")
	_ = cmd.RegisterFlagCompletionFunc("sort", cobra.FixedCompletions(topKeys, cobra.ShellCompDirectiveNoFileComp)) // fails only for a flag that does not exist
	f.BoolVarP(&o.watching, "watch", "w", false, "go on showing it")
	f.BoolVar(&o.all, "all", false, "list all, however many there are")
	f.BoolVar(&o.byInstance, "instances", false, "list instances instead of services")
	f.BoolVar(&o.byNode, "nodes", false, "list nodes instead of services")
	cmd.MarkFlagsMutuallyExclusive("instances", "nodes")
	return cmd
}

// top shows what agents measure, or what records tell.
func (e *env) top(cmd *cobra.Command, o topOptions, service string) error {
	if o.viaAsked() {
		return e.topVia(cmd.Context(), o, service)
	}
	var cause error
	if !fromRecords(cmd) {
		client, err := e.client()
		if err != nil {
			return err
		}
		defer client.Close()
		_, err = client.Usage(cmd.Context())
		if err == nil {
			m := meter{agents: []usageSource{client}}
			return e.showTop(cmd.Context(), o, service, watchTop, m.look)
		}
		if cause = e.explainAgent(err); e.mayReadRecords(cmd, err) != nil {
			return cause
		}
	}
	return withInterrupt(cmd.Context(), func(ctx context.Context) error {
		return e.showTop(ctx, o, service, watchRecords, func(ctx context.Context) (*topReport, error) {
			b, place, err := e.readRollouts(ctx, o.recordOptions, 1)
			if err != nil {
				return nil, recordsFailed(cause, err)
			}
			defer b.store.close()
			return b.top(place), nil
		})
	})
}

// showTop shows what look finds, once or again and again.
func (e *env) showTop(ctx context.Context, o topOptions, service string, every time.Duration, look func(context.Context) (*topReport, error)) error {
	shown := func(ctx context.Context) (*view, error) {
		r, err := look(ctx)
		if err == nil {
			r, err = r.only(service)
		}
		if err != nil {
			return nil, err
		}
		r.sort(o.sort)
		return &view{value: r, draw: func(s *screen) {
			s.all = o.all
			drawTop(s, r, o.byInstance || service != "", o.byNode)
		}}, nil
	}
	if o.watching {
		return e.watch(ctx, every, o.output == "json", shown)
	}
	v, err := shown(ctx)
	if err != nil {
		return err
	}
	return e.show(v, o.output == "json")
}

// usageSource is an agent that measures what its node uses.
type usageSource interface {
	Usage(context.Context) (*api.Usage, error)
}

// meter measures what the nodes of some agents use.
type meter struct {
	agents []usageSource
	before []*api.Usage // the last look; nil = there was none
}

// look measures, the first time over a window of its own, and then since the last
// look.
func (m *meter) look(ctx context.Context) (*topReport, error) {
	if m.before == nil {
		first, err := m.read(ctx)
		if err != nil {
			return nil, err
		}
		m.before = first
		select {
		case <-time.After(topWindow):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	now, err := m.read(ctx)
	if err != nil {
		return nil, err
	}
	report := measuredTop(m.before, now)
	m.before = now
	return report, nil
}

// read asks all agents once.
func (m *meter) read(ctx context.Context) ([]*api.Usage, error) {
	out := make([]*api.Usage, len(m.agents))
	for k, agent := range m.agents {
		u, err := agent.Usage(ctx)
		if err != nil {
			return nil, err
		}
		out[k] = u
	}
	return out, nil
}

// only leaves one service; "" = all.
func (r *topReport) only(name string) (*topReport, error) {
	if name == "" {
		return r, nil
	}
	called := planner.ParseServiceID(name).String()
	at := slices.IndexFunc(r.Services, func(s topRow) bool { return s.Service == called })
	if at < 0 {
		const few = 12
		var names []string
		for _, s := range r.Services {
			names = append(names, s.Service)
		}
		text := fmt.Sprintf("nothing of a service %q runs here", name)
		switch {
		case len(names) > few:
			text += fmt.Sprintf("; \"orpheus top\" lists the %d that do", len(names))
		case len(names) > 0:
			text += "; these do: " + strings.Join(names, ", ")
		}
		return nil, errors.New(text)
	}
	one := *r
	one.Services = []topRow{r.Services[at]}
	one.Instances = slices.DeleteFunc(slices.Clone(r.Instances), func(i topRow) bool { return i.Service != called })
	return &one, nil
}
