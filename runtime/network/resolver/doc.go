// Package resolver answers for the names of services to the instances of a
// node, and asks the node's own name servers for all others.
//
// The server is a process of its own that outlives the agent: it reads a Zone
// from a file that the agent replaces (Write), so that names resolve while the
// agent is down. The agent keeps it going with a Helper; Run is the process. The
// next version takes the open sockets themselves over from the one before, so
// that no question is lost in between, not even one that waits in a socket.
//
// What it knows, below orpheus.internal:
//
//	web.default                 A, AAAA   the service, or the ready slots of a headless one
//	0.web.default               A, AAAA   one slot, wherever it runs
//	_http._tcp.web.default      SRV       a named port; of a headless service one record a ready slot
//
// and PTR for each address that has a name. A name that exists without what was
// asked for, such as a headless service without a ready slot, has an empty
// answer; others do not exist. Answers may be kept for five seconds, also those.
//
// Names of two labels and more are known without orpheus.internal, too, and then
// hide a public name that reads the same: "web.shop" is a service where there is
// one, and otherwise somebody else's. A single label is not: it would mean
// another service as soon as a second namespace has one of that name. It takes
// the search domains of the instance, whose first is its own namespace.
//
// Messages are read and written by golang.org/x/net/dns/dnsmessage. Answers of
// other name servers are handed on and not kept: those servers have caches.
package resolver
