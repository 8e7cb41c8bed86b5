package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/runtime/containerd/containerinit"
)

// The first process of a container does not bring the agent along: it is there
// before most packages are initialised, whatever they import one day.
func TestContainerInitIsSmall(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	trace := func(name string) []string {
		t.Helper()
		c := exec.Command(self, "-test.run=^$")
		c.Args[0], c.Env = name, append(os.Environ(), "GODEBUG=inittrace=1")
		if name == containerinit.Path {
			c.Args = []string{name, "true"}
		}
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		var packages []string
		for line := range strings.Lines(string(out)) {
			if words := strings.Fields(line); len(words) > 1 && words[0] == "init" {
				packages = append(packages, words[1])
			}
		}
		return packages
	}
	all, few := trace(self), trace(containerinit.Path)
	if len(few) == 0 || len(few) > 50 || len(all) < 4*len(few) {
		t.Errorf("%d of %d packages are initialised before it: %q", len(few), len(all), few)
	}
}
