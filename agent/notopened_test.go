package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// opens publishes ports of a service on every node.
func opens(ports ...int) func(*planner.Service) {
	return func(s *planner.Service) {
		for _, p := range ports {
			s.Ports = append(s.Ports, planner.Port{Container: 8080, Protocol: "tcp", Publish: &planner.Publish{Port: p}})
		}
	}
}

// A port that cannot be opened is told at its own service and as a problem of
// its own, and all else stands; it is opened when it can be.
func TestPortThatCannotBeOpened(t *testing.T) {
	inWorld(t, func(w *world) {
		const listens = "a program of this machine listens there"
		w.network.LeaveOut(func(f runtime.Front) string {
			if f.Kind == runtime.FrontPublished && f.Port < 8082 {
				return listens
			}
			return ""
		})
		w.commit(service("web", "a", served(80), opens(8080, 8081)), service("db", "b", served(5432), opens(8082)))
		w.settle(5 * time.Second)
		e := w.agent.Endpoints()
		if e.Balanced.Published != 1 || e.Balanced.Error != "" || !e.Balanced.ErrorSince.IsZero() {
			t.Errorf("all is said not to be in force: %+v", e.Balanced)
		}
		var told []string
		for _, n := range addressOf(w.agent, "web").NotOpened {
			told = append(told, n.String())
		}
		want := []string{"port 8080/tcp of web is not opened: " + listens, "port 8081/tcp of web is not opened: " + listens}
		if !slices.Equal(told, want) || len(addressOf(w.agent, "db").NotOpened) != 0 {
			t.Errorf("endpoints tell %q, and %v of db, want %q", told, addressOf(w.agent, "db").NotOpened, want)
		}
		st := w.agent.Status()
		if !slices.Equal(st.Problems, want) || len(st.NotOpened) != 2 || st.NotOpened[0].ID().Name != "web" {
			t.Errorf("problems %q, not opened %v, want %q", st.Problems, st.NotOpened, want)
		}
		if got := frontsOf(w.network, runtime.FrontPublished); len(got) != 1 || !strings.HasPrefix(got[0], ":8082 → ") {
			t.Errorf("published are %q", got)
		}
		w.network.LeaveOut(nil)
		w.settle(2 * time.Minute)
		if st := w.agent.Status(); len(st.Problems)+len(st.NotOpened)+len(addressOf(w.agent, "web").NotOpened) != 0 || len(frontsOf(w.network, runtime.FrontPublished)) != 3 {
			t.Errorf("problems %q, published %q once nothing listens there any more", st.Problems, frontsOf(w.network, runtime.FrontPublished))
		}
	})
}

// Two services of a port that both want are told at the one that has not got it.
func TestPortOfAnotherService(t *testing.T) {
	w := &Agent{}
	w.opened([]runtime.Front{
		{Kind: runtime.FrontPublished, Service: planner.ServiceID{Namespace: "default", Name: "a"}, Port: 80, Protocol: "tcp"},
		{Kind: runtime.FrontPublished, Service: planner.ServiceID{Namespace: "default", Name: "b"}, Port: 80, Protocol: "tcp"},
	})
	if got := fmt.Sprint(w.balance.notOpened()); !strings.Contains(got, "80/tcp of b is not opened: service a has it") || strings.Contains(got, "of a ") {
		t.Errorf("not opened: %s", got)
	}
}

// What keeps all of it from standing is an error since a time, on one line.
func TestBalancingThatDoesNotStand(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		left int
	}{
		{"nothing", nil, 0},
		{"a port", fmt.Errorf("balance: %w", runtime.LeftOutError{{Reason: "x"}}), 1},
		{"no sense", fmt.Errorf("range: %w", runtime.ErrInvalid), -1},
		{"the kernel", errors.Join(errors.New("a"), errors.New("b")), -1},
	} {
		left, err := stood(c.err)
		if (err != nil) != (c.left < 0) || len(left) != max(c.left, 0) {
			t.Errorf("%s: left out %v, %v", c.name, left, err)
		}
	}
	if got := oneLine(errors.Join(errors.New("a"), errors.New("b"))); got != "a; b" {
		t.Errorf("one line: %q", got)
	}
}
