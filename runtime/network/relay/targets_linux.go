package relay

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

// failedFor is how long a target is tried last after it was not reached.
const failedFor = time.Second

// remembered is how long ago a try may be that Traffic tells of.
const remembered = 5 * time.Second

var began = time.Now()

// instant is a moment since the process began; 0 = never.
type instant struct{ atomic.Int64 }

func (i *instant) now() { i.Store(int64(time.Since(began)) + 1) }

// ago is how long ago it was, negative for never or too long ago.
func (i *instant) ago() time.Duration {
	at := i.Load()
	if at == 0 {
		return -1
	}
	if ago := time.Since(began) - time.Duration(at-1); ago < remembered {
		return max(ago, 0)
	}
	return -1
}

// target is one address that connections are led to, whatever front they came
// by.
type target struct {
	addr                             netip.AddrPort
	protocol                         string
	tried, answered, refused, failed instant
}

// failing reports whether it was not reached just now.
func (t *target) failing() bool {
	ago := t.failed.ago()
	return ago >= 0 && ago < failedFor
}

// choice is where a front leads connections to. It is not changed.
type choice struct {
	targets  []*target
	affinity bool
}

// order lists the targets in the order in which they are to be tried: turn by
// turn, or by the client's address, each client with an order of its own that
// changes as little as can be when targets come and go. Those that were not
// reached just now come last.
func (c *choice) order(client netip.Addr, turn uint64) []*target {
	n := len(c.targets)
	if n == 0 {
		return nil
	}
	all := make([]*target, 0, n)
	if c.affinity {
		all = append(all, c.targets...)
		rank := map[*target]uint64{}
		for _, t := range all {
			rank[t] = score(client, t.addr)
		}
		slices.SortFunc(all, func(a, b *target) int { return cmp.Compare(rank[b], rank[a]) })
	} else {
		first := int(turn % uint64(n))
		all = append(append(all, c.targets[first:]...), c.targets[:first]...)
	}
	if slices.ContainsFunc(all, (*target).failing) {
		slices.SortStableFunc(all, func(a, b *target) int { return cmp.Compare(weight(a), weight(b)) })
	}
	return all
}

func weight(t *target) int {
	if t.failing() {
		return 1
	}
	return 0
}

// score ranks a target for a client, the same on every node and in every
// version.
func score(client netip.Addr, t netip.AddrPort) uint64 {
	h := fnv.New64a()
	from, to := client.Unmap().As16(), t.Addr().As16()
	h.Write(from[:])
	h.Write(to[:])
	h.Write(binary.BigEndian.AppendUint16(nil, t.Port()))
	x := h.Sum64() // FNV mixes its last bytes badly
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
