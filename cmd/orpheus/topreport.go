package main

import (
	"cmp"
	"maps"
	"slices"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// topReport is what `orpheus top` prints.
type topReport struct {
	// Measured tells whether agents measured what is used; else it is what records
	// and manifests say.
	Measured bool `json:"measured"`
	// Records is where the records are that tell.
	Records   string   `json:"records,omitempty"`
	Nodes     []topRow `json:"nodes"`
	Services  []topRow `json:"services"`
	Instances []topRow `json:"instances"`
	// NotReached are nodes whose agents told nothing: of these it is what records say.
	NotReached []unreachedNode `json:"notReached,omitempty"`
}

// topRow is what a node, a service or an instance uses.
type topRow struct {
	Node     planner.NodeName `json:"node,omitempty"`     // of a node and an instance
	Service  string           `json:"service,omitempty"`  // of a service and an instance
	Instance string           `json:"instance,omitempty"` // its slot, as people call it
	Slots    int              `json:"slots"`              // how many instances it is the sum of
	// CPU is in thousandths of a core, Memory in bytes; nil = nobody measured it, or
	// not all that it is the sum of.
	CPU      *int64 `json:"cpu,omitempty"`
	Memory   *int64 `json:"memory,omitempty"`
	PIDs     *int64 `json:"pids,omitempty"`
	Restarts int    `json:"restarts"`
	// Asked and Limits are sums; what one of the instances does not have a limit of
	// has none. Capacity is what a node offers, 0 = not known.
	Asked    planner.ResourceList `json:"asked,omitzero"`
	Limits   planner.ResourceList `json:"limits,omitzero"`
	Capacity planner.ResourceList `json:"capacity,omitzero"`
	// MachineMemory and MachineTotal are of the whole machine that a node is.
	MachineMemory int64 `json:"machineMemory,omitempty"`
	MachineTotal  int64 `json:"machineMemoryTotal,omitempty"`
	// Note is what there is to know besides.
	Note string `json:"note,omitempty"`
}

// topKeys are what can come first; the first is the default.
var topKeys = []string{"cpu", "memory", "pids", "restarts", "name"}

// measuredTop is what agents measured, between two answers of each.
func measuredTop(before, now []*api.Usage) *topReport {
	out := &topReport{Measured: true, Nodes: []topRow{}, Instances: []topRow{}}
	for k, u := range now {
		node := topRow{Node: u.Node, Capacity: u.Capacity, MachineMemory: int64(u.MemoryUsed), MachineTotal: int64(u.MemoryTotal)}
		if node.Capacity.CPUMillis == 0 {
			node.Capacity.CPUMillis = int64(u.Cores) * 1000
		}
		if node.Capacity.MemoryBytes == 0 {
			node.Capacity.MemoryBytes = node.MachineTotal
		}
		var rows []topRow
		for i := range u.Instances {
			rows = append(rows, measuredRow(before[k], u, i))
		}
		out.Nodes = append(out.Nodes, node.node(rows))
		out.Instances = append(out.Instances, rows...)
	}
	out.Services = byService(out.Instances)
	return out
}

// measuredRow is one instance.
func measuredRow(before, u *api.Usage, k int) topRow {
	i := u.Instances[k]
	row := topRow{
		Node: u.Node, Service: i.SlotID().Service.String(), Instance: i.SlotID().String(), Slots: 1,
		Restarts: i.Restarts, Asked: i.Asked, Limits: i.Limits, Note: i.Error,
	}
	if i.Error == "" {
		row.Memory, row.PIDs = &i.MemoryBytes, &i.PIDs
	}
	if millis, known := u.Millicores(before, k); known {
		row.CPU = &millis
	}
	return row
}

// sum is a row with what the rows of its instances use together.
func (r topRow) sum(rows []topRow) topRow {
	for k, row := range rows {
		if r.Note == "" && row.Note != "" {
			r.Note = row.Instance + ": " + row.Note
		}
		r.Slots += row.Slots
		r.Restarts += row.Restarts
		r.Asked.CPUMillis += row.Asked.CPUMillis
		r.Asked.MemoryBytes += row.Asked.MemoryBytes
		if k == 0 {
			r.CPU, r.Memory, r.PIDs, r.Limits = row.CPU, row.Memory, row.PIDs, row.Limits
			continue
		}
		r.CPU, r.Memory, r.PIDs = both(r.CPU, row.CPU), both(r.Memory, row.Memory), both(r.PIDs, row.PIDs)
		r.Limits = planner.ResourceList{
			CPUMillis:   bounded(r.Limits.CPUMillis, row.Limits.CPUMillis),
			MemoryBytes: bounded(r.Limits.MemoryBytes, row.Limits.MemoryBytes),
			PIDs:        bounded(r.Limits.PIDs, row.Limits.PIDs),
		}
	}
	return r
}

// node is a row of a node, whose instances say themselves what there is to say.
func (r topRow) node(rows []topRow) topRow {
	r = r.sum(rows)
	r.Note, r.Limits = "", planner.ResourceList{}
	return r
}

// both adds what is known of both.
func both(a, b *int64) *int64 {
	if a == nil || b == nil {
		return nil
	}
	sum := *a + *b
	return &sum
}

// bounded adds limits; without one of them there is none.
func bounded(a, b int64) int64 {
	if a == 0 || b == 0 {
		return 0
	}
	return a + b
}

// byService adds up instances by their services.
func byService(instances []topRow) []topRow {
	of := map[string][]topRow{}
	for _, i := range instances {
		of[i.Service] = append(of[i.Service], i)
	}
	out := []topRow{}
	for _, service := range slices.Sorted(maps.Keys(of)) {
		out = append(out, topRow{Service: service}.sum(of[service]))
	}
	return out
}

// sort puts first what there is most of, by one of topKeys. Where it is not
// measured, what is asked for counts.
func (r *topReport) sort(key string) {
	amount := func(row topRow) int64 {
		switch key {
		case "cpu":
			return known(row.CPU, row.Asked.CPUMillis)
		case "memory":
			return known(row.Memory, row.Asked.MemoryBytes)
		case "pids":
			return known(row.PIDs, 0)
		case "restarts":
			return int64(row.Restarts)
		}
		return 0
	}
	for _, rows := range [][]topRow{r.Nodes, r.Services, r.Instances} {
		slices.SortStableFunc(rows, func(a, b topRow) int {
			return cmp.Or(cmp.Compare(amount(b), amount(a)), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Instance, b.Instance), cmp.Compare(a.Node, b.Node))
		})
	}
}

