//go:build linux

package resolver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// agentUnderTest keeps a helper until it is killed.
func agentUnderTest(dir, exe string) {
	h := &Helper{Dir: dir, Exe: exe, Args: []string{helperVerb}}
	h.Watch(context.Background(), func(Health, error) {})
}

// newHelper makes a helper's folder with a zone, and its address. The helper is
// stopped with the test.
func newHelper(t testing.TB, z Zone) (*Helper, string) {
	t.Helper()
	addr := freeAddress(t)
	z.Listen = []string{addr}
	h := &Helper{Dir: t.TempDir(), Args: []string{helperVerb}, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	if err := Write(filepath.Join(h.Dir, ZoneFile), z); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(h.Dir, LogFile))
			t.Logf("the helper's log:\n%s", log)
		}
	})
	return h, addr
}

func ensured(t testing.TB, h *Helper) Health {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	health, err := h.Ensure(ctx)
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(h.Dir, LogFile))
		t.Fatalf("%v\n%s", err, log)
	}
	return health
}

// freeze stops a process, which goes on until the kernel says that it is.
func freeze(t testing.TB, pid int) {
	t.Helper()
	unix.Kill(pid, unix.SIGSTOP)
	eventually(t, "it is frozen", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err == nil && bytes.Contains(stat, []byte(") T "))
	})
}

// versions are n programs that differ in nothing but their hash.
func versions(t testing.TB, n int) []string {
	t.Helper()
	var paths []string
	for i := range n {
		in, err := os.Open("/proc/self/exe")
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), fmt.Sprintf("orpheus-%d", i))
		out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o700)
		if err == nil {
			_, err = io.Copy(out, io.MultiReader(in, strings.NewReader(strconv.Itoa(i))))
		}
		if err == nil {
			err = out.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		in.Close()
		paths = append(paths, path)
	}
	return paths
}

// asker asks without a pause and without trying again, until it is told to end.
type asker struct {
	stop   chan struct{}
	work   sync.WaitGroup
	asked  atomic.Int64
	mu     sync.Mutex
	failed []string
}

func newAsker(t testing.TB, addr string) *asker {
	a := &asker{stop: make(chan struct{})}
	msg := question(t, "web.default.orpheus.internal.", dnsmessage.TypeA)
	other := question(t, "example.com.", dnsmessage.TypeA)
	for _, ask := range []struct {
		network string
		msg     []byte
	}{{"udp", msg}, {"udp", msg}, {"tcp", msg}, {"udp", other}} {
		a.work.Go(func() {
			for {
				select {
				case <-a.stop:
					return
				case <-time.After(time.Millisecond):
				}
				a.asked.Add(1)
				if out, err := exchangeOnce(ask.network, addr, ask.msg, 20*time.Second); err != nil || len(unpack(t, out).Answers) != 1 {
					a.mu.Lock()
					a.failed = append(a.failed, fmt.Sprintf("%s: %v %x", ask.network, err, out))
					a.mu.Unlock()
				}
			}
		})
	}
	return a
}

// more waits until n more questions were answered.
func (a *asker) more(t testing.TB, n int64) {
	t.Helper()
	want := a.asked.Load() + n
	eventually(t, "questions are answered", func() bool { return a.asked.Load() >= want })
}

func (a *asker) end(t testing.TB) {
	t.Helper()
	close(a.stop)
	a.work.Wait()
	t.Logf("%d questions, %d failed", a.asked.Load(), len(a.failed))
	for i, f := range a.failed {
		if i < 5 {
			t.Error(f)
		}
	}
}

// withUpstream is a zone with a name server elsewhere that takes its time.
func withUpstream(t testing.TB) Zone {
	u := newUpstream(t, func(q dnsmessage.Message, _ bool) []byte {
		time.Sleep(50 * time.Millisecond)
		return answered(q, 0, 1)
	})
	z := shop()
	z.Upstream = []string{u.addr}
	return z
}

