package devfleet

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
)

// Status asks the agent.
func (n *Node) Status(ctx context.Context) (*api.Status, error) {
	client, err := api.NewClient(n.Socket())
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return client.Status(ctx)
}

// Await asks the agent until what says "" or ctx ends; then the error holds
// what was still missing. An agent that is starting is waited for.
func (n *Node) Await(ctx context.Context, what func(*api.Status) (missing string)) error {
	return await(ctx, func() string {
		st, err := n.Status(ctx)
		if err != nil {
			return err.Error()
		}
		return what(st)
	})
}

// await asks until nothing is missing.
func await(ctx context.Context, ask func() (missing string)) error {
	last := "no answer yet"
	for {
		if missing := ask(); missing == "" {
			return nil
		} else if ctx.Err() == nil {
			last = missing
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("waited in vain: %s", last)
		}
	}
}

// Settled says which service is not yet as its manifest asks.
func Settled(st *api.Status) (missing string) {
	if st.Repository.Applied.Hash == "" {
		return "no commit is in force yet"
	}
	for _, s := range st.Services {
		if s.Ready != s.Replicas || s.Updated != s.Replicas || len(s.Instances) != s.Replicas {
			return fmt.Sprintf("%s has %d of %d ready, %d updated, %d instances: %s",
				s.Name, s.Ready, s.Replicas, s.Updated, len(s.Instances), s.Message)
		}
	}
	return ""
}

// SettledAt is Settled at a commit.
func SettledAt(commit string) func(*api.Status) string {
	return func(st *api.Status) string {
		if st.Repository.Applied.Hash != commit {
			return fmt.Sprintf("commit %.8s is in force, not %.8s (refused: %q)", st.Repository.Applied.Hash, commit, st.Repository.Refused)
		}
		return Settled(st)
	}
}

// PIDs lists the processes of a service by slot, of its first container.
func PIDs(st *api.Status, service string) map[string]int {
	pids := map[string]int{}
	for _, s := range st.Services {
		for _, i := range s.Instances {
			if s.Name == service && len(i.Containers) > 0 && i.Containers[0].State == "running" {
				pids[i.Slot] = i.Containers[0].PID
			}
		}
	}
	return pids
}

// Open lists the file descriptors of a process.
func Open(pid int) []string {
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	var out []string
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil {
			out = append(out, target)
		}
	}
	return out
}
