package network

import (
	"net"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/runtime"
)

// Which UDP flows are looked at: those that nothing led only where something
// leads them now.
func TestUnledFlowsMatterWhereSomethingOpens(t *testing.T) {
	f := (Config{}).withDefaults().families()[0]
	one, other := to("10.231.0.2", 80), to("10.231.0.3", 80)
	with := func(fleet []string, fronts ...[]runtime.Front) balance {
		b := inServices(fronts...)
		b.Fleet = fleet
		want, left, err := new(memory).parse([]family{f}, b)
		must(t, err)
		if len(left) > 0 {
			t.Fatal(left)
		}
		return want[0]
	}
	published, friends := frontsOf(runtime.FrontPublished, 81, one), []string{"192.0.2.1"}
	for name, c := range map[string]struct {
		have, want balance
		udp, unled bool
	}{
		"nothing":            {with(nil, published), with(nil, published), false, false},
		"another target":     {with(nil, published), with(nil, frontsOf(runtime.FrontPublished, 81, other)), true, false},
		"no target any more": {with(nil, published), with(nil, frontsOf(runtime.FrontPublished, 81)), true, false},
		// Of what is refused no flow stands.
		"the first target":     {with(nil, frontsOf(runtime.FrontPublished, 81)), with(nil, published), true, false},
		"a service":            {with(nil), with(nil, service(80, one)), true, false},
		"closed":               {with(nil, published), with(nil), true, false},
		"tcp only":             {with(nil), with(nil, published[:1]), false, false},
		"opened":               {with(nil), with(nil, published), true, true},
		"for others":           {with(nil, published), with(nil, frontsOf(runtime.FrontHost, 81, one)), true, true},
		"a node more":          {with(nil), with(friends), true, true},
		"a node less":          {with(friends), with(nil), true, false},
		"the range, for once":  {balance{}, with(nil), true, true},
		"another, and a front": {with(friends, published), with(nil, published, service(80, other)), true, false},
	} {
		if got := f.diff(c.have, c.want); got.udp != c.udp || got.unled != c.unled {
			t.Errorf("%s: udp %v, unled %v, want %v, %v", name, got.udp, got.unled, c.udp, c.unled)
		}
	}
}

// A sender that began before the port was opened is led from then on, also by
// an agent that knows all that was led.
func TestSenderBeforeThePortOpens(t *testing.T) {
	if !isolatedBeside(t) {
		return
	}
	l := newLAN(t)
	here, far := l.node(""), l.join(newHost(t, "far"))
	mine := here.attach(t, "web-0")
	echo(t, mine.NetNS, "mine", 8080)
	versions(t, func(t *testing.T, v int) {
		here.balance(t, runtime.Balancing{})
		c, err := dialWithin(t, patience, far.ns, "udp", at(here.addr[v], 81))
		must(t, err)
		defer c.Close()
		isRefusedOver(t, c, "udp", "nobody there")
		here.balance(t, runtime.Balancing{Fronts: frontsOf(runtime.FrontPublished, 81, to(mine.Address, 8080), to(mine.Address6, 8080))})
		eventually(t, "the sender is answered", func() bool { return isAnswered(c) })
	})
}

func isAnswered(c net.Conn) bool {
	c.SetDeadline(time.Now().Add(250 * time.Millisecond))
	if _, err := c.Write([]byte("?")); err != nil {
		return false
	}
	_, err := c.Read(make([]byte, 100))
	return err == nil
}
