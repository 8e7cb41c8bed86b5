package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

// TestRestQuiet: at rest there is a listing per driver and interval, a pass for
// it, and nothing else.
func TestRestQuiet(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a", replicas(3), published(80)), service("db", "b", withVolume))
		w.settle(time.Minute)
		w.driver.ForgetCalls()
		w.network.ForgetCalls()
		w.volumes.ForgetCalls()
		w.settle(10 * time.Minute)
		count := map[string]int{}
		for _, calls := range [][]runtimetest.Call{w.driver.Called(), w.network.Called(), w.volumes.Called()} {
			for _, c := range calls {
				count[c.Verb]++
			}
		}
		// 60 intervals of 10 s; sweeps, and infos of driver and network, are now and then.
		for verb, limit := range map[string]int{"List": 61, "Info": 7, "Balance": 61, "Sweep": 6} {
			if count[verb] > limit {
				t.Errorf("%d × %s in ten minutes, want at most %d", count[verb], verb, limit)
			}
			delete(count, verb)
		}
		if len(count) > 0 {
			t.Errorf("calls at rest: %v", count)
		}
	})
}

// TestStaleListingStartsNothingTwice: a listing that began before a start
// ended and comes in after it does not show the instance; it is not started
// again for that.
func TestStaleListingStartsNothingTwice(t *testing.T) {
	inWorld(t, func(w *world) {
		stale := &staleDriver{Fake: w.driver}
		w.crash()
		w.more = map[string]runtime.Driver{planner.DriverContainerd: stale}
		w.driver.Behave(func(runtime.Workload, runtime.Container) runtimetest.Behaviour {
			return runtimetest.Behaviour{StartDelay: 2500 * time.Millisecond}
		})
		w.start()
		w.settle(time.Second)
		w.commit(service("web", "a", replicas(5)), service("db", "b", withVolume))
		w.settle(time.Minute)
		if n := len(w.driver.Called("Start")); n != 6 {
			t.Errorf("%d starts, want 6", n)
		}
		w.wantRunning("db-0 b", "web-0 a", "web-1 a", "web-2 a", "web-3 a", "web-4 a")
	})
}

// staleDriver answers a listing two seconds after it looked.
type staleDriver struct{ *runtimetest.Fake }

func (d *staleDriver) List(ctx context.Context) ([]planner.Instance, error) {
	have, err := d.Fake.List(ctx)
	select {
	case <-time.After(2 * time.Second):
	case <-ctx.Done():
	}
	return have, err
}

// TestNothingRemovedBeforeGit: with the state lost and Git down, not even what
// has ended is removed: it is all that is known.
func TestNothingRemovedBeforeGit(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a"))
		w.settle(3 * time.Second)
		w.crash()
		w.state = filepath.Join(w.state, "lost")
		w.repo.fail(errors.New("connection refused"))
		w.driver.Reboot()
		w.start()
		w.settle(time.Minute)
		if len(w.ids()) != 1 {
			t.Errorf("instances %v, want the one that ended", w.ids())
		}
		w.repo.fail(nil)
		w.settle(10 * time.Second)
		w.wantRunning("web-0 a")
	})
}

// TestStopIsNoFailure: an instance that the agent stops has not failed.
func TestStopIsNoFailure(t *testing.T) {
	var told trace
	inWorld(t, func(w *world) {
		w.crash()
		w.log = newTail(&told)
		w.driver.Behave(func(runtime.Workload, runtime.Container) runtimetest.Behaviour {
			return runtimetest.Behaviour{StopDelay: 3 * time.Second}
		})
		w.driver.Before(func(_ context.Context, c runtimetest.Call) error {
			if c.Verb == "Remove" {
				time.Sleep(3 * time.Second)
			}
			return nil
		})
		w.start()
		w.commit(service("web", "a"), service("db", "b", withVolume))
		w.settle(5 * time.Second)
		w.commit(service("web", "b"), service("db", "c", withVolume))
		w.settle(30 * time.Second)
		w.wantRunning("db-0 c", "web-0 b")
		for _, line := range strings.Split(told.last(1000), "\n") {
			if strings.Contains(line, "instance ended") || strings.Contains(line, "instance is gone") {
				t.Error(line)
			}
		}
	})
}