func known(n *int64, otherwise int64) int64 {
	if n == nil {
		return otherwise
	}
	return *n
}

// top is what the records tell: what is asked of each node by the leases that are
// in force, and what their nodes report.
func (b *recordBook) top(place recordPlace) *topReport {
	out := &topReport{Records: place.String(), Nodes: []topRow{}, Instances: []topRow{}}
	type covered struct {
		node  planner.NodeName
		slot  planner.SlotID
		token uint64
	}
	reported := map[covered]planner.InstanceStatus{}
	for name, n := range b.view.Nodes {
		if n.Current() {
			for _, i := range n.Status.Instances {
				reported[covered{name, i.Slot, i.Token}] = i
			}
		}
	}
	on := map[planner.NodeName][]topRow{}
	for _, id := range slices.SortedFunc(maps.Keys(b.view.Docs), planner.ServiceID.Compare) {
		s, described := place.desired.Services[id]
		for _, l := range b.view.Docs[id].Doc.Leases {
			if !b.view.InForce(l) {
				continue
			}
			slot := planner.SlotID{Service: id, Name: l.Slot}
			row := topRow{Node: l.Node, Service: id.String(), Instance: slot.String(), Slots: 1, Restarts: reported[covered{l.Node, slot, l.Token}].Restarts}
			switch {
			case described && l.Revision == s.Revision:
				row.Asked, row.Limits = s.Template.Asked(), s.Template.Limits()
			case described:
				row.Note = "has " + l.Revision.Short() + ", not what the manifest here asks for"
			default:
				row.Note = "there is no manifest of it here"
			}
			on[l.Node] = append(on[l.Node], row)
			out.Instances = append(out.Instances, row)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.view.Nodes)) {
		if n := b.view.Nodes[name]; n.Live() || len(on[name]) > 0 {
			out.Nodes = append(out.Nodes, topRow{Node: name, Capacity: n.Record.Capacity}.node(on[name]))
		}
	}
	out.Services = byService(out.Instances)
	return out
}
