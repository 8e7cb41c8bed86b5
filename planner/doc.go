// Package planner holds the nouns of Orpheus and every decision it takes, as
// pure functions of values.
//
// Data flows through it in one direction. A commit becomes [Desired]; Settle
// lays it over what this node already follows, so that a broken file or a
// mass deletion holds back only what it concerns. Coordinate turns the result
// into lease documents: which node runs which slot at which revision.
// Reconcile compares the leases a node holds with the instances its drivers
// list and returns actions, each with its reason. The agent carries them out
// and looks again.
//
// Nothing in here reads a clock, a file, a socket or a random number, starts
// a goroutine, logs, or depends on the order of a map: the same values give
// the same answer on every node. A test in this folder holds that, and that
// only the standard library is imported.
package planner
