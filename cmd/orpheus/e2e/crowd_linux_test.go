package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// TestTenStartAtOnce: ten agents that start at the same moment on a commit
// with 200 services lease every slot once, within what each node has. How many
// swaps they lose depends on what else keeps the cores busy: the median of three
// times counts.
func TestTenStartAtOnce(t *testing.T) {
	few, many := 0, 0
	for round := 1; few < 2 && many < 2; round++ {
		t.Run(fmt.Sprint("round ", round), func(t *testing.T) {
			if tenStartAtOnce(t) > 15 { // far off: nodes do not take turns
				many++
			} else {
				few++
			}
		})
		if t.Failed() {
			return
		}
	}
	if many == 2 {
		t.Error("more than 15 % of the swaps were lost, twice")
	}
}

// tenStartAtOnce returns how many swaps of a hundred were lost.
func tenStartAtOnce(t *testing.T) (share float64) {
	f := newFleet(t, devfleet.ClusterOptions{Driver: planner.DriverProcess, Nodes: 10, CPU: "3500m"})
	const asks = 100 // thousandths of a core
	files, slots := map[string]string{"fleet.yaml": defaults}, map[string]int{}
	total := 0
	for k := range 200 {
		name := fmt.Sprintf("s%d", k)
		slots[name] = 1 + k%2
		total += slots[name]
		files[fmt.Sprintf("services/%s.yaml", name)] = fmt.Sprintf("apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: %s}\n"+
			"spec:\n  replicas: %d\n  driver: process\n  command: [sleep, \"100000\"]\n  resources: {requests: {cpu: %dm}}\n", name, slots[name], asks)
	}
	f.commit("200 services", files)
	began := time.Now()
	f.must(f.StartAgents())
	var all []*api.Status
	f.await("everything runs", 4*patience, func(now []*api.Status) string {
		all = now
		for k, st := range now {
			if st == nil {
				return f.Nodes[k].Name + " does not answer"
			}
		}
		return placesOf(now).exactly(slots)
	})
	t.Logf("ten agents start at once on 200 services: their %d slots are ready after %s", total, time.Since(began).Round(100*time.Millisecond))

	leased, used := map[string]int{}, map[planner.NodeName]int{}
	for ref := range f.refs() {
		if !strings.HasPrefix(ref, prefix+"leases/") {
			continue
		}
		for _, commit := range f.log(ref) {
			clear(leased)
			for _, l := range commit.Leases {
				leased[l.Slot]++
			}
			for slot, n := range leased {
				if n != 1 {
					t.Errorf("%s: slot %s was leased %d times at once", ref, slot, n)
				}
			}
		}
		for _, l := range f.log(ref)[0].Leases {
			used[l.Node] += asks
		}
	}
	for _, n := range f.Nodes {
		if got := used[planner.NodeName(n.Name)]; got > 3500 {
			t.Errorf("%s has leases for %dm of its 3500m", n.Name, got)
		}
	}
	for node, st := range placesPerNode(all) {
		if st*asks > 3500 {
			t.Errorf("%s runs %d slots of %dm", node, st, asks)
		}
	}
	won, lost, unknown, pushes := uint64(0), uint64(0), uint64(0), uint64(0)
	for _, st := range all {
		r := st.Fleet.Requests
		won, lost, unknown, pushes = won+r.Won, lost+r.Lost, unknown+r.Unknown, pushes+r.Pushes
	}
	share = 100 * float64(lost) / float64(won+lost)
	t.Logf("%d swaps in %d pushes were won, %d lost (%.1f %%, target < 5 %%), %d without an answer; leases per node %v", won, pushes, lost, share, unknown, used)
	return share
}

// log reads all documents that ever stood in a ref, the newest first.
func (f *fleet) log(ref string) (docs []planner.LeaseDoc) {
	f.t.Helper()
	text, err := f.Repo.Git("", "log", "--format=%B%x00", ref)
	f.must(err)
	for record := range strings.SplitSeq(text, "\x00") {
		if record = strings.TrimLeft(record, "\n"); record == "" {
			continue
		}
		m, err := planner.ParseMessage(record)
		f.must(err)
		doc, err := planner.ParseLeaseDoc(m.Parts[0].Body)
		f.must(err)
		docs = append(docs, doc)
	}
	return docs
}

func placesPerNode(all []*api.Status) map[string]int {
	count := map[string]int{}
	for _, at := range placesOf(all) {
		for _, where := range at {
			count[where.node]++
		}
	}
	return count
}