// TestSweepSparesWhatBeginsMeanwhile: a service that comes while a sweep is
// under way is not swept away.
func TestSweepSparesWhatBeginsMeanwhile(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a"))
		w.settle(5 * time.Second)
		w.driver.Before(func(_ context.Context, c runtimetest.Call) error {
			if c.Verb == "Sweep" {
				time.Sleep(5 * time.Second)
			}
			return nil
		})
		for len(w.driver.Called("Sweep")) < 2 {
			w.settle(time.Second)
		}
		w.commit(service("web", "a"), service("api", "b"))
		w.settle(20 * time.Second)
		w.wantRunning("api-0 b", "web-0 a")
		for _, e := range w.driver.History() {
			if e.Removed {
				t.Errorf("%s was removed", e.Instance.ID)
			}
		}
	})
}

// TestShutdownWithFullMailbox: workers that have much to say do not keep the
// agent from ending.
func TestShutdownWithFullMailbox(t *testing.T) {
	inWorld(t, func(w *world) {
		w.settle(time.Second)
		block := make(chan struct{})
		a := w.agent
		a.post(func() { <-block })
		for range 1000 {
			a.work(func() { a.post(func() {}) })
		}
		synctest.Wait()
		w.kill()
		close(block)
		w.settle(time.Second)
		select {
		case <-w.ended:
		default:
			t.Error("the agent has not ended")
		}
	})
}

// TestTimerDuringPass: what falls due while a pass lasts is not put off until
// something else happens.
func TestTimerDuringPass(t *testing.T) {
	inWorld(t, func(w *world) {
		w.settle(time.Second)
		woke := make(chan struct{})
		w.agent.post(func() {
			now := w.agent.cfg.Clock().Boot
			w.agent.schedule(planner.Plan{Next: now - 5*time.Millisecond}, now-10*time.Millisecond)
			select {
			case <-w.agent.timer.C:
			case <-time.After(time.Second):
				t.Error("the timer was set past what is due")
			}
			close(woke)
		})
		<-woke
	})
}

// TestUnreadableNetworkClosesNoPort: attachments that cannot be read at the
// agent's start leave the kernel's ports as they are.
func TestUnreadableNetworkClosesNoPort(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a", replicas(2), published(80)))
		w.settle(5 * time.Second)
		w.crash()
		broken := true
		w.network.Before(func(context.Context, runtimetest.Call) error {
			if broken {
				return errors.New("netlink: no buffer space")
			}
			return nil
		})
		w.network.ForgetCalls()
		w.start()
		w.settle(30 * time.Second)
		w.network.Before(func(_ context.Context, c runtimetest.Call) error {
			if c.Verb == "Attachments" {
				return errors.New("netlink: no buffer space")
			}
			return nil
		})
		w.settle(30 * time.Second)
		if p := w.network.Published(); len(p) != 1 || len(p[0].Targets) != 2 {
			t.Errorf("published %v, want both targets", p)
		}
		w.network.Before(nil)
		w.settle(45 * time.Second)
		if p := w.network.Published(); len(p[0].Targets) != 2 || len(w.agent.Status().Problems) > 0 {
			t.Errorf("published %v, problems %q after the network works again", p, w.agent.Status().Problems)
		}
	})
}