// The helper goes on when the agent is killed, and the next agent finds it: not
// one question is lost.
func TestHelperOutlivesAgent(t *testing.T) {
	h, addr := newHelper(t, withUpstream(t))
	var agent *exec.Cmd
	startAgent := func() {
		agent = exec.Command("/proc/self/exe", agentVerb, h.Dir, "")
		if err := agent.Start(); err != nil {
			t.Fatal(err)
		}
	}
	killAgent := func() {
		agent.Process.Kill()
		agent.Wait()
	}
	startAgent()
	defer func() { killAgent() }()
	var first Health
	eventually(t, "the helper serves", func() (ok bool) {
		var err error
		first, err = ReadHealth(context.Background(), h.Dir)
		return err == nil
	})
	if sid, err := unix.Getsid(first.PID); err != nil || sid != first.PID {
		t.Errorf("its session is %d: %v", sid, err)
	}
	a := newAsker(t, addr)
	for range 5 {
		a.more(t, 200)
		killAgent()
		a.more(t, 200)
		startAgent()
	}
	a.more(t, 200)
	a.end(t)
	if now := ensured(t, h); now.PID != first.PID {
		t.Errorf("the helper is process %d, was %d", now.PID, first.PID)
	}
}

// Another version takes over while questions come in and wait for others: not
// one is lost, and no process is left.
func TestHelperUpgrade(t *testing.T) {
	exes := versions(t, 2)
	h, addr := newHelper(t, withUpstream(t))
	h.Exe = exes[0]
	pids := map[int]bool{ensured(t, h).PID: true}
	a := newAsker(t, addr)
	const upgrades = 10
	for i := range upgrades {
		a.more(t, 100)
		h.Exe = exes[(i+1)%2]
		pids[ensured(t, h).PID] = true
	}
	a.more(t, 100)
	a.end(t)
	if len(pids) != upgrades+1 {
		t.Errorf("%d processes for %d upgrades", len(pids), upgrades)
	}
	last := ensured(t, h)
	delete(pids, last.PID)
	for pid := range pids {
		eventually(t, "the former processes end", func() bool { return unix.Kill(pid, 0) == unix.ESRCH })
	}
	if len(last.Listening) != 1 || len(last.Faults) != 0 {
		t.Errorf("%+v", last)
	}
}

// A program that cannot serve leaves the one that does alone.
func TestFailedUpgrade(t *testing.T) {
	h, addr := newHelper(t, shop())
	h.Exe = versions(t, 1)[0]
	before := ensured(t, h)
	broken, err := exec.LookPath("false")
	if err != nil {
		t.Skip("there is no program that fails")
	}
	h.Exe = broken
	if health, err := h.Ensure(context.Background()); err == nil || health.PID != before.PID {
		t.Errorf("%+v, %v", health, err)
	}
	if m := asked(t, "udp", addr, question(t, "web.default.", dnsmessage.TypeA)); len(m.Answers) != 1 {
		t.Error("no answer")
	}
}

// A helper that dies is started again at once.
func TestHelperIsStartedAgain(t *testing.T) {
	h, addr := newHelper(t, shop())
	ctx, cancel := context.WithCancel(context.Background())
	var watch sync.WaitGroup
	var pid atomic.Int64
	watch.Go(func() {
		h.Watch(ctx, func(health Health, err error) {
			if err == nil {
				pid.Store(int64(health.PID))
			}
		})
	})
	defer watch.Wait()
	defer cancel()
	eventually(t, "it serves", func() bool { return pid.Load() != 0 })
	msg := question(t, "web.default.", dnsmessage.TypeA)
	for range 3 {
		was := pid.Load()
		killed := time.Now()
		unix.Kill(int(was), unix.SIGKILL)
		eventually(t, "it answers again", func() bool {
			_, err := exchangeOnce("udp", addr, msg, 20*time.Millisecond)
			return err == nil && pid.Load() != was
		})
		t.Logf("answers %s after it was killed", time.Since(killed).Round(time.Millisecond))
	}
}

