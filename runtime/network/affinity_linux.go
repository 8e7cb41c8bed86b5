package network

import (
	"encoding/binary"
	"net/netip"
)

// With affinity, a client's address falls into one of so many buckets, and each
// bucket has a target of its own. More targets than buckets would go idle.
const (
	buckets = 64
	// clientSeed makes the kernel's hash the same on every node and for ever.
	clientSeed = 0x6f727068
)

// byBucket chooses the target of every bucket by rendezvous: each goes to the
// target that scores highest for it. So a target that goes takes only its own
// buckets with it, and one that comes takes from all others alike.
func byBucket(targets []netip.AddrPort) []netip.AddrPort {
	if len(targets) == 0 {
		return nil
	}
	chosen := make([]netip.AddrPort, buckets)
	for b := range chosen {
		var highest uint64
		for i, t := range targets {
			if s := score(t, b); i == 0 || s > highest {
				chosen[b], highest = t, s
			}
		}
	}
	return chosen
}

// score mixes target and bucket: FNV-1a over both, and the finish of
// splitmix64, for the former leaves neighbours alike.
func score(t netip.AddrPort, bucket int) uint64 {
	key := t.Addr().As16()
	h := uint64(14695981039346656037)
	for _, b := range binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(key[:], t.Port()), uint32(bucket)) {
		h = (h ^ uint64(b)) * 1099511628211
	}
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}
