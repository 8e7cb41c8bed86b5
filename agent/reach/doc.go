// Package reach knows which instances on other nodes do not answer this one,
// sooner than any record says so.
//
// What the node's balancer saw of new connections makes an endpoint a suspect;
// a suspect is connected to, and so is the peer port of its node, and two other
// nodes as witnesses. An endpoint that fails its check is ejected: taken out of
// this node's balancing, and of nobody else's. All endpoints of a node that is
// silent itself go at once; otherwise never more than half of a service's. An
// ejected endpoint is checked on, and comes back with its first answer.
//
// The decisions are those of judge, a state machine without clock or I/O. Watch
// feeds it, makes the checks it asks for and has its verdicts applied.
package reach
