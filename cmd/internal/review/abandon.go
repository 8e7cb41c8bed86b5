package review

import (
	"maps"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// abandons lists the data that the head gives up anew, slot by slot.
func (b *builder) abandons() {
	for _, name := range slices.Sorted(maps.Keys(b.in.After.Nodes)) {
		node := b.in.After.Nodes[name]
		if !node.Abandoned || b.in.Before.Nodes[name].Abandoned {
			continue
		}
		find := func(service, what string) {
			b.out.Findings = append(b.out.Findings, Finding{Service: service, What: what, File: node.File, Line: node.Line})
		}
		if b.in.View == nil {
			find("node "+string(name), "is given up with all that local volumes have there")
			continue
		}
		if b.in.View.Nodes[name].Live() {
			find("node "+string(name), "is given up and is live: it keeps what it has, until it is lost")
		}
		for _, slot := range b.dataOn(name) {
			s := b.in.After.Services[slot.Service]
			find(slot.Service.String(), "gives up what "+slot.String()+" has on "+string(name)+" in "+localVolumes(s)+", and begins anew on another node")
		}
	}
}

// dataOn lists the slots of which a node that is not live has the data.
func (b *builder) dataOn(name planner.NodeName) []planner.SlotID {
	n := b.in.View.Nodes[name]
	if n.Live() {
		return nil
	}
	var slots []planner.SlotID
	for _, id := range slices.SortedFunc(maps.Keys(b.in.After.Services), planner.ServiceID.Compare) {
		if !b.in.After.Services[id].HasVolumes() {
			continue
		}
		at := map[string]planner.NodeName{}
		for _, l := range b.in.View.Docs[id].Doc.Leases {
			at[l.Slot] = l.Node // the newest is last
		}
		for slot, node := range at {
			if node == name {
				slots = append(slots, planner.SlotID{Service: id, Name: slot})
			}
		}
		for _, slot := range n.Record.Volumes {
			if _, leased := at[slot.Name]; slot.Service == id && !leased {
				slots = append(slots, slot)
			}
		}
	}
	slices.SortFunc(slots, planner.SlotID.Compare)
	return slots
}

// localVolumes names those of a service that keep data on a node.
func localVolumes(s planner.Service) string {
	var names []string
	for _, v := range s.Template.Volumes {
		if v.Local != nil {
			names = append(names, v.Name)
		}
	}
	if len(names) == 1 {
		return "volume " + names[0]
	}
	return "volumes " + strings.Join(names, ", ")
}
