package runtime

// Listening is what a Balancer is, too, that is a program among others of the
// node: it listens where connections to service addresses come to. As long as
// it does, no instance with the node's network can listen on that port, and the
// other way round.
type Listening interface {
	Balancer
	// ListensOn is the port of the node on which it takes connections to a port
	// of a service address.
	ListensOn(port int) int
}
