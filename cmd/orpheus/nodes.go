package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/planner"
)

func newNodesCommand(e *env) *cobra.Command {
	var o nodesOptions
	cmd := &cobra.Command{
		Use:   "nodes [NODE]",
		Short: "Show the nodes of the fleet, from its records",
		Long: `Show the nodes of the fleet as their records say, or all that one of them says of
itself. No agent is asked: access to the repository is enough.

A node is live until another fences it, which a dead one is some seconds after
its death. Of many nodes those are listed that are not well, and the rest is
counted; --all lists all. SLOTS are the leases it holds, and how many of them it reports ready.
Drained and cordoned are those that the manifests say are.
` + recordsHelp,
		Example: `  orpheus nodes
  orpheus nodes node-2
  orpheus nodes --repository https://git.example.com/team/fleet.git -o json`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: e.completeNodes(&o.recordOptions),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(e, cmd); err != nil {
				return usageError(err)
			}
			var name planner.NodeName
			if len(args) > 0 {
				var err error
				if name, err = parseNodeName(args[0]); err != nil {
					return usageError(err)
				}
			}
			return withInterrupt(cmd.Context(), func(ctx context.Context) error { return e.showNodes(ctx, name, o) })
		},
	}
	o.addFlags(e, cmd)
	cmd.Flags().BoolVar(&o.all, "all", false, "list also what is well, however much it is")
	return cmd
}

// nodesOptions are the flags of nodes.
type nodesOptions struct {
	recordOptions
	all bool
}

// nodesReport is what `orpheus nodes` prints.
type nodesReport struct {
	Records string       `json:"records"`
	Nodes   []nodeReport `json:"nodes"`
	// NotVerified lists the records that are not used, whatever they say.
	NotVerified []badRecord `json:"notVerified,omitempty"`
}

type badRecord struct {
	Record planner.Ref `json:"record"`
	Reason string      `json:"reason"`
}

// The states of a node.
const (
	nodeLive        = "live"
	nodeFenced      = "fenced"
	nodeRetired     = "retired"
	nodeNotVerified = "not verified"
)

// nodeReport is one node. What is not verified is left out.
type nodeReport struct {
	Name      planner.NodeName        `json:"name"`
	State     string                  `json:"state"`
	By        planner.NodeName        `json:"fencedBy,omitempty"`
	Reason    string                  `json:"reason,omitempty"` // of the fence, or why nothing is verified
	Drain     bool                    `json:"drain,omitempty"`
	Cordon    bool                    `json:"cordon,omitempty"`
	Abandoned bool                    `json:"abandoned,omitempty"`
	Epoch     uint64                  `json:"epoch,omitempty"`
	Leases    int                     `json:"leases"`
	Ready     int                     `json:"ready"`
	Applied   string                  `json:"applied,omitempty"`
	Rejected  *planner.RejectedCommit `json:"rejected,omitempty"`
	Version   string                  `json:"version,omitempty"`
	Address   string                  `json:"address,omitempty"`
	OS        string                  `json:"os,omitempty"`
	Arch      string                  `json:"arch,omitempty"`
	Capacity  planner.ResourceList    `json:"capacity,omitzero"`
	Labels    map[string]string       `json:"labels,omitempty"`
	Taints    []planner.Taint         `json:"taints,omitempty"`
	Drivers   []string                `json:"drivers,omitempty"`
	Volumes   []planner.SlotID        `json:"volumes,omitempty"`
	Pressure  []string                `json:"pressure,omitempty"`
	Failing   string                  `json:"failing,omitempty"` // whatever is started on it fails
	// Instances are of the status, of which StatusProblem says why it does not
	// count.
	Instances     []planner.InstanceStatus `json:"instances,omitempty"`
	Refusals      []planner.Refusal        `json:"refusals,omitempty"`
	StatusProblem string                   `json:"statusProblem,omitempty"`
	// When record and status were written, by the node's calendar.
	Written       time.Time `json:"written,omitzero"`
	StatusWritten time.Time `json:"statusWritten,omitzero"`
}

func (e *env) showNodes(ctx context.Context, name planner.NodeName, o nodesOptions) error {
	want := wantedRecords{rooms: []string{"nodes/*", "status/*", "leases/*"}, depth: 1}
	store, place, err := e.readRecords(ctx, o.recordOptions, want)
	if err != nil {
		return err
	}
	defer store.close()
	b, err := readBook(store, place.specs)
	if err == nil {
		err = b.readLeases()
	}
	if err != nil {
		return err
	}
	report := b.nodes(place.String())
	if name != "" {
		if report, err = report.only(name); err != nil {
			return err
		}
	}
	if o.output == "json" {
		return writeJSON(e.stdout, report, false)
	}
	s := e.newScreen()
	s.all = o.all
	if name != "" {
		drawNodeRecord(s, report.Nodes[0], e.now())
	} else {
		drawNodes(s, report)
	}
	return s.writeTo(e.stdout)
}

