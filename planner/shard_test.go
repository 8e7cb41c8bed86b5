package planner_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/orpheus-cd/orpheus/planner"
)

func TestShards(t *testing.T) {
	doc := fullDoc()
	doc.Leases = nil
	for token, slot := range []string{"0", "255", "256", "16383", "16384", "007", "web-3"} {
		doc.Leases = append(doc.Leases, planner.Lease{Slot: slot, Node: "a", Epoch: 1, Token: uint64(token + 1), Revision: "r"})
	}
	shards := doc.Shards()
	got := map[int][]string{}
	for k, shard := range shards {
		for _, l := range shard.Leases {
			got[k] = append(got[k], l.Slot)
		}
		if shard.Service != doc.Service || shard.Commit != doc.Commit || shard.Generation != doc.Generation || shard.By != doc.By || shard.Tokens != doc.Tokens || shard.Format != doc.Format {
			t.Errorf("shard %d does not say what it is of: %+v", k, shard)
		}
		if k != 0 && (shard.Images != nil || shard.History != nil || shard.Blocked != nil || shard.LastGood != "" || shard.Unknown != "") {
			t.Errorf("shard %d has what belongs to the whole: %+v", k, shard)
		}
	}
	want := map[int][]string{
		// 16384 is beyond the last shard, 007 no number of a slot.
		0:  {"0", "007", "255", "16384", "web-3"},
		1:  {"256"},
		63: {"16383"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("slots %v, want %v", got, want)
	}
	if empty := (planner.LeaseDoc{Tokens: 3}).Shards(); len(empty) != 1 || empty[0].Tokens != 3 {
		t.Errorf("a document without leases has shards %+v", empty)
	}
}

// A write of several shards may come through in part.
func TestJoinShardsOfDifferentTimes(t *testing.T) {
	joined := planner.JoinShards(map[int]planner.LeaseDoc{
		0: {Commit: "old", Generation: 1, Tokens: 5},
		1: {Commit: "new", Generation: 2, Tokens: 9},
	})
	if joined.Tokens != 9 || joined.Commit != "old" || joined.Generation != 1 {
		t.Errorf("joined %+v", joined)
	}
	if got := planner.JoinShards(nil); !reflect.DeepEqual(got, planner.LeaseDoc{}) {
		t.Errorf("nothing joined is %+v", got)
	}
}

func TestJoinShardsUndoesShards(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		doc := fullDoc()
		doc.Leases = nil
		n := rapid.IntRange(0, 40).Draw(t, "leases")
		for token := range n {
			slot := fmt.Sprint(rapid.IntRange(0, 17000).Draw(t, "slot"))
			if rapid.Bool().Draw(t, "named") {
				slot = "node-" + slot
			}
			doc.Leases = append(doc.Leases, planner.Lease{Slot: slot, Node: "a", Epoch: 1, Token: uint64(token + 1), Revision: "r"})
		}
		before := slices.Clone(doc.Leases)
		joined := planner.JoinShards(doc.Shards())
		if joined.Body() != doc.Body() {
			t.Errorf("joined\n%s\nwant\n%s", joined.Body(), doc.Body())
		}
		if !slices.EqualFunc(before, doc.Leases, func(a, b planner.Lease) bool { return a == b }) {
			t.Error("the document was changed")
		}
		whole, err := planner.ParseLeaseDoc(doc.Body())
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(joined, whole) {
			t.Errorf("joined %+v, want %+v", joined, whole)
		}
	})
}
