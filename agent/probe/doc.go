// Package probe makes the checks that manifests ask for, and keeps what they
// found.
//
// The agent names the containers that run and where they are reached (Follow);
// for each probe that is to be checked now the engine has one worker, which
// waits until the next check is due, makes it, and lays the result on what was
// found before. What follows from results is decided by package planner
// (planner.ContainerHealth): the engine only keeps it, says when it changed,
// and writes it to disk, by instance, container and run of the container, so
// that the next agent goes on with the same counters.
//
// Checks run where the instance is: connections are made inside its network
// namespace, commands through its driver. Everything that comes back is
// bounded, and harmless to print.
package probe
