// Package containerd runs instances as containers on a containerd server
// (1.6 to 2.x), one container per container of the workload.
//
// Prepare pulls images under their digest. Start writes, for each container,
// first the record with its labels, then its root filesystem, then its
// process: so whatever a crash cuts off, a labelled record is there to find it
// by, and no lease or mark is needed. List reads the records and, in one more
// call, all processes, and derives the state of every instance from the two;
// nothing else is remembered, but by a running driver to tell a process that
// vanished from one that never was. Wait is the signal of an exit, Watch only
// a hint. Sweep takes away what belongs to no living instance.
//
// containerd stores the OCI spec, and with it the environment of a container,
// in its own database. Secrets go nowhere else: not into labels, logs, errors.
package containerd
