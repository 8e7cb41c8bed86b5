package planner

import (
	"cmp"
	"slices"
	"strconv"
)

// shardOf is the shard that holds a slot's leases.
func shardOf(slot string) int {
	n, err := strconv.Atoi(slot)
	if err != nil || n < 0 || n >= ShardSlots*MaxShards || strconv.Itoa(n) != slot {
		return 0
	}
	return n / ShardSlots
}

// Shards cuts a document into the records that hold it, by number. Shard 0 is
// always there and has all but the leases of numbered slots from ShardSlots
// on; the others are there if they have leases. Where the ref of a shard
// exists that is not in the result, its record must be replaced by one without
// leases, or deleted.
func (d LeaseDoc) Shards() map[int]LeaseDoc {
	first := d
	first.Leases = nil
	shards := map[int]LeaseDoc{0: first}
	for _, l := range ordered(d.Leases) {
		k := shardOf(l.Slot)
		shard, ok := shards[k]
		if !ok {
			shard = d.Shard()
		}
		shard.Leases = append(shard.Leases, l)
		shards[k] = shard
	}
	return shards
}

// Shard is a shard beside the first without leases: who decided it, on what,
// and the highest token.
func (d LeaseDoc) Shard() LeaseDoc {
	return LeaseDoc{Format: d.Format, Service: d.Service, Commit: d.Commit, Generation: d.Generation, By: d.By, Tokens: d.Tokens}
}

// JoinShards puts together what Shards cut apart, with the leases in order of
// slot and token and the highest of all tokens. Everything else is shard 0's,
// or that of the lowest shard where shard 0 is missing. Shards that were
// written at different times may be decided on different commits and
// generations: whether one of them may be replaced (design L6) is to be asked
// of that shard, not of the joined document.
func JoinShards(shards map[int]LeaseDoc) LeaseDoc {
	var joined LeaseDoc
	var leases []Lease
	for i, k := range shardNumbers(shards) {
		shard := shards[k]
		if i == 0 {
			joined = shard
		}
		joined.Tokens = max(joined.Tokens, shard.Tokens)
		leases = append(leases, shard.Leases...)
	}
	joined.Leases = ordered(leases)
	return joined
}

func shardNumbers(shards map[int]LeaseDoc) []int {
	numbers := make([]int, 0, len(shards))
	for k := range shards {
		numbers = append(numbers, k)
	}
	slices.Sort(numbers)
	return numbers
}

// compareLeases orders the leases of one document by slot and token.
func compareLeases(a, b Lease) int {
	return cmp.Or(compareSlotNames(a.Slot, b.Slot), cmp.Compare(a.Token, b.Token))
}
