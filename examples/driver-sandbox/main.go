//go:build linux

// Driver-sandbox is a driver plugin for orpheus, and the example of one. It
// runs programs of the host without an image, each in a sandbox: namespaces of
// its own for processes, mounts, host name and IPC, the network namespace that
// the agent gives it, a read-only view of the host's programs and libraries,
// volumes, a private /tmp, and the capabilities that Docker would leave it.
//
// docs/plugins.md walks through it. In the order of what happens:
//
//	main.go      flags; which of its two parts this process plays
//	driver.go    the runtime.Driver: what the agent calls
//	instance.go  the folder of an instance: all that the driver remembers
//	launch.go    the start of an instance's shim
//	shim.go      the shim: first process in the sandbox, parent of the program
//	root.go      the file system that the program sees
//
// What runs must outlive the plugin: agents, upgrades and accidents end it at
// any time. So each instance belongs to a shim, and the plugin keeps nothing
// in memory.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/orpheus-cd/orpheus/runtime/plugin"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == shimVerb { // the id is for people who list processes
		shimMain()
	}
	state := flag.String("state", "/var/lib/orpheus-sandbox", "folder of the instances")
	show := flag.String("show", strings.Join(hostPaths, ","), "paths of the host that sandboxes see, read-only")
	flag.Parse()
	d, err := newDriver(*state, strings.Split(*show, ","))
	if err != nil {
		fmt.Fprintln(os.Stderr, "driver-sandbox:", err)
		os.Exit(1)
	}
	plugin.Serve(d)
}

// hostPaths is enough for programs that a distribution installs.
var hostPaths = []string{
	"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/usr", "/opt",
	"/etc/alternatives", "/etc/ca-certificates", "/etc/group", "/etc/hosts", "/etc/ld.so.cache", "/etc/localtime",
	"/etc/nsswitch.conf", "/etc/passwd", "/etc/resolv.conf", "/etc/ssl",
}
