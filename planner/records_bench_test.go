package planner_test

import (
	"fmt"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

func manyLeases(n int) planner.LeaseDoc {
	doc := fullDoc()
	doc.Leases = nil
	for i := range n {
		doc.Leases = append(doc.Leases, planner.Lease{Slot: fmt.Sprint(i), Node: "web-1", Epoch: 7, Token: uint64(i + 1), Revision: planner.RevisionOf(planner.Template{})})
	}
	return doc
}

func BenchmarkLeaseDocBody(b *testing.B) {
	doc := manyLeases(256)
	for b.Loop() {
		_ = doc.Body()
	}
}

func BenchmarkParseLeaseDoc(b *testing.B) {
	body := manyLeases(256).Body()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, err := planner.ParseLeaseDoc(body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseNodeRecord(b *testing.B) {
	body := fullNode().Body()
	for b.Loop() {
		if _, err := planner.ParseNodeRecord(body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRing(b *testing.B) {
	for b.Loop() {
		planner.Ring("web-1", "salt")
	}
}
