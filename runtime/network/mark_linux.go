package network

// forwardMark is the one bit that this package sets, and reads, in marks. All
// other bits belong to others and stay as they are.
//
// On a packet it says that the node lets it pass on purpose: it is forwarded
// from or to an instance or was balanced by us, or it is an instance's question
// to the name server on the bridge. It is set at hooks forward and input before
// priority filter, so that one rule of a firewall in either,
//
//	meta mark & 0x1000 == 0x1000 accept
//
// lets through all that is ours and nothing else. Nobody but the host's root
// can set it: marks do not leave a network namespace.
//
// On a connection (ct mark) it says that we chose where it leads.
//
// The bit is the one that the fewest others use, as
// https://github.com/fwmark/registry lists them: Cilium does, and replaces all
// of this anyway; Docker, Kubernetes, Calico and Tailscale use others.
const forwardMark = 0x1000
