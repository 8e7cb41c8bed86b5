package planner

import (
	"fmt"
	"testing"
)

// TestFailedFitsARecord: a release that is bad on every node of a large fleet
// leaves a document that can still be written.
func TestFailedFitsARecord(t *testing.T) {
	rev := RevisionOf(plainA)
	d := LeaseDoc{Format: FormatLeases, Service: web, By: "n1", Tokens: 1 << 20}
	for slot := range ShardSlots {
		name := fmt.Sprint(slot)
		for k := range uint64(2) {
			d.Leases = append(d.Leases, Lease{Slot: name, Node: "node-1", Epoch: 1, Token: uint64(slot)*2 + k + 1, Revision: rev})
		}
		for node := range 40 {
			d.Failed = append(d.Failed, FailedOn{Slot: name, Node: NodeName(fmt.Sprintf("node-%d", node)), Revision: rev})
		}
	}
	tidy(&d, rev, &fleetFacts{v: &View{}})
	if size := len(d.Body()); size > maxBody {
		t.Errorf("with %d nodes on which slots failed it has %d bytes, %d are the most", len(d.Failed), size, maxBody)
	}
}