// TestUnreachableNetworkEndsNoTarget: while the kernel cannot be told, what it
// leads connections to is not replaced; but not for ever.
func TestUnreachableNetworkEndsNoTarget(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a", published(80)))
		w.settle(5 * time.Second)
		full := func(_ context.Context, c runtimetest.Call) error {
			if c.Verb == "Balance" {
				return errors.New("netlink: no buffer space")
			}
			return nil
		}
		w.network.Before(full)
		w.commit(service("web", "b", published(80)))
		w.settle(30 * time.Second)
		w.wantRunning("web-0 a", "web-0 b")
		w.network.Before(nil)
		w.settle(10 * time.Second)
		w.wantRunning("web-0 b")

		w.network.Before(full)
		w.commit(service("web", "c", published(80)))
		w.settle(20 * time.Second)
		w.crash()
		w.start() // which does not know what the kernel was told
		w.settle(30 * time.Second)
		w.wantRunning("web-0 b", "web-0 c")
		w.settle(2 * time.Minute)
		w.wantRunning("web-0 c")
	})
}

// TestSilentNetworkEndsNoTarget: as long as the network has not answered a new
// agent, what a former one led connections to is not replaced; but not for ever.
func TestSilentNetworkEndsNoTarget(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a", published(80)))
		w.settle(5 * time.Second)
		w.network.Before(func(ctx context.Context, c runtimetest.Call) error {
			if c.Verb == "Info" || c.Verb == "Balance" {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		w.commit(service("web", "b", published(80)))
		w.settle(5 * time.Second)
		w.crash()
		w.start()
		w.settle(9 * time.Second)
		w.wantRunning("web-0 a", "web-0 b")
		w.settle(3 * time.Minute)
		w.wantRunning("web-0 b")
	})
}

// TestStartWithoutAnswer: a start whose backend went away may have worked. If
// so the instance is found, published, and not started again.
func TestStartWithoutAnswer(t *testing.T) {
	inWorld(t, func(w *world) {
		w.crash()
		w.more = map[string]runtime.Driver{planner.DriverContainerd: &silentDriver{Fake: w.driver}}
		w.start()
		w.commit(service("web", "a", published(80)))
		w.settle(20 * time.Second)
		w.wantRunning("web-0 a")
		if n := len(w.driver.Called("Start")); n != 1 {
			t.Errorf("%d starts, want 1", n)
		}
		if p := w.network.Published(); len(p) != 1 || len(p[0].Targets) != 1 {
			t.Errorf("published %v, want one target", p)
		}
	})
}

// silentDriver loses the answers of starts.
type silentDriver struct{ *runtimetest.Fake }

func (d *silentDriver) Start(ctx context.Context, w runtime.Workload) error {
	if err := d.Fake.Start(ctx, w); err != nil {
		return err
	}
	return fmt.Errorf("start: %w", runtime.ErrUnavailable)
}

// TestPinsAreWrittenFirst: when a start begins, the lease and the digest it
// starts from are on disk.
func TestPinsAreWrittenFirst(t *testing.T) {
	inWorld(t, func(w *world) {
		path := filepath.Join(w.state, statePath)
		w.driver.Before(func(_ context.Context, c runtimetest.Call) error {
			if c.Verb != "Start" {
				return nil
			}
			st, err := loadState(path)
			doc := st.docs[planner.ServiceID{Namespace: "default", Name: "web"}]
			if err != nil || len(doc.Leases) == 0 || len(doc.Images[doc.Leases[len(doc.Leases)-1].Revision]) == 0 {
				t.Errorf("started before it was written: %v, %+v", err, doc)
			}
			return nil
		})
		for _, image := range []string{"a", "b", "c"} {
			w.commit(service("web", image))
			w.settle(10 * time.Second)
			w.wantRunning("web-0 " + image)
		}
	})
}

// TestFullDiskKeepsNode: what cannot be written is not done, what runs heals,
// and all is made up for when there is room.
func TestFullDiskKeepsNode(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a"), service("api", "b"))
		w.settle(5 * time.Second)
		blocker := filepath.Join(w.state, statePath+".new")
		if err := os.MkdirAll(blocker, 0o700); err != nil {
			t.Fatal(err)
		}
		w.commit(service("web", "c"))
		w.settle(30 * time.Second)
		w.driver.Vanish(w.ids()[0])
		w.settle(30 * time.Second)
		w.wantRunning("api-0 b", "web-0 a")
		if p := w.agent.Status().Problems; len(p) != 1 || !strings.Contains(p[0], "until it can be written") {
			t.Errorf("problems %q", p)
		}
		if err := os.Remove(blocker); err != nil {
			t.Fatal(err)
		}
		w.settle(30 * time.Second)
		w.wantRunning("web-0 c")
	})
}

