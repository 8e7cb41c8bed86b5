package relay

import "net/netip"

// raised is how much higher a port is served that needs rights the agent lacks:
// 80 becomes 10080, 443 becomes 10443. Not 8080 and 8443: that is where programs
// listen themselves.
const raised = 10000

// Address is the loopback address at which the relay serves a service address:
// "127.232.0.5" for "10.232.0.5". "" = none: the address is IPv6, or its place
// is among 127.0.0.0/24, where other programs listen.
func Address(service string) string {
	addr, err := netip.ParseAddr(service)
	if err != nil || !addr.Unmap().Is4() {
		return ""
	}
	at := addr.Unmap().As4()
	at[0] = 127
	if at[1] == 0 && at[2] == 0 {
		return ""
	}
	return netip.AddrFrom4(at).String()
}

// Port is the port at which the relay of this machine and user serves a port of
// a service address.
func Port(port int) int { return portFrom(port, lowestPort()) }

func portFrom(port, lowest int) int {
	if port < lowest {
		return port + raised
	}
	return port
}
