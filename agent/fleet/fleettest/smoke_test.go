package fleettest

import (
	"testing"
	"time"
)

func TestSmoke(t *testing.T) {
	w := New(Options{Seed: 1, Traced: true})
	w.Nodes(3, time.Second)
	w.Want(service("web", plain, 6, "1", 100))
	w.Want(service("db", single, 1, "1", 100))
	w.Want(service("agent", everyNode, 0, "1", 100))
	w.Commit("first")
	w.Run(60 * time.Second)
	w.Want(changed(w.wanted.services[service("web", plain, 6, "1", 100).ID], "2"))
	w.Commit("second")
	w.Run(120 * time.Second)
	w.machines[0].off()
	w.Run(300 * time.Second)
	t.Log("\n" + w.Tail(400))
	if err := w.Broken(); err != nil {
		t.Fatal(err)
	}
}
