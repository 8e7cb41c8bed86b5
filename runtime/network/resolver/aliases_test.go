package resolver

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// known is what a name has, in words; "" = it does not exist.
func known(x *index, name string) string {
	e, _ := x.find(name + "." + Domain + ".")
	if e == nil || !e.named {
		return ""
	}
	out := []string{"exists"}
	for _, a := range e.addrs {
		out = append(out, a.String())
	}
	for _, t := range e.targets {
		out = append(out, fmt.Sprintf("%s:%d", t.host, t.port))
	}
	return strings.Join(out, " ")
}

// An alias answers as the service's name does, with all that is below it; what
// an address is called stays the service's name.
func TestAliases(t *testing.T) {
	x := newIndex(Zone{Services: []Service{
		{Namespace: "shop", Name: "db", Aliases: []string{"store", "Old-DB", "my_db"}, Addresses: []string{"10.232.0.1"},
			Ports: []Port{{"sql", "tcp", 5432}},
			Slots: []Slot{{Name: "0", Addresses: []string{"10.232.1.0"}, Ports: []Port{{"admin", "tcp", 8080}}}}},
		{Namespace: "shop", Name: "peers", Headless: true, Aliases: []string{"ring"}, Addresses: []string{"10.232.1.1"},
			Slots: []Slot{
				{Name: "0", Addresses: []string{"10.232.1.1"}, Ready: true, Ports: []Port{{"p2p", "udp", 7000}}},
				{Name: "node-1.example", Addresses: []string{"10.232.1.2"}, Ports: []Port{{"p2p", "udp", 7000}}},
			}},
	}}, 1)
	if len(x.faults) > 0 || x.services != 2 {
		t.Fatalf("%d services, faults %q", x.services, x.faults)
	}
	for alias, own := range map[string]string{"store.shop": "db.shop", "old-db.shop": "db.shop", "my_db.shop": "db.shop", "ring.shop": "peers.shop"} {
		for _, below := range []string{"", "0.", "node-1.example.", "_sql._tcp.", "_admin._tcp.", "_p2p._udp.", "1."} {
			if got, want := known(x, below+alias), known(x, below+own); got != want {
				t.Errorf("%s%s is %q, %s%s is %q", below, alias, got, below, own, want)
			}
		}
	}
	if got := known(x, "store.shop"); got != "exists 10.232.0.1" {
		t.Errorf("store.shop is %q", got)
	}
	if got := known(x, "store.default") + known(x, "store"); got != "" {
		t.Errorf("elsewhere store is %q", got)
	}
	for a, owner := range x.owners {
		if strings.Contains(owner, "store") || strings.Contains(owner, "ring") {
			t.Errorf("%s is called %s", a, owner)
		}
	}
}

// A name that is taken stays whose it is: a service's before an alias, whichever
// comes first, and of two aliases the first.
func TestAliasesThatAreTaken(t *testing.T) {
	many := make([]string, 2*maxAliases)
	for i := range many {
		many[i] = fmt.Sprintf("m%d", i)
	}
	x := newIndex(Zone{Services: []Service{
		{Namespace: "shop", Name: "a", Aliases: []string{"b", "c", "a", "c"}, Addresses: []string{"10.232.0.1"}},
		{Namespace: "shop", Name: "b", Aliases: []string{"c", "x.y", "", "*"}, Addresses: []string{"10.232.0.2"}},
		{Namespace: "shop", Name: "m", Aliases: many},
		{Namespace: "s/p", Name: "z", Aliases: []string{"zz"}},
	}}, 1)
	if got := known(x, "b.shop"); got != "exists 10.232.0.2" {
		t.Errorf("b is %q", got)
	}
	if got := known(x, "c.shop"); got != "exists 10.232.0.1" {
		t.Errorf("c is %q", got)
	}
	if known(x, fmt.Sprintf("m%d.shop", maxAliases-1)) == "" || known(x, fmt.Sprintf("m%d.shop", maxAliases)) != "" {
		t.Error("the number of aliases is not bounded")
	}
	// b, a, c twice; x.y, "", *; more than there may be; the service z, its alias.
	if x.left != 10 || !slices.Contains(x.faults, "alias b.shop of service a.shop: the name is taken") {
		t.Errorf("%d faults: %q", x.left, x.faults)
	}
}
