// Package network is the node's network: a bridge, a network namespace and
// addresses per instance, and what connections are led to.
//
// Attach makes a namespace, a veth pair between it and the bridge, addresses
// from the node's subnets and the files that tell the instance about names;
// HostPorts adds ports of the node. Balance turns a list of fronts and targets
// into elements of nftables maps. From then on the kernel does the work: nothing
// on the data path runs in the agent, so its death or upgrade drops no
// connection. Run restores what other programs take away meanwhile, and keeps
// one rule of ours in firewalls of others that would drop what instances send.
//
// What is attached is read from the kernel and from one small file per
// instance; the package keeps no other memory, and Sweep finds whatever a
// killed agent left half made. It works on Linux with CAP_NET_ADMIN and
// CAP_SYS_ADMIN, talks IPv4, and IPv6 where the host has it.
//
// All work happens in the network namespace the process runs in.
package network
