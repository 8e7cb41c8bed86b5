// Package plugin lets a driver be a program of its own: both halves of
// hashicorp/go-plugin over gRPC. An author calls Serve with a runtime.Driver;
// the agent's half, New, is a runtime.Driver that passes every call on.
//
// The plugin outlives the agent. It runs in a session of its own, writes its
// stderr to a file, and is found again by the next agent:
//
//	<StateDir>/plugin.json     the running plugin: process, socket, checksums
//	<StateDir>/bin-<sha256>    the copy that is executed, made when it was checked
//	<StateDir>/stderr.log      what the plugin says; moved to stderr.log.1 by size
//	<RunDir>/plugin*           its socket
//
// Both folders belong to this plugin alone and are 0700: who may connect is
// decided there, and the host checks that the process that listens is the one
// it started. A process is recognised by its id, start time and the machine's
// boot id, and by the checksum of what it executes, so that another one that
// got its id is neither spoken to nor killed.
//
// A plugin may be killed at any time: what it runs must live on without it, as
// with any driver. Calls under way then end with runtime.ErrUnavailable, their
// outcome unknown, except Wait, which goes on with the next process. The next
// call starts it again, with back-off.
//
// A plugin is trusted, but may be broken: what it answers is bounded in size
// and number and checked before the agent sees it.
//
// The host's half works on Linux only.
package plugin
