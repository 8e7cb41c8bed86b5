// Package network is the node's network: a bridge, a network namespace and an
// address per instance, and the published ports.
//
// Attach makes a namespace, a veth pair between it and the bridge, an address
// from the node's subnet and the files that tell the instance about names.
// Publish turns a list of ports and targets into the elements of two nftables
// maps. From then on the kernel does the work: nothing on the data path runs
// in the agent, so its death or upgrade drops no connection.
//
// What is attached is read from the kernel and from one small file per
// instance; the package keeps no other memory, and Sweep finds whatever a
// killed agent left half made. It works on Linux with CAP_NET_ADMIN and
// CAP_SYS_ADMIN, and talks IPv4: IPv6 is switched off inside the namespaces.
//
// All work happens in the network namespace the process runs in.
package network
