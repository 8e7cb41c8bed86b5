// Package process runs host processes as instances: a runtime.Driver without
// images.
//
// Start writes the instance's folder, makes its cgroups and re-executes the
// agent's own binary as a shim, which becomes a session of its own, starts the
// program and stays as its parent. The agent may die: the shim waits for the
// program, writes how it ended, and kills what is left of its tree. Another
// agent reads everything it needs from the folder:
//
//	<StateDir>/<id>/state.json   identity, process ids with their start times, boot id
//	<StateDir>/<id>/exit.json    how the program ended, written by the shim
//	<StateDir>/<id>/lock         locked as long as agent or shim works on the folder; the
//	                             shim writes what is in state.json into it as well, and
//	                             holds it open for when the folder is deleted
//	<StateDir>/<id>/work/        default working directory
//	<StateDir>/.hint             written at every exit, for Watch
//
// A process is recognised by its id, start time and the machine's boot id, so
// that one that got an old id by chance is never signalled.
//
// Trees are killed by cgroup.kill where a cgroup2 hierarchy is writable, with
// or without controllers. Elsewhere the shim, which is the subreaper of all
// descendants, first stops and then kills them until none is left; a shim that
// was killed itself is stood in for by the agent, which finds strays by the
// variable ORPHEUS_PROCESS in their environment. Limits use the controllers of
// cgroup2 where they can be enabled, else those of version 1.
//
// The driver works on Linux only; elsewhere the package holds nothing but an
// empty MaybeShim.
package process
