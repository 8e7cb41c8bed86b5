package network

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime"
)

// A change moves the buckets of what changed, and no others.
func TestBucketsMoveOnlyWithTheirTarget(t *testing.T) {
	var targets []netip.AddrPort
	for i := range 10 {
		targets = append(targets, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 231, 0, byte(2 + i)}), 8080))
	}
	full := byBucket(targets)
	load := map[netip.AddrPort]int{}
	for _, c := range full {
		load[c]++
	}
	for _, gone := range targets {
		rest := slices.DeleteFunc(slices.Clone(targets), func(a netip.AddrPort) bool { return a == gone })
		for b, now := range byBucket(rest) {
			if full[b] != gone && now != full[b] {
				t.Errorf("without %s bucket %d moves from %s to %s", gone, b, full[b], now)
			}
		}
		// 64 buckets over 10: within what chance allows.
		if load[gone] < 1 || load[gone] > 16 {
			t.Errorf("%s has %d of %d buckets", gone, load[gone], buckets)
		}
	}
	if byBucket(nil) != nil {
		t.Error("buckets without targets")
	}
}

func TestAffinity(t *testing.T) {
	if !isolated(t) {
		return
	}
	l := newLAN(t)
	here, far := l.node(""), l.join(newHost(t, "far"))
	var targets []runtime.Target
	for i := range 5 {
		a := here.attach(t, fmt.Sprintf("web-%d", i))
		echo(t, a.NetNS, fmt.Sprintf("web-%d", i), 8080)
		targets = append(targets, to(a.Address, 8080), to(a.Address6, 8080))
	}
	const clients = 40
	versions(t, func(t *testing.T, v int) {
		var own []string
		far.do(t, func() {
			for i := range clients {
				addr := netip.MustParseAddr(fmt.Sprintf([]string{"198.51.100.%d", "2001:db8:1::%d"}[v], 100+i))
				own = append(own, addr.String())
				must(t, netlink.AddrAdd(link(t, "eth0"), &netlink.Addr{IPNet: ipNet(hostPrefix(addr)), Flags: unix.IFA_F_NODAD}))
			}
		})
		met := func(targets []runtime.Target) (all []string) {
			here.balance(t, runtime.Balancing{Fronts: []runtime.Front{{Kind: runtime.FrontPublished, Port: 80, Protocol: "tcp", Affinity: true, Targets: targets}}})
			for _, from := range own {
				first := ""
				for range 3 {
					name, client := askFrom(t, far, from, at(here.addr[v], 80))
					if client != from || first != "" && name != first {
						t.Errorf("client %s, seen as %s, met %s after %s", from, client, name, first)
					}
					first = name
				}
				all = append(all, first)
			}
			return all
		}
		before := met(targets)
		if k := len(slices.Compact(slices.Sorted(slices.Values(before)))); k < 3 {
			t.Errorf("%d clients met %d of 5 targets", clients, k)
		}
		// The order says nothing; one that goes takes its own clients with it.
		slices.Reverse(targets)
		after := met(slices.DeleteFunc(slices.Clone(targets), func(x runtime.Target) bool {
			return x.Address == here.instance["web-2"].Address || x.Address == here.instance["web-2"].Address6
		}))
		for i := range before {
			if before[i] != "web-2" && after[i] != before[i] || after[i] == "web-2" {
				t.Errorf("client %d moved from %s to %s when web-2 went", i, before[i], after[i])
			}
		}
		if again := met(targets); !slices.Equal(again, before) {
			t.Errorf("with web-2 back clients met %v, want %v", again, before)
		}
	})
}

// askFrom asks from one of the host's addresses.
func askFrom(t testing.TB, h *lanHost, from, address string) (name, client string) {
	t.Helper()
	h.do(t, func() {
		d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		c, err := d.Dial("tcp", address)
		must(t, err)
		defer c.Close()
		name, client, err = askOver(c, "tcp")
		must(t, err)
	})
	return name, client
}
