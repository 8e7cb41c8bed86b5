package planner

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// Rank orders nodes for a purpose by rendezvous hash: every node that knows
// the same names comes to the same order, and a name that goes moves only what
// it was first for.
func Rank(purpose string, nodes []NodeName) []NodeName {
	type scored struct {
		node  NodeName
		score uint64
	}
	all := make([]scored, len(nodes))
	for i, n := range nodes {
		sum := sha256.Sum256([]byte(purpose + "\x00" + string(n)))
		all[i] = scored{n, binary.BigEndian.Uint64(sum[:])}
	}
	slices.SortFunc(all, func(a, b scored) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.node, b.node))
	})
	out := make([]NodeName, len(all))
	for i, s := range all {
		out[i] = s.node
	}
	return out
}

// Coordinators ranks the live nodes for a service: the first is its
// coordinator, the others stand in for it when its document is invalid.
func (v View) Coordinators(id ServiceID) []NodeName {
	purpose := "coordinate " + id.Namespace + "/" + id.Name
	live := v.live()
	if v.Few == 0 || len(live) <= v.Few {
		return Rank(purpose, live)
	}
	few := Rank("coordinate", live)
	return append(Rank(purpose, few[:v.Few]), Rank(purpose, few[v.Few:])...)
}

// Observers lists the nodes whose task it is to probe a node: the three live
// ones that rank first for it.
func (v View) Observers(node NodeName) []NodeName {
	others := slices.DeleteFunc(v.live(), func(n NodeName) bool { return n == node })
	ranked := Rank("observe "+string(node), others)
	return ranked[:min(3, len(ranked))]
}
