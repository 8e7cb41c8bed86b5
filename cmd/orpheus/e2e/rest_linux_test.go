package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// fleetsAtRest: nodes that reach each other push nothing for a minute, and
// those that do not push only beats, which the server has room for.
func fleetsAtRest(t *testing.T) {
	calm := restingFleet(t, "")
	silent := restingFleet(t, "peer: {listen: none}\n")
	pushes, refs := calm.countPushes(), calm.refs()
	beats := silent.watchBeats(time.Minute)
	if now := pushes(); now != 0 {
		t.Errorf("a fleet at rest made %d pushes in a minute", now)
	}
	if now := calm.refs(); !maps.Equal(now, refs) {
		t.Errorf("records of a fleet at rest changed: %v became %v", refs, now)
	}
	if beats < 3*len(silent.Nodes) {
		t.Errorf("%d beats in a minute of %d nodes without peers", beats, len(silent.Nodes))
	}
	// They see each other die all the same.
	n := silent.Nodes[2]
	silent.must(n.Kill())
	took := silent.await("a node without peers is missed", 3*time.Minute, func(all []*api.Status) string {
		return placesOf(all).exactly(map[string]int{"web": 3})
	})
	t.Logf("a node without peers dies: its work runs elsewhere after %s", took.Round(time.Second))
}

// restingFleet is one in which nothing has changed for a while.
func restingFleet(t *testing.T, config string) *fleet {
	t.Helper()
	f := newFleet(t, devfleet.ClusterOptions{Driver: planner.DriverProcess, Nodes: 3, Config: config})
	web := map[string]int{"web": 3}
	f.begin(map[string]string{"fleet.yaml": three, "web.yaml": f.manifest(spec{name: "web", replicas: 3})}, web)
	// Nobody has anything to say about the start any more.
	began, last := time.Now(), f.refs()
	for quiet := time.Now(); time.Since(quiet) < 8*time.Second; time.Sleep(200 * time.Millisecond) {
		now := f.refs()
		for ref := range now {
			if config != "" && strings.HasPrefix(ref, prefix+"beats/") {
				now[ref] = last[ref]
			}
		}
		if !maps.Equal(now, last) {
			quiet, last = time.Now(), now
		}
		if time.Since(began) > patience {
			t.Fatalf("the fleet does not come to rest: %v", f.refs())
		}
	}
	return f
}

// countPushes has the server count, in a hook.
func (f *fleet) countPushes() (count func() int) {
	f.t.Helper()
	file := filepath.Join(f.Repo.Dir, "pushes")
	hook := "#!/bin/sh\necho push >> '" + file + "'\n"
	f.must(os.WriteFile(filepath.Join(f.Repo.Dir, "hooks", "pre-receive"), []byte(hook), 0o755))
	return func() int {
		text, err := os.ReadFile(file)
		if err != nil && !os.IsNotExist(err) {
			f.t.Fatal(err)
		}
		return strings.Count(string(text), "\n")
	}
}

// watchBeats watches the server for a while: nothing but beats may change, each
// is one of the 64 of its node's ring, and no object comes but them. It returns
// how many there were.
func (f *fleet) watchBeats(lasts time.Duration) (beats int) {
	f.t.Helper()
	rings := map[string]*planner.Beats{}
	for _, n := range f.Nodes {
		m := f.record(planner.NodeRef(planner.NodeName(n.Name)))
		rec, err := planner.ParseNodeRecord(m.Parts[0].Body)
		f.must(err)
		rings[prefix+"beats/"+n.Name] = planner.Ring(rec.Node, rec.Salt)
	}
	objects, last, seen := f.objects(), f.refs(), map[string]bool{}
	for _, hash := range last {
		seen[hash] = true
	}
	fresh := 0
	look := func() {
		now := f.refs()
		for ref, hash := range now {
			ring := rings[ref]
			switch {
			case hash == last[ref]:
				continue
			case ring == nil:
				f.t.Errorf("%s changed at rest", ref)
			default:
				beats++
				if _, ok := ring.Index(planner.Hash(hash)); !ok {
					f.t.Errorf("%s is %s, which is none of its ring", ref, hash)
				}
			}
			if !seen[hash] {
				seen[hash], fresh = true, fresh+1
			}
		}
		last = now
	}
	for until := time.Now().Add(lasts); time.Now().Before(until); time.Sleep(200 * time.Millisecond) {
		look()
	}
	// The object of a beat is there a moment before its ref is.
	added := f.objects() - objects
	for deadline := time.Now().Add(5 * time.Second); added > fresh && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		look()
	}
	if added > fresh {
		f.t.Errorf("%d beats added %d objects to the server", beats, added)
	} else {
		f.t.Logf("%d beats added %d objects to the server, of the 64 that each node ever adds", beats, added)
	}
	return beats
}

// objects counts what the server keeps.
func (f *fleet) objects() int {
	f.t.Helper()
	text, err := f.Repo.Git("", "cat-file", "--batch-all-objects", "--batch-check=%(objectname)")
	f.must(err)
	count := map[string]bool{}
	for line := range strings.Lines(text) {
		count[strings.TrimSpace(line)] = true
	}
	if len(count) == 0 {
		f.t.Fatal(fmt.Errorf("the server keeps nothing: %q", text))
	}
	return len(count)
}
