package planner

import (
	"maps"
	"slices"
	"testing"
)

// TestTakeOn: a node of two CPUs, services whose instances ask for 600m each.
func TestTakeOn(t *testing.T) {
	const node = NodeName("n1")
	web, db := ServiceID{Name: "web"}, ServiceID{Name: "db"}
	lease := func(slot string, token uint64, rev Revision) Lease {
		return Lease{Slot: slot, Node: node, Token: token, Revision: rev}
	}
	running := func(id ServiceID, slot string, rev Revision) Instance {
		return Instance{ID: id.Name + slot + string(rev), Slot: SlotID{id, slot}, Revision: rev, State: StateRunning}
	}
	down := func(id ServiceID, slot string, rev Revision) Instance {
		i := running(id, slot, rev)
		i.State = StateExited
		return i
	}
	key := func(id ServiceID, rev Revision) RevisionKey { return RevisionKey{id, rev} }
	tests := []struct {
		name    string
		leases  map[ServiceID][]Lease
		have    []Instance
		busy    []Instance
		keep    map[ServiceID][]Lease
		unsure  map[ServiceID]string
		policy  string
		before  map[RevisionKey]string
		take    []uint64 // tokens of what is taken on
		behind  []uint64
		refused map[RevisionKey]string
	}{
		{
			name:   "leases that come together do not take the same room",
			leases: map[ServiceID][]Lease{web: {lease("0", 1, "r2"), lease("1", 2, "r2"), lease("2", 3, "r2"), lease("3", 4, "r2")}},
			take:   []uint64{1, 2, 3}, refused: map[RevisionKey]string{key(web, "r2"): "200m of CPU free, 600m asked"},
		},
		{
			name:   "what begins counts as what runs",
			leases: map[ServiceID][]Lease{web: {lease("0", 1, "r2"), lease("1", 2, "r2"), lease("2", 3, "r2")}, db: {lease("0", 11, "r2")}},
			busy:   []Instance{running(web, "0", "r2"), running(web, "1", "r2"), running(web, "2", "r2")},
			take:   []uint64{1, 2, 3}, refused: map[RevisionKey]string{key(db, "r2"): "200m of CPU free, 600m asked"},
		},
		{
			name:   "what runs stays, also where the node was made smaller",
			leases: map[ServiceID][]Lease{web: {lease("0", 1, "r2"), lease("1", 2, "r2"), lease("2", 3, "r2"), lease("3", 4, "r2")}},
			have:   []Instance{running(web, "0", "r2"), running(web, "1", "r2"), running(web, "2", "r2"), running(web, "3", "r2")},
			take:   []uint64{1, 2, 3, 4},
		},
		{
			name:   "what crashed comes before what is new",
			leases: map[ServiceID][]Lease{db: {lease("0", 11, "r2"), lease("1", 12, "r2")}, web: {lease("0", 1, "r2"), lease("1", 2, "r2")}},
			have:   []Instance{down(web, "0", "r2"), down(web, "1", "r2")},
			take:   []uint64{11, 1, 2}, refused: map[RevisionKey]string{key(db, "r2"): "200m of CPU free, 600m asked"},
		},
		{
			name:   "a standing refusal keeps what is new away, not what crashed",
			leases: map[ServiceID][]Lease{web: {lease("0", 1, "r2"), lease("1", 2, "r2"), lease("2", 3, "r2"), lease("3", 4, "r2")}},
			have:   []Instance{running(web, "0", "r2"), running(web, "1", "r2"), down(web, "2", "r2")},
			before: map[RevisionKey]string{key(web, "r2"): "200m of CPU free, 600m asked"},
			take:   []uint64{1, 2, 3}, refused: map[RevisionKey]string{key(web, "r2"): "200m of CPU free, 600m asked"},
		},
		{
			name:   "a refusal is gone with its reason, and that of another revision with the revision",
			leases: map[ServiceID][]Lease{web: {lease("0", 1, "r2")}},
			before: map[RevisionKey]string{key(web, "r2"): "no room", key(web, "r0"): "no room"},
			take:   []uint64{1},
		},
		{
			name:   "instances of a slot replace each other",
			leases: map[ServiceID][]Lease{web: {lease("0", 1, "r1"), lease("0", 4, "r2"), lease("1", 2, "r2"), lease("2", 3, "r2")}},
			have:   []Instance{running(web, "0", "r1"), running(web, "1", "r2"), running(web, "2", "r2")},
			take:   []uint64{1, 2, 3, 4},
		},
		{
			name:   "what is about to end is waited for",
			leases: map[ServiceID][]Lease{web: {lease("0", 1, "r2")}},
			have:   []Instance{running(db, "0", "r2"), running(db, "1", "r2"), running(db, "2", "r2")},
			take:   []uint64{1}, behind: []uint64{1},
		},
		{
			name:   "unless it takes the room of the same slot",
			leases: map[ServiceID][]Lease{db: {lease("0", 11, "r2")}},
			have:   []Instance{running(db, "0", "r1"), running(web, "1", "r2"), running(web, "2", "r2")},
			take:   []uint64{11},
		},
		{
			name:   "what is kept under a void lease may stay for long",
			leases: map[ServiceID][]Lease{web: {lease("0", 1, "r2")}},
			have:   []Instance{running(db, "0", "r2"), running(db, "1", "r2"), running(db, "2", "r2")},
			keep:   map[ServiceID][]Lease{db: {lease("0", 11, "r2"), lease("1", 12, "r2"), lease("2", 13, "r2")}},
			take:   nil, refused: map[RevisionKey]string{key(web, "r2"): "200m of CPU free, 600m asked"},
		},
		{
			name:   "so does what nothing is known of",
			leases: map[ServiceID][]Lease{web: {lease("0", 1, "r2")}},
			have:   []Instance{running(db, "0", "r2"), running(db, "1", "r2"), running(db, "2", "r2")},
			unsure: map[ServiceID]string{db: "unread"},
			take:   nil, refused: map[RevisionKey]string{key(web, "r2"): "200m of CPU free, 600m asked"},
		},
		{
			name:   "a revision that is not followed any more finds no more room than others",
			leases: map[ServiceID][]Lease{web: {lease("0", 1, "r1"), lease("1", 2, "r1"), lease("2", 3, "r1"), lease("3", 4, "r1")}},
			take:   []uint64{1, 2, 3}, refused: map[RevisionKey]string{key(web, "r1"): "200m of CPU free, 600m asked"},
		},
		{
			name:   "of a revision that nobody knows nothing can be said",
			leases: map[ServiceID][]Lease{web: {lease("0", 1, "r9"), lease("1", 2, "r9"), lease("2", 3, "r9"), lease("3", 4, "r9")}},
			take:   []uint64{1, 2, 3, 4},
		},
		{
			name:   "what policy forbids runs out, and does not come back",
			leases: map[ServiceID][]Lease{web: {lease("0", 1, "r2"), lease("1", 2, "r2"), lease("2", 3, "r2")}},
			have:   []Instance{running(web, "0", "r2"), down(web, "1", "r2")},
			policy: "not here",
			take:   []uint64{1}, refused: map[RevisionKey]string{key(web, "r2"): "not here"},
		},
		{
			name:   "leases of others are left as they are",
			leases: map[ServiceID][]Lease{web: {{Slot: "0", Node: "n2", Token: 9, Revision: "r2"}, lease("1", 1, "r2")}},
			take:   []uint64{1, 9},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			spec := Template{Containers: []Container{{Resources: Resources{Requests: ResourceList{CPUMillis: 600}}}}}
			st := NodeState{
				Node: node, Docs: map[ServiceID]LeaseDoc{}, Have: tt.have, Busy: map[string]Instance{}, Keep: tt.keep, Unsure: tt.unsure,
				Specs: map[Revision]Template{"r1": spec, "r2": spec},
				Followed: Followed{Services: map[ServiceID]Service{
					web: {ID: web, Revision: "r2", Template: spec}, db: {ID: db, Revision: "r2", Template: spec},
				}},
			}
			for id, leases := range tt.leases {
				st.Docs[id] = LeaseDoc{Service: id, Leases: leases}
			}
			for _, i := range tt.busy {
				st.Busy[i.ID] = i
			}
			got := TakeOn(st, ResourceList{CPUMillis: 2000}, func(Service) string { return tt.policy }, tt.before)
			var take, behind []uint64
			for id, doc := range got.Docs {
				for _, l := range doc.Leases {
					take = append(take, l.Token)
				}
				if len(st.Docs[id].Leases) != len(tt.leases[id]) {
					t.Errorf("the document given was changed: %v", st.Docs[id])
				}
			}
			for key := range got.Behind {
				behind = append(behind, key.Token)
			}
			slices.Sort(take)
			slices.Sort(tt.take)
			if !slices.Equal(take, tt.take) || !slices.Equal(behind, tt.behind) || !maps.Equal(got.Refused, tt.refused) && len(got.Refused)+len(tt.refused) > 0 {
				t.Errorf("takes on %v behind %v, refuses %v\nwant %v behind %v, refuses %v", take, behind, got.Refused, tt.take, tt.behind, tt.refused)
			}
		})
	}
}
