//go:build linux

// Command orpheus-demo tells the story of a fleet of three nodes on this
// machine, with real parts: a Git server, an image registry, and nodes with a
// network, a containerd and an agent each, all in a network namespace made for
// it. Without root or containerd the nodes run plain processes. At the end
// nothing is left.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
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
	if driver == "" {
		driver = planner.DriverContainerd
		if why := devfleet.Missing(driver); why != "" {
			say("Containers cannot run here (%s), so the demo runs plain processes.", why)
			driver = planner.DriverProcess
		}
	}
	if why := devfleet.Missing(driver); why != "" {
		return errors.New(why)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s, err := newStory(ctx, orpheus, driver)
	if err != nil {
		return err
	}
	err = s.tell(ctx)
	switch {
	case ctx.Err() != nil:
		err = errors.New("interrupted")
	case err != nil:
		for _, n := range s.Nodes {
			fmt.Fprintf(os.Stderr, "\nthe last words of %s:\n%s\n", n.Name, n.AgentLog(10))
		}
	}
	return errors.Join(err, s.close())
}
