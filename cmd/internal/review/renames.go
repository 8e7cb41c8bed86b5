package review

import (
	"maps"
	"slices"

	"github.com/orpheus-cd/orpheus/planner"
)

// findRenames remarks on services that go while others come that are the same but for
// their name: to the fleet that is one that ends and one that begins.
func (b *builder) findRenames() {
	b.renames = map[planner.ServiceID][]string{}
	var came []planner.ServiceID
	for _, id := range slices.SortedFunc(maps.Keys(b.in.After.Services), planner.ServiceID.Compare) {
		if _, was := b.in.Before.Services[id]; !was {
			came = append(came, id)
		}
	}
	if len(came) == 0 {
		return
	}
	for _, id := range slices.SortedFunc(maps.Keys(b.in.Before.Services), planner.ServiceID.Compare) {
		_, stays := b.in.After.Services[id]
		if _, waits := b.in.After.Pending[id]; stays && !waits {
			continue
		}
		before := b.in.Before.Services[id]
		i := slices.IndexFunc(came, func(other planner.ServiceID) bool { return sameButName(before, b.in.After.Services[other]) })
		if i < 0 {
			continue
		}
		to := came[i]
		came = slices.Delete(came, i, i+1)
		data := ""
		if before.HasVolumes() {
			data = ", the data in its volumes"
		}
		b.renames[id] = append(b.renames[id], "looks renamed to "+to.String()+", which begins anew: addresses, names, lease history"+data+" do not follow")
		b.renames[to] = append(b.renames[to], "looks like "+id.String()+" under another name. It begins anew: addresses, names, lease history"+data+" do not follow")
	}
}

// sameButName reports whether two services differ in nothing but their names.
func sameButName(a, b planner.Service) bool {
	if a.Revision != b.Revision {
		return false
	}
	a.ID, a.Hooks, b.Hooks = b.ID, nil, nil
	return a.Fingerprint() == b.Fingerprint()
}

// slotCount is how many slots a service is to have; 0 = nobody knows.
func (b *builder) slotCount(s planner.Service) int {
	if !s.EveryNode {
		return max(1, s.Replicas)
	}
	if f := b.fates[s.ID]; f != nil {
		return len(f.after)
	}
	return 0
}
