// Package fleettest is the proof that the rules of leases hold in the code
// that ships: a fleet of simulated machines around the real fleet.Member and
// the real planner, on an in-memory repository of records.
//
// Everything is a discrete event on one queue. There is no goroutine, no real
// clock and no chance but the seed's: a run is replayed exactly by its seed.
// Machines have clocks of their own, drift, crash, reboot, are paused, cut off
// and cloned; requests are delayed and lost, replies too; the server is
// restored from backups; people commit, and strangers write garbage. A witness
// watches the server and the machines from outside and knows the rules
// (docs/leases.md) in its own words; at the end faults cease and the fleet must
// come to rest.
package fleettest
