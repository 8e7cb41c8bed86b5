// Package relay balances connections in user space, for nodes whose agent may
// not use nftables: without root, or on a kernel without it.
//
// Service addresses cannot be given to an interface without root. But all of
// 127.0.0.0/8 is this machine's: a service at 10.232.0.5 is served at
// 127.232.0.5 (Address), on the same port or, where ports below 1024 need
// rights that the agent lacks, on one 10000 higher (Port). Only programs of this
// machine reach it there; IPv6 service addresses have no such place.
//
// Who listens on one address of the machine keeps every other program from
// listening on all of them, and who listens on all answers for every address of
// which nobody else took the port. Client is therefore a runtime.Listening: it is
// asked for no port on which instances of the node listen themselves, which the
// addresses of slots would all be.
//
// The agent's half is Client, a runtime.Balancer that writes a file. Serve reads
// it, in a process that outlives the agent, and hands its listening sockets to
// the next version, so that no connection is refused in between; connections
// that stand end where they began; a UDP flow begins anew there. What differs from the kernel's balancing:
// instances see this machine's address instead of their client's, and a
// published port that is also the port its instances listen on is open on
// their nodes only, by themselves: the relay would be in the way of an instance
// that is to start here.
package relay
