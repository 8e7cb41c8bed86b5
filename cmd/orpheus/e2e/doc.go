// Package e2e tests the orpheus program as its users run it: the real binary,
// a real Git server and image registry, a containerd of its own, all in
// network and mount namespaces made for the tests. Every story is told on
// containers and, where it makes sense there, on plain processes; the latter
// also by a user without any privilege. Stories of many nodes are told where
// each node is as good as a machine, with a network, a containerd and a power
// button of its own.
package e2e