// However many agents ask for it, a folder has one helper.
func TestOneHelperPerFolder(t *testing.T) {
	h, _ := newHelper(t, shop())
	var mu sync.Mutex
	pids := map[int]bool{}
	var work sync.WaitGroup
	for range 6 {
		work.Go(func() {
			other := &Helper{Dir: h.Dir, Args: h.Args}
			var health Health
			eventually(t, "a helper is there for each", func() (ok bool) {
				var err error
				health, err = other.Ensure(context.Background())
				return err == nil
			})
			mu.Lock()
			defer mu.Unlock()
			pids[health.PID] = true
		})
	}
	work.Wait()
	if len(pids) != 1 {
		t.Errorf("helpers: %v", pids)
	}
}

// A helper that lives and says nothing is replaced, after a while.
func TestSilentHelperIsReplaced(t *testing.T) {
	h, addr := newHelper(t, shop())
	before := ensured(t, h)
	freeze(t, before.PID)
	if _, err := h.Ensure(context.Background()); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("a silent helper: %v", err)
	}
	h.silent = time.Now().Add(-silentTimeout)
	if after := ensured(t, h); after.PID == before.PID {
		t.Error("it was left alone")
	}
	if m := asked(t, "udp", addr, question(t, "web.default.", dnsmessage.TypeA)); len(m.Answers) != 1 {
		t.Error("no answer")
	}
}

// Stop ends the helper and may be repeated; one that is stopped by a signal goes
// too.
func TestStopHelper(t *testing.T) {
	h, addr := newHelper(t, shop())
	msg := question(t, "web.default.", dnsmessage.TypeA)
	for _, stop := range []func(Health) error{
		func(Health) error { return h.Stop(context.Background()) },
		func(now Health) error { return unix.Kill(now.PID, unix.SIGTERM) },
		func(now Health) error { freeze(t, now.PID); return h.Stop(context.Background()) },
	} {
		now := ensured(t, h)
		if err := stop(now); err != nil {
			t.Error(err)
		}
		eventually(t, "it ends", func() bool { return unix.Kill(now.PID, 0) == unix.ESRCH })
		if _, err := exchangeOnce("udp", addr, msg, time.Second); err == nil {
			t.Error("answered after the end")
		}
	}
	if err := h.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	if _, err := ReadHealth(context.Background(), h.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nobody is there, and says %v", err)
	}
}

// A part begins when its file appears, and is there during an upgrade, too.
func TestPartOutlivesAgent(t *testing.T) {
	exes := versions(t, 2)
	h, _ := newHelper(t, shop())
	h.Exe = exes[0]
	ensured(t, h)
	log := func(want string) func() bool {
		return func() bool {
			text, _ := os.ReadFile(filepath.Join(h.Dir, "echo.log"))
			return string(text) == want
		}
	}
	if err := os.WriteFile(filepath.Join(h.Dir, echoPart.File), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the part begins", log("begin\n"))
	h.Exe = exes[1]
	ensured(t, h)
	eventually(t, "the next begins before it ends", log("begin\nbegin\nend\n"))
	if err := h.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "and ends", log("begin\nbegin\nend\nend\n"))
}

// A helper that has handed over and still finishes a part's connections is in
// nobody's way: not when its successor dies, nor when that is replaced.
func TestFormerHelperFinishesItsParts(t *testing.T) {
	exes := versions(t, 3)
	h, addr := newHelper(t, shop())
	slow := filepath.Join(h.Dir, slowPart.File)
	if err := os.WriteFile(slow, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(slow) }) // before the helper is stopped
	h.Exe = exes[0]
	first := ensured(t, h)
	h.Exe = exes[1]
	second := ensured(t, h)
	unix.Kill(second.PID, unix.SIGKILL)
	eventually(t, "the successor is dead", func() bool { _, err := dial(context.Background(), h.Dir); return err != nil })
	third := ensured(t, h)
	h.Exe = exes[2]
	fourth := ensured(t, h)
	if third.PID == second.PID || fourth.PID == third.PID {
		t.Errorf("processes %d, %d, %d, %d", first.PID, second.PID, third.PID, fourth.PID)
	}
	if m := asked(t, "udp", addr, question(t, "web.default.", dnsmessage.TypeA)); len(m.Answers) != 1 {
		t.Error("no answer")
	}
	if err := unix.Kill(first.PID, 0); err != nil {
		t.Errorf("the first did not wait for its part: %v", err)
	}
	if err := os.Remove(slow); err != nil {
		t.Fatal(err)
	}
	for _, former := range []Health{first, third} {
		eventually(t, "the former end", func() bool { return unix.Kill(former.PID, 0) == unix.ESRCH })
	}
}

