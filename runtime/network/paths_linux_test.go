package network

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/orpheus-cd/orpheus/runtime"
)

// Where the host reaches a part of the range in another way, the service
// addresses of that family are left out, and nothing else. A range that stands
// is not given up for a route that comes later.
func TestServiceRangeIsTheHosts(t *testing.T) {
	if !isolatedBeside(t) {
		return
	}
	l := newLAN(t)
	here, far := l.node(""), l.join(newHost(t, "far"))
	mine := here.attach(t, "web-0")
	echo(t, mine.NetNS, "mine", 8080)
	targets := []runtime.Target{to(mine.Address, 8080), to(mine.Address6, 8080)}
	wanted := inServices(service(80, targets...), frontsOf(runtime.FrontPublished, 8081, targets...))

	const theirs = "10.232.5.0/24"
	here.do(t, func() { routeVia(t, theirs, far.addr[0]) })
	var left runtime.LeftOutError
	here.do(t, func() {
		if err := here.network.Balance(context.Background(), wanted); !errors.As(err, &left) {
			t.Fatalf("balanced with %v, want the service's address left out", err)
		}
	})
	for _, out := range left {
		if out.Front.Address != web[0] || !strings.Contains(out.Reason, theirs) || !strings.Contains(out.Reason, "fleet.yaml") {
			t.Errorf("left out: %+v", out)
		}
	}
	if len(left) != 2 {
		t.Errorf("%d fronts are left out, want tcp and udp of %s", len(left), web[0])
	}
	reaches(t, "", "tcp", at(web[1], 80), "mine", mine.Gateway6)
	reaches(t, far.ns, "tcp", at(here.addr[0], 8081), "mine", far.addr[0])

	here.do(t, func() {
		must(t, netlink.RouteDel(&netlink.Route{Dst: ipNet(netip.MustParsePrefix(theirs))}))
	})
	here.balance(t, wanted)
	reaches(t, "", "tcp", at(web[0], 80), "mine", mine.Gateway)
	here.do(t, func() { routeVia(t, theirs, far.addr[0]) })
	here.balance(t, wanted)
	reaches(t, "", "tcp", at(web[0], 80), "mine", mine.Gateway)
}
