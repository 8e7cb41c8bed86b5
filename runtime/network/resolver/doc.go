// Package resolver answers for the names of services to the instances of a
// node, and asks the node's own name servers for all others.
//
// The server is a process of its own that outlives the agent: it reads a Zone
// from a file that the agent replaces, so that names resolve while the agent is
// down, and hands its sockets over to the next version without a gap.
package resolver
