package runtimetest

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

func fakeWorkload(id string) runtime.Workload {
	return runtime.Workload{
		ID: id, Slot: planner.SlotID{Service: planner.ServiceID{Namespace: "default", Name: id}, Name: "0"},
		Containers: []runtime.Container{{Name: "main", Image: "app:1"}}, Grace: 30 * time.Second,
	}
}

// inBubble prepares a fake with the image app:1 in simulated time.
func inBubble(t *testing.T, test func(t *testing.T, f *Fake)) {
	synctest.Test(t, func(t *testing.T) {
		f := NewFake("fake")
		if _, err := f.Prepare(t.Context(), fakeWorkload("x"), nil); err != nil {
			t.Fatal(err)
		}
		test(t, f)
	})
}

func TestFakeTimesAreSimulated(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Fake) {
		f.Behave(func(runtime.Workload, runtime.Container) Behaviour {
			return Behaviour{StartDelay: 10 * time.Second, RunFor: time.Hour, Exit: &planner.Exit{Code: 9}}
		})
		begin := time.Now()
		if err := f.Start(t.Context(), fakeWorkload("a")); err != nil || time.Since(begin) != 10*time.Second {
			t.Fatalf("Start: %v after %s; want success after 10s", err, time.Since(begin))
		}
		exit, err := f.Wait(t.Context(), "a")
		if err != nil || exit.Code != 9 || time.Since(begin) != time.Hour+10*time.Second {
			t.Errorf("Wait: %+v, %v after %s", exit, err, time.Since(begin))
		}
	})
}

func TestFakeDeafInstanceIsKilledAfterGrace(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Fake) {
		f.Behave(func(runtime.Workload, runtime.Container) Behaviour { return Behaviour{Deaf: true} })
		if err := f.Start(t.Context(), fakeWorkload("a")); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if err := f.Stop(t.Context(), "a", 30*time.Second); err != nil || time.Since(begin) != 30*time.Second {
			t.Errorf("Stop: %v after %s", err, time.Since(begin))
		}
		if exit, _ := f.Wait(t.Context(), "a"); exit.Signal != 9 {
			t.Errorf("exit is %+v; want signal 9", exit)
		}
	})
}

func TestFakeStartCutOff(t *testing.T) {
	for _, leave := range []bool{false, true} {
		inBubble(t, func(t *testing.T, f *Fake) {
			f.LeavePartial(leave)
			f.Behave(func(runtime.Workload, runtime.Container) Behaviour { return Behaviour{StartDelay: time.Minute} })
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := f.Start(ctx, fakeWorkload("a")); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Start: %v", err)
			}
			have := f.Listing()
			if partial := len(have) == 1 && have[0].State == planner.StatePartial; partial != leave {
				t.Errorf("leave %t: listed %+v", leave, have)
			}
			if err := f.Start(t.Context(), fakeWorkload("a")); err != nil {
				t.Errorf("Start after one that was cut off: %v", err)
			}
		})
	}
}

func TestFakeUnavailable(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Fake) {
		if err := f.Start(t.Context(), fakeWorkload("a")); err != nil {
			t.Fatal(err)
		}
		hints, err := f.Watch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		waited := make(chan error)
		go func() { _, err := f.Wait(t.Context(), "a"); waited <- err }()
		synctest.Wait()
		f.SetUnavailable(true)
		if err := <-waited; !errors.Is(err, runtime.ErrUnavailable) {
			t.Errorf("Wait: %v; want ErrUnavailable", err)
		}
		for range hints { // closed with the backend
		}
		if _, err := f.List(t.Context()); !errors.Is(err, runtime.ErrUnavailable) {
			t.Errorf("List: %v; want ErrUnavailable", err)
		}
		f.SetUnavailable(false)
		if have, err := f.List(t.Context()); err != nil || len(have) != 1 || have[0].State != planner.StateRunning {
			t.Errorf("List: %+v, %v; want the instance still running", have, err)
		}
	})
}

