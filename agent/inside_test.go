package agent

import "testing"

func TestAttack18NodeAtAnAddressOfInstances(t *testing.T) {
	a := &Agent{subnets: [2]string{"10.231.0.0/20", "fd6f:7214::/64"}}
	a.balance.gather.v4 = "10.232.0.0/16"
	inside := a.inside()
	for address, want := range map[string]bool{
		"10.231.0.5": true, "10.231.16.1": false, "fd6f:7214::5": true, "10.232.7.7": true, "192.0.2.1": false, "fd6f:7270::1": false, "": false,
	} {
		if inside(address) != want {
			t.Errorf("%q: %v, want %v", address, !want, want)
		}
	}
}
