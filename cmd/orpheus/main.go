// Command orpheus keeps a machine in the state that a Git repository asks
// for, and tells people about it. Each verb has a file of its own; the verbs
// for laptops build on every system, the node's on Linux.
package main

import (
	"context"
	"os"

	"github.com/orpheus-cd/orpheus/runtime/process"
)

func main() {
	process.MaybeShim()
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}
