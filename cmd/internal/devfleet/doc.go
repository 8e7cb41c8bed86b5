// Package devfleet makes everything a node needs on one machine: a Git server
// with the fleet's repository, an image registry, a private containerd, and the
// agent as a process of its own, all on loopback and all below one folder. The
// demo, the end-to-end tests and the benchmarks stand on it. Isolate gives it
// network and mount namespaces of its own, so that the machine is not touched.
package devfleet
