// Package devfleet makes a whole fleet on one machine, with real parts: a Git
// server with the fleet's repository, an image registry, and nodes, each with
// the agent as a process of its own and a private containerd, all below one
// folder. The demo, the end-to-end tests, the benchmarks and `orpheus dev`
// stand on it.
//
// A Fleet is one node in the namespaces of the program that makes it; Isolate
// gives that program network and mount namespaces of its own, so that the
// machine is not touched. A Cluster has many nodes. As root each of them is as
// good as a machine: network and mount namespaces of its own, a link to a
// bridge in the program's namespace, where Git and registry listen, a boot, a
// power button, and a network that can be cut. Otherwise they share loopback.
//
// Whatever is made is written down before it is made, so that Sweep can take
// it away after a program that was killed.
package devfleet
