package fleettest

import (
	"maps"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// otherVersion is a planner of another version: it ranks coordinators and
// breaks ties in an order of its own, because to it every node has another
// name. Both versions are right, and must not fight.
func otherVersion(f planner.Followed, v planner.View, now planner.Time) planner.Decisions {
	d := planner.Coordinate(renameFollowed(f, there), renameView(v, f, there), now)
	for k := range d.Docs {
		id := d.Docs[k].Doc.Service
		d.Docs[k].Doc = renameDoc(d.Docs[k].Doc, f.Services[id].EveryNode, back)
		d.Docs[k].Why = strings.ReplaceAll(d.Docs[k].Why, otherPrefix, "")
		d.Docs[k].Old = renameDoc(d.Docs[k].Old, f.Services[id].EveryNode, back)
	}
	return d
}

type renaming func(planner.NodeName) planner.NodeName

const otherPrefix = "zz-"

func there(n planner.NodeName) planner.NodeName {
	if n == "" {
		return ""
	}
	return otherPrefix + n
}

func back(n planner.NodeName) planner.NodeName {
	if len(n) > len(otherPrefix) && n[:len(otherPrefix)] == otherPrefix {
		return n[len(otherPrefix):]
	}
	return n
}

func renameDoc(d planner.LeaseDoc, everyNode bool, to renaming) planner.LeaseDoc {
	d.Leases = slices.Clone(d.Leases)
	d.By = to(d.By)
	for k := range d.Leases {
		d.Leases[k].Node = to(d.Leases[k].Node)
		if everyNode && d.Leases[k].Hook == "" {
			d.Leases[k].Slot = string(to(planner.NodeName(d.Leases[k].Slot)))
		}
	}
	d.Failed = slices.Clone(d.Failed)
	for k := range d.Failed {
		d.Failed[k].Node = to(d.Failed[k].Node)
	}
	return d
}

func renameFollowed(f planner.Followed, to renaming) planner.Followed {
	nodes := map[planner.NodeName]planner.NodeSpec{}
	for name, spec := range f.Nodes {
		spec.Name = to(spec.Name)
		nodes[to(name)] = spec
	}
	f.Nodes = nodes
	f.Fleet.Nodes = slices.Clone(f.Fleet.Nodes)
	for k := range f.Fleet.Nodes {
		f.Fleet.Nodes[k] = to(f.Fleet.Nodes[k])
	}
	return f
}

func renameView(v planner.View, f planner.Followed, to renaming) planner.View {
	slot := func(s planner.SlotID) planner.SlotID {
		if f.Services[s.Service].EveryNode && !slices.Contains(planner.HookKinds, planner.HookKind(s.Name)) {
			s.Name = string(to(planner.NodeName(s.Name)))
		}
		return s
	}
	v.Self = to(v.Self)
	nodes := map[planner.NodeName]planner.NodeView{}
	for name, n := range v.Nodes {
		n.Record.Node, n.Status.Node = to(n.Record.Node), to(n.Status.Node)
		n.Record.Volumes = slices.Clone(n.Record.Volumes)
		for k := range n.Record.Volumes {
			n.Record.Volumes[k] = slot(n.Record.Volumes[k])
		}
		n.Status.Instances = slices.Clone(n.Status.Instances)
		for k := range n.Status.Instances {
			n.Status.Instances[k].Slot = slot(n.Status.Instances[k].Slot)
		}
		n.SuspectedBy = slices.Clone(n.SuspectedBy)
		for k := range n.SuspectedBy {
			n.SuspectedBy[k] = to(n.SuspectedBy[k])
		}
		nodes[to(name)] = n
	}
	v.Nodes = nodes
	v.Docs = maps.Clone(v.Docs)
	for id, dv := range v.Docs {
		dv.Doc = renameDoc(dv.Doc, f.Services[id].EveryNode, to)
		v.Docs[id] = dv
	}
	return v
}