// nodes makes the report of all nodes, by name.
func (b *recordBook) nodes(where string) nodesReport {
	out := nodesReport{Records: where, Nodes: []nodeReport{}}
	leases, ready := b.slots()
	for _, ref := range b.refs(planner.RefNode) {
		name := ref.Parse().Node
		n := b.node(name)
		n.Leases, n.Ready = leases[name], ready[name]
		out.Nodes = append(out.Nodes, n)
	}
	for ref, why := range b.bad {
		if kind := ref.Parse().Kind; kind == planner.RefLeases {
			out.NotVerified = append(out.NotVerified, badRecord{ref, why})
		}
	}
	slices.SortFunc(out.NotVerified, func(a, b badRecord) int { return cmp.Compare(a.Record, b.Record) })
	return out
}

// slots counts the leases that are in force by node, and those reported ready.
func (b *recordBook) slots() (leases, ready map[planner.NodeName]int) {
	leases, ready = map[planner.NodeName]int{}, map[planner.NodeName]int{}
	type covered struct {
		slot  planner.SlotID
		token uint64
	}
	fit := map[covered]planner.NodeName{}
	for name, n := range b.view.Nodes {
		if !n.Current() {
			continue
		}
		for _, i := range n.Status.Instances {
			if i.Phase == planner.PhaseReady {
				fit[covered{i.Slot, i.Token}] = name
			}
		}
	}
	for id, view := range b.view.Docs {
		for _, l := range view.Doc.Leases {
			if !b.view.InForce(l) {
				continue
			}
			leases[l.Node]++
			if fit[covered{planner.SlotID{Service: id, Name: l.Slot}, l.Token}] == l.Node {
				ready[l.Node]++
			}
		}
	}
	return leases, ready
}

// node reports one node that has a record.
func (b *recordBook) node(name planner.NodeName) nodeReport {
	ref, statusRef := planner.NodeRef(name), planner.StatusRef(name)
	spec := b.specs[name]
	out := nodeReport{Name: name, Drain: spec.Drain, Cordon: spec.Unschedulable, Abandoned: spec.Abandoned, State: nodeNotVerified, Reason: b.bad[ref]}
	n, ok := b.view.Nodes[name]
	if !ok {
		return out
	}
	r, st := n.Record, n.Status
	out.State, out.Reason = nodeLive, ""
	switch {
	case r.Retired:
		out.State = nodeRetired
	case r.Fence != nil:
		out.State, out.By, out.Reason = nodeFenced, r.Fence.By, r.Fence.Reason
	}
	out.Epoch, out.Version, out.Address, out.OS, out.Arch = r.Epoch, r.Version, r.Address, r.OS, r.Arch
	out.Capacity, out.Labels, out.Taints, out.Drivers, out.Volumes = r.Capacity, r.Labels, r.Taints, r.Drivers, r.Volumes
	out.Written = b.at[ref]
	if why, bad := b.bad[statusRef]; bad {
		out.StatusProblem = "its status is not verified: " + why
		return out
	}
	out.Applied, out.Rejected, out.Instances, out.Refusals, out.Pressure, out.Failing = st.Applied, st.Rejected, st.Instances, st.Refusals, st.Pressure, st.Failing
	out.StatusWritten = b.at[statusRef]
	if !n.Current() {
		out.StatusProblem = "its status is that of an agent process before this one"
		if st.Incarnation == "" {
			out.StatusProblem = "it has written no status yet"
		}
	}
	return out
}

// only keeps one node.
func (r nodesReport) only(name planner.NodeName) (nodesReport, error) {
	for _, n := range r.Nodes {
		if n.Name == name {
			r.Nodes = []nodeReport{n}
			return r, nil
		}
	}
	const few = 12
	var names []string
	for _, n := range r.Nodes {
		names = append(names, string(n.Name))
	}
	return r, fmt.Errorf("node %s has no record among the %s; %s", name, r.Records, someNames(names, few))
}

// someNames is a list of nodes for a sentence.
func someNames(names []string, few int) string {
	switch n := len(names); {
	case n == 0:
		return "nor has any other"
	case n > few:
		return fmt.Sprintf("\"orpheus nodes\" lists those %d that have one", n)
	}
	text := "these have one:"
	for _, name := range names {
		text += " " + name
	}
	return text
}