// TestStopsWaitForAnOwnRead: what the state on disk would stop runs on until
// this process has read the repository itself.
func TestStopsWaitForAnOwnRead(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a", replicas(2)))
		w.settle(5 * time.Second)
		path := filepath.Join(w.state, statePath)
		w.crash()
		old, err := loadState(path)
		if err != nil {
			t.Fatal(err)
		}
		for id, doc := range old.docs {
			doc.Leases = doc.Leases[:1]
			old.docs[id] = doc
		}
		if err := old.save(path, false); err != nil {
			t.Fatal(err)
		}
		w.repo.fail(errors.New("connection refused"))
		w.start()
		events := len(w.driver.History())
		w.settle(5 * time.Minute)
		if n := len(w.driver.History()) - events; n != 0 {
			t.Errorf("%d changes of instances, want none", n)
		}
	})
}

// TestTipComesBack: a branch that returns from a refused commit to the one in
// force leaves no refusal behind.
func TestTipComesBack(t *testing.T) {
	inWorld(t, func(w *world) {
		good := w.commit(service("web", "a"))
		w.settle(3 * time.Second)
		w.repo.refuse("fleet.yaml is missing")
		w.settle(3 * time.Second)
		w.repo.mu.Lock()
		w.repo.tip = good
		w.repo.notify()
		w.repo.mu.Unlock()
		w.settle(3 * time.Second)
		if r := w.agent.Status().Repository; r.Refused != "" || r.Applied.Hash != good.Hash {
			t.Errorf("refused %q, applied %s", r.Refused, r.Applied.Short())
		}
	})
}

// TestHangingSweepHoldsUpNobody: while one driver's sweep hangs, drift is
// corrected.
func TestHangingSweepHoldsUpNobody(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a"))
		w.settle(5 * time.Second)
		w.driver.Before(func(ctx context.Context, c runtimetest.Call) error {
			if c.Verb == "Sweep" {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		w.settle(sweepInterval) // one is under way now
		if len(w.driver.Called("Sweep")) < 2 {
			t.Fatal("no sweep")
		}
		w.driver.Vanish(w.ids()[0])
		w.settle(time.Second)
		w.wantRunning("web-0 a")
	})
}

// TestOrphanTokensAreNotGivenAgain: an orphan that a commit does not want is
// stopped when a person agrees; its service, should it come back, gets higher
// tokens.
func TestOrphanTokensAreNotGivenAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		first := w.commit(service("web", "a"))
		w.settle(3 * time.Second)
		old := service("old", "b")
		w.driver.Put(planner.Instance{
			ID: "old-0", Slot: planner.SlotID{Service: old.ID, Name: "0"}, Node: "n1", Token: 41, Revision: old.Revision,
			State: planner.StateRunning, Containers: []planner.ContainerState{{Name: "main", State: planner.StateRunning}},
		})
		w.settle(15 * time.Second)
		w.repo.commit(planner.Desired{Services: byID([]planner.Service{service("web", "a")})}, first.Hash)
		w.settle(15 * time.Second)
		w.wantRunning("web-0 a")
		w.commit(service("web", "a"), old)
		w.settle(5 * time.Second)
		w.wantRunning("old-0 b", "web-0 a")
		if token := w.service("old").Instances[0].Token; token <= 41 {
			t.Errorf("token %d was given before", token)
		}
	})
}
