package network

// hostHasIPv6 reports whether the kernel speaks IPv6 in this network namespace
// and nobody has switched it off, there or for links to come.
func hostHasIPv6() bool {
	for _, path := range []string{"/proc/sys/net/ipv6/conf/all/disable_ipv6", "/proc/sys/net/ipv6/conf/default/disable_ipv6"} {
		if off, err := sysctl(path); err != nil || off != "0" {
			return false
		}
	}
	return true
}
