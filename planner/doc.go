// Package planner holds the nouns of Orpheus and every decision it takes, as
// pure functions of values.
//
// Data flows through it in one direction. A commit becomes [Desired]; [Settle]
// lays it over what this node already follows, so that a broken file or a
// mass deletion holds back only what it concerns: [Followed]. The records of
// the fleet, with when this node first saw each value, are its [View].
//
// [Coordinate] makes of both the lease documents that are this node's to write:
// which node runs which slot at which revision. [CoordinateAlone] does it for a
// node that shares no records with others. [Suspects] tells which nodes seem
// gone, and what is to be done about each: ask, then fence.
//
// [StandingOf] reads from the view what this node itself must run, and what it
// must leave alone although nothing covers it. [Reconcile] compares that with
// the instances its drivers list and returns actions, each with its reason. The
// agent carries them out and looks again.
//
// Nothing in here reads a clock, a file, a socket or a random number, starts
// a goroutine, logs, or depends on the order of a map: the same values give
// the same answer on every node. A test in this folder holds that, and that
// only the standard library is imported.
package planner