// Nothing but the agent's user may talk to the helper, and what it is sent is
// bounded.
func TestControlSocket(t *testing.T) {
	h, _ := newHelper(t, shop())
	before := ensured(t, h)
	if info, err := os.Stat(filepath.Join(h.Dir, controlFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	for _, text := range []string{"", "{", `{"want":"else"}`, strings.Repeat("x", maxControl-1)} {
		c, err := dial(context.Background(), h.Dir)
		if err != nil {
			t.Fatal(err)
		}
		if c.pid != before.PID {
			t.Errorf("process %d listens", c.pid)
		}
		c.conn.Write([]byte(text))
		c.conn.SetDeadline(time.Now().Add(time.Minute))
		var nothing struct{}
		if _, err := receive(c.conn, &nothing); err == nil || os.IsTimeout(err) {
			t.Errorf("%.10q: %v", text, err)
		}
		c.close()
	}
	// Connections that say nothing are bounded, and the agent gets through when
	// they go.
	var idle []*control
	for range 100 {
		if c, err := dial(context.Background(), h.Dir); err == nil {
			idle = append(idle, c)
		}
	}
	for _, c := range idle {
		c.close()
	}
	eventually(t, "the agent is answered", func() bool {
		now, err := h.Ensure(context.Background())
		return err == nil && now.PID == before.PID
	})
}

// The helper is in cgroups of its own.
func TestHelperCgroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes cgroups")
	}
	h, _ := newHelper(t, shop())
	h.Cgroup = fmt.Sprintf("orpheus-test-resolver-%d/names", os.Getpid())
	unified, v1 := h.groups()
	if unified == "" && len(v1) == 0 {
		t.Skip("no cgroup hierarchy is writable")
	}
	health := ensured(t, h)
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", health.PID))
	if err != nil {
		t.Fatal(err)
	}
	folders := v1
	if unified != "" {
		folders = append(folders, unified)
	}
	if got := strings.Count(string(text), h.Cgroup); got < len(folders) {
		t.Errorf("in %d of %d:\n%s", got, len(folders), text)
	}
	if err := h.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		eventually(t, folder+" is empty", func() bool {
			return os.Remove(folder) == nil && os.Remove(filepath.Dir(folder)) == nil
		})
	}
}

func TestLogIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), LogFile)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l := &boundedLog{path: path, file: f}
	line := bytes.Repeat([]byte("x"), 1000)
	for range 5000 {
		if _, err := l.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{path, path + ".1"} {
		if info, err := os.Stat(p); err != nil || info.Size() > maxLog || info.Size() == 0 {
			t.Errorf("%s: %v %v", p, info, err)
		}
	}
}

// A folder whose path is longer than a socket's address may be works as well.
func TestLongFolder(t *testing.T) {
	h, addr := newHelper(t, shop())
	long := filepath.Join(h.Dir, strings.Repeat("long/", 40))
	if err := os.MkdirAll(long, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(h.Dir, ZoneFile), filepath.Join(long, ZoneFile)); err != nil {
		t.Fatal(err)
	}
	h.Dir = long
	ensured(t, h)
	if _, err := net.Dial("tcp", addr); err != nil {
		t.Error(err)
	}
}