func TestFakeVanishAndExit(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Fake) {
		for _, id := range []string{"a", "b"} {
			if err := f.Start(t.Context(), fakeWorkload(id)); err != nil {
				t.Fatal(err)
			}
		}
		waited := make(chan error)
		go func() { _, err := f.Wait(t.Context(), "a"); waited <- err }()
		synctest.Wait()
		if !f.Vanish("a") || f.Vanish("a") {
			t.Error("Vanish tells wrongly whether there was an instance")
		}
		if err := <-waited; !errors.Is(err, runtime.ErrNotFound) {
			t.Errorf("Wait: %v; want ErrNotFound", err)
		}
		if !f.Exit("b", planner.Exit{Code: 1, OOM: true}) || f.Exit("b", planner.Exit{}) {
			t.Error("Exit tells wrongly whether it ran")
		}
		if have := f.Listing(); len(have) != 1 || have[0].Exit == nil || !have[0].Exit.OOM {
			t.Errorf("listed %+v", have)
		}
		last := f.History()[len(f.History())-1]
		if last.Instance.ID != "b" || last.Instance.State != planner.StateExited {
			t.Errorf("the last event is %+v", last)
		}
	})
}

func TestFakeImagesMove(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Fake) {
		w := fakeWorkload("a")
		w.Containers[0].Image = "web:1"
		first := f.PushImage("web:1")
		f.SetPullTime(time.Minute)
		results := make(chan map[string]string)
		for range 5 {
			go func() { d, _ := f.Prepare(t.Context(), w, nil); results <- d }()
		}
		for range 5 {
			if d := <-results; d["web:1"] != first {
				t.Errorf("digest is %v; want %s", d, first)
			}
		}
		if n := len(f.Called("Pull")) - 1; n != 1 { // one was app:1
			t.Errorf("%d pulls for five calls at once; want 1", n)
		}
		second := f.PushImage("web:1")
		f.SetRegistry(ErrRegistryDown)
		if _, err := f.Prepare(t.Context(), w, nil); !errors.Is(err, ErrRegistryDown) {
			t.Errorf("Prepare without registry: %v", err)
		}
		w.Containers[0].Digest = first
		if d, err := f.Prepare(t.Context(), w, nil); err != nil || d["web:1"] != first {
			t.Errorf("Prepare of a digest that is there: %v, %v", d, err)
		}
		f.SetRegistry(nil)
		w.Containers[0].Digest = ""
		if d, err := f.Prepare(t.Context(), w, nil); err != nil || d["web:1"] != second {
			t.Errorf("Prepare after a push: %v, %v; want %s", d, err, second)
		}
	})
}

func TestFakeHookIsPerInstance(t *testing.T) {
	inBubble(t, func(t *testing.T, f *Fake) {
		boom := errors.New("boom")
		f.Before(func(ctx context.Context, c Call) error {
			if c.Verb == "Start" && c.ID == "bad" {
				return boom
			}
			return nil
		})
		if err := f.Start(t.Context(), fakeWorkload("bad")); !errors.Is(err, boom) {
			t.Errorf("Start: %v; want the hook's error", err)
		}
		if err := f.Start(t.Context(), fakeWorkload("good")); err != nil {
			t.Errorf("Start: %v", err)
		}
		starts := f.Called("Start")
		if len(starts) != 2 || starts[0].ID != "bad" || starts[0].Err != boom || starts[1].Err != nil || starts[1].End.IsZero() {
			t.Errorf("the log is %+v", starts)
		}
	})
}

func TestFakeNetworkAndVolumes(t *testing.T) {
	n := NewFakeNetwork()
	first, err := n.Attach(t.Context(), "a", runtime.Names{Hostname: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := n.Attach(t.Context(), "a", runtime.Names{Hostname: "a"}); again != first {
		t.Errorf("second Attach: %+v; want %+v", again, first)
	}
	if err := n.Sweep(t.Context(), nil); err != nil || len(n.Attached()) != 0 {
		t.Errorf("after Sweep: %v, %v", n.Attached(), err)
	}
	v := NewFakeVolumes()
	asked := 0
	file := func(string) ([]byte, error) { asked++; return nil, nil }
	volumes := []planner.Volume{
		{Name: "data", Local: &planner.LocalVolume{}}, {Name: "conf", File: &planner.FileVolume{SHA256: "ab"}},
	}
	for _, id := range []string{"a", "b"} {
		if _, err := v.Mount(t.Context(), id, planner.SlotID{Name: "0"}, volumes, runtime.Owner{}, file); err != nil {
			t.Fatal(err)
		}
	}
	local, err := v.Local(t.Context())
	if asked != 1 || err != nil || len(local) != 1 || len(v.Mounted()) != 2 {
		t.Errorf("asked %d times, local %+v, mounted %v, %v", asked, local, v.Mounted(), err)
	}
}
