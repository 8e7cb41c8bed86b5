//go:build linux

// Command orpheus-demo tells the story of one node on this machine, with real
// parts: a Git server, an image registry, a containerd of its own and the
// agent, all on loopback in a network namespace made for it. Without root or
// containerd it tells the same story with plain processes. At the end nothing
// is left.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime/containerd/containerdtest"
)

func main() {
	orpheus := flag.String("orpheus", "bin/orpheus", "the orpheus binary to show")
	driver := flag.String("driver", "", "containerd or process (default: containerd where it can run)")
	flag.Parse()
	done, code, err := devfleet.Isolate()
	if done {
		os.Exit(code)
	}
	if err == nil {
		err = run(*orpheus, *driver)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

func run(orpheus, driver string) error {
	if _, err := exec.LookPath("git"); err != nil {
		return errors.New("git is not on PATH: install it and try again")
	}
	if driver == "" {
		driver = planner.DriverContainerd
		if why := containerdtest.Missing(); why != "" {
			say("Containers cannot run here (%s), so the demo runs plain processes.", why)
			driver = planner.DriverProcess
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s, err := newStory(ctx, orpheus, driver)
	if err != nil {
		return err
	}
	err = s.tell(ctx)
	if err != nil {
		fmt.Fprintf(os.Stderr, "\nthe agent's last words:\n%s\n", s.fleet.AgentLog(20))
	}
	return errors.Join(err, s.fleet.Close())
}
