// Package runtimetest holds what is needed to test against the runtime
// contract without a real backend, and to test a backend against it.
//
// [Fake] is a runtime.Driver in memory with faults to inject, [FakeNetwork]
// and [FakeVolumes] are its companions. They use package time only, so that a
// simulation in a testing/synctest bubble runs in no time, and they keep their
// state when the agent that used them is thrown away: giving the same fake to
// a new agent is an agent restart.
//
// [Conformance] is the suite that every driver passes, the fake included. A
// driver's test describes its backend in a [Harness]; each case runs if the
// driver declares the capability it needs, and says why when it does not. Real
// backends run the program in the folder payload, which [BuildPayload]
// compiles.
package runtimetest
