package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// board is a service whose pages answer as the test says.
type board struct {
	*node
	name string
	port int // on the instance's address
}

// board writes the manifest of one: pages as in "live=200 ready=503", 0 = no
// answer.
func (n *node) board(name string, port int, pages, probes string) (board, string) {
	b := board{node: n, name: name, port: 8080}
	if n.driver == planner.DriverProcess {
		b.port = port
	}
	text := n.manifest(spec{name: name, args: []string{"serve"}, env: map[string]string{"PORT": strconv.Itoa(b.port), "PAGES": pages}})
	return b, text + fmt.Sprintf("  ports: [{name: http, containerPort: %d}]\n", b.port) + probes
}

// ask asks the instance of the board.
func (b board) ask(path string) (string, error) {
	host := "127.0.0.1"
	if b.driver != planner.DriverProcess {
		i, ok := b.instance()
		if !ok || i.Address == "" {
			return "", fmt.Errorf("%s has no address", b.name)
		}
		host = i.Address
	}
	ctx, cancel := context.WithTimeout(b.t.Context(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s:%d%s", host, b.port, path), nil)
	if err != nil {
		return "", err
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return strings.TrimSpace(string(body)), err
}

// set changes the answer of a page.
func (b board) set(page string, code int) {
	b.t.Helper()
	b.eventually("page "+page+" answers otherwise", func() string {
		if _, err := b.ask(fmt.Sprintf("/set?page=%s&code=%d", page, code)); err != nil {
			return err.Error()
		}
		return ""
	})
}

// asked is how often a page was asked for in this run.
func (b board) asked(page string) int {
	b.t.Helper()
	text, err := b.ask("/count?page=" + page)
	if err != nil {
		b.t.Fatal(err)
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}

func (b board) instance() (api.Instance, bool) {
	s := service(b.status(), b.name)
	if len(s.Instances) != 1 {
		return api.Instance{}, false
	}
	return s.Instances[0], true
}

// becomes waits until the one instance is in a phase, for a reason.
func (b board) becomes(phase planner.Phase, reason string) api.Instance {
	b.t.Helper()
	st := b.await(fmt.Sprintf("%s is %s: %s", b.name, phase, reason), func(st *api.Status) string {
		s := service(st, b.name)
		if len(s.Instances) != 1 {
			return fmt.Sprintf("it has %d instances: %s", len(s.Instances), s.Message)
		}
		if i := s.Instances[0]; i.Phase != phase || !strings.Contains(i.Reason, reason) {
			return fmt.Sprintf("it is %s: %s", i.Phase, i.Reason)
		}
		return ""
	})
	return service(st, b.name).Instances[0]
}

// TestProbes: on containers and on processes, a wedged program, one that is
// slow to start, one that fails its liveness, and an agent that is killed in
// the middle of it all.
func TestProbes(t *testing.T) {
	onEachDriver(t, devfleet.Options{LocalPath: true}, func(n *node) {
		n.push("app:1", "1")
		n.agent()
		wedged, wedgedYAML := n.board("wedged", 19101, "ready=0", "  livenessProbe: {tcpSocket: {port: http}, periodSeconds: 1}\n"+
			"  readinessProbe: {httpGet: {path: /page/ready, port: http}, periodSeconds: 1}\n")
		slow, slowYAML := n.board("slow", 19102, "start=503 live=503", "  startupProbe: {httpGet: {path: /page/start, port: http}, periodSeconds: 1, failureThreshold: 100}\n"+
			"  livenessProbe: {httpGet: {path: /page/live, port: http}, periodSeconds: 1, failureThreshold: 2}\n")
		steady, steadyYAML := n.board("steady", 19103, "", "  livenessProbe: {httpGet: {path: /page/live, port: http}, periodSeconds: 2}\n"+
			"  readinessProbe: {exec: {command: ["+n.program()+", get, "+n.url(19103, "/page/ready")+"]}, periodSeconds: 2, timeoutSeconds: 5}\n")
		n.commit("boards", map[string]string{"fleet.yaml": fleetYAML, "wedged.yaml": wedgedYAML, "slow.yaml": slowYAML, "steady.yaml": steadyYAML})

		// It lives, and is never ready: it is not restarted, and says why.
		i := wedged.becomes(planner.PhaseUnhealthy, fmt.Sprintf(":%d/page/ready: no answer within 1s (3 of 3 failures)", wedged.port))
		if i.Restarts != 0 {
			t.Errorf("wedged was restarted %d times", i.Restarts)
		}
		steady.becomes(planner.PhaseReady, "")
		n.startup(slow)
		n.agentKilled(steady)

		// What fails it for long enough is restarted, once per row of failures.
		before := n.lives()
		steady.set("live", 503)
		steady.eventually("steady is restarted", func() string {
			if now := n.lives()["steady/0"]; now.PID == 0 || now.PID == before["steady/0"].PID {
				return fmt.Sprintf("it is %+v", now)
			}
			return ""
		})
		if i := steady.becomes(planner.PhaseReady, ""); i.Restarts != 1 {
			t.Errorf("steady was restarted %d times", i.Restarts)
		}
		if wedged.set("ready", 200); wedged.becomes(planner.PhaseReady, "").Restarts != 0 {
			t.Error("wedged was restarted")
		}
		out, code := n.orpheus("status", "steady", "--socket", n.Socket())
		if code != 0 {
			t.Errorf("status ends with %d:\n%s", code, out)
		}
		contains(t, "status", out, "liveness", "readiness", fmt.Sprintf(":%d/page/live", steady.port), "success")
	})
}

// program is the payload as an instance sees it.
func (n *node) program() string {
	if n.driver == planner.DriverProcess {
		return payload
	}
	return "/payload"
}

// url is where an instance reaches itself.
func (n *node) url(port int, path string) string {
	if n.driver != planner.DriverProcess {
		port = 8080
	}
	return fmt.Sprintf("http://127.0.0.1:%d%s", port, path)
}

// startup: liveness, which would fail, waits for the startup probe.
func (n *node) startup(slow board) {
	n.t.Helper()
	slow.becomes(planner.PhaseStarting, fmt.Sprintf(":%d/page/start: 503", slow.port))
	slow.eventually("the startup probe is asked five times", func() string {
		if asked := slow.asked("start"); asked < 5 {
			return fmt.Sprintf("%d times", asked)
		}
		return ""
	})
	if asked := slow.asked("live"); asked != 0 {
		n.t.Errorf("liveness was checked %d times before the startup probe succeeded", asked)
	}
	slow.set("live", 200)
	slow.set("start", 200)
	slow.becomes(planner.PhaseReady, "")
	slow.eventually("liveness is checked", func() string {
		if slow.asked("live") == 0 {
			return "not yet"
		}
		return ""
	})
	if i, _ := slow.instance(); i.Restarts != 0 {
		n.t.Errorf("slow was restarted %d times", i.Restarts)
	}
	slow.set("live", 503)
	slow.eventually("the next run begins with its startup probe", func() string {
		if now, err := slow.ask("/count?page=live"); err != nil || now != "0" {
			return fmt.Sprint(now, err)
		}
		return ""
	})
}

// agentKilled: what a new agent finds is what the old one knew, from the first
// status on, and no program is asked more often for it.
func (n *node) agentKilled(steady board) {
	n.t.Helper()
	before, asked := n.lives(), steady.asked("live")
	began := time.Now()
	n.kill()
	n.agent()
	for range 50 {
		st := n.status()
		for name, want := range map[string]planner.Phase{"steady": planner.PhaseReady, "wedged": planner.PhaseUnhealthy} {
			s := service(st, name)
			if len(s.Instances) != 1 || s.Instances[0].Phase != want {
				n.t.Fatalf("after the agent was killed %s is %+v", name, s.Instances)
			}
		}
		time.Sleep(20 * time.Millisecond) // looks at the status over a second, waits for nothing
	}
	after := n.lives()
	delete(before, "slow/0") // is being restarted anyway
	for slot, was := range before {
		if is := after[slot]; is.PID != was.PID || is.ID != was.ID {
			n.t.Errorf("%s was touched: %+v became %+v", slot, was, is)
		}
	}
	if now := steady.asked("live"); now-asked > int(time.Since(began)/(2*time.Second))+2 {
		n.t.Errorf("steady was asked %d times in %v", now-asked, time.Since(began))
	}
}

// TestProbesOfContainers: what only containers have, and what ends badly.
func TestProbesOfContainers(t *testing.T) {
	n := newNode(t, devfleet.Options{LocalPath: true})
	n.push("app:1", "1")
	n.agent()
	const grace = 2 * time.Second
	hung, hungYAML := n.board("hung", 0, "", "  readinessProbe: {exec: {command: [/payload, deaf]}, periodSeconds: 1}\n")
	loud, loudYAML := n.board("loud", 0, "x=503", "  readinessProbe: {exec: {command: [/payload, get, \"http://127.0.0.1:8080/page/x\"]}, periodSeconds: 1}\n")
	bye, byeYAML := n.board("bye", 0, "", "  lifecycle: {preStop: {exec: {command: [/payload, get, \"http://127.0.0.1:8080/page/bye\"]}}}\n")
	n.commit("ends", map[string]string{
		"fleet.yaml": fleetYAML, "hung.yaml": hungYAML, "loud.yaml": loudYAML, "bye.yaml": byeYAML,
		"stubborn.yaml": n.manifest(spec{name: "stubborn", args: []string{"deaf"}, more: fmt.Sprintf("  terminationGracePeriodSeconds: %.0f\n", grace.Seconds())}),
		"greedy.yaml":   n.manifest(spec{name: "greedy", args: []string{"memory"}, more: "  resources: {limits: {memory: 32Mi}}\n"}),
		"crash.yaml":    n.manifest(spec{name: "crash", args: []string{"say", `"no ^[[31mleader"`, `"3"`}}),
		"deaf.yaml": n.manifest(spec{name: "deaf", args: []string{"deaf"},
			more: "  livenessProbe: {tcpSocket: {port: 1}, periodSeconds: 1, failureThreshold: 2, terminationGracePeriodSeconds: 1}\n"}),
	})

	// A command that hangs is killed at its timeout, every time.
	hung.becomes(planner.PhaseUnhealthy, "not ready: exec /payload: took longer than 1s and was killed (3 of 3 failures)")
	pid := devfleet.PIDs(n.status(), "hung")["0"]
	for range 30 {
		if left := beside(pid, "deaf"); left > 1 {
			t.Fatalf("%d commands that hang are left in the container", left)
		}
		time.Sleep(50 * time.Millisecond) // a sample over several checks, waits for nothing
	}

	// What a check writes is told, harmlessly, where logs may be read.
	loud.becomes(planner.PhaseUnhealthy, "exit code 1 (3 of 3 failures)")
	if i, _ := loud.instance(); len(i.Probes) != 1 || !strings.Contains(i.Probes[0].Output, `\x1b[31mstatus 503`) {
		t.Errorf("probes of loud: %+v", i.Probes)
	}

	// A crash loop and a kill for memory, with the last lines.
	for name, says := range map[string][2]string{"crash": {"exited with code 3", `no \x1b[31mleader`}, "greedy": {"out of memory", "ready"}} {
		n.await(name+" is told of", func(st *api.Status) string {
			s := service(st, name)
			if len(s.Instances) != 1 {
				return s.Message
			}
			i := s.Instances[0]
			if !strings.Contains(i.Reason, says[0]) || !slices.Contains(i.LastLog, says[1]) || i.Restarts < 2 {
				return fmt.Sprintf("%s, restarted %d times: %s %q", i.Phase, i.Restarts, i.Reason, i.LastLog)
			}
			return ""
		})
	}
	out, _ := n.orpheus("status", "crash", "--socket", n.Socket())
	contains(t, "status of crash", out, "exited with code 3", "LAST LINES", `no \x1b[31mleader`)

	// It ignores SIGTERM: killed after the probe's own grace, started again.
	n.await("deaf is killed and started again", func(st *api.Status) string {
		s := service(st, "deaf")
		if len(s.Instances) != 1 || s.Instances[0].Restarts < 2 {
			return fmt.Sprintf("%+v", s.Instances)
		}
		return ""
	})
	contains(t, "the agent's log", n.agentLog(), "liveness probe failed: tcpSocket ", ":1: connect to")

	n.killedAfterGrace("stubborn", grace)
	n.endsOutliveAgent(map[string]string{"crash": "exited with code 3", "greedy": "out of memory", "deaf": "",
		"hung": "took longer than 1s and was killed", "loud": "exit code 1"})

	// preStop is done before the stop signal.
	bye.becomes(planner.PhaseReady, "")
	log := n.logFile("bye")
	n.commit("bye goes another way", map[string]string{"bye.yaml": strings.Replace(byeYAML, "  env:\n", "  env:\n  - {name: NEW, value: \"1\"}\n", 1)})
	n.eventually("the old instance has said goodbye", func() string {
		data, err := os.ReadFile(log)
		text := string(data)
		hook, term := strings.Index(text, "page bye"), strings.Index(text, "told to end")
		if err != nil || hook < 0 || term < hook {
			return fmt.Sprintf("%v %q", err, text)
		}
		return ""
	})
}

// beside counts the processes with an argument in the namespace of another.
func beside(pid int, argument string) int {
	own, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
	if err != nil {
		return 0
	}
	n := 0
	namespaces, _ := filepath.Glob("/proc/[0-9]*/ns/pid")
	for _, path := range namespaces {
		line, _ := os.ReadFile(strings.TrimSuffix(path, "ns/pid") + "cmdline")
		if other, err := os.Readlink(path); err == nil && other == own && strings.Contains(string(line), "\x00"+argument) {
			n++
		}
	}
	return n
}

// TestReadinessBehindAPort: while a version that never becomes ready, and then
// one that does, replaces another, the published port answers every request,
// and only by instances that are ready; a killed agent changes nothing in it.
func TestReadinessBehindAPort(t *testing.T) {
	n := newNode(t, devfleet.Options{LocalPath: true})
	n.push("app:1", "1")
	n.agent()
	web := func(version, pages string) string {
		return n.manifest(spec{name: "web", args: []string{"serve"}, env: map[string]string{"PORT": "8080", "VERSION": version, "PAGES": pages}, more: "  ports: [{name: http, containerPort: 8080, publish: " + strconv.Itoa(n.port) + "}]\n" +
			"  readinessProbe: {httpGet: {path: /page/ready, port: http}, periodSeconds: 1}\n"})
	}
	n.apply("ready", map[string]string{"fleet.yaml": fleetYAML, "web.yaml": web("one", "")})
	var asked, wrong atomic.Int32
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	want := atomic.Value{}
	want.Store("one")
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			body, err := ask(fromNode, fmt.Sprintf("http://127.0.0.1:%d/", n.port))
			if asked.Add(1); err != nil || !strings.Contains(body, want.Load().(string)) {
				wrong.Add(1)
				t.Logf("wrong answer: %q %v", body, err)
			}
		}
	}()
	n.commit("never ready", map[string]string{"web.yaml": web("two", "ready=503")})
	n.await("two runs, and is not ready", func(st *api.Status) string {
		s := service(st, "web")
		for _, i := range s.Instances {
			if i.Phase == planner.PhaseUnhealthy && len(s.Instances) == 2 {
				return ""
			}
		}
		return fmt.Sprintf("%+v", s.Instances)
	})
	n.kill()
	n.agent()
	if s := service(n.status(), "web"); len(s.Instances) != 2 || s.Ready != 1 {
		t.Errorf("after the agent was killed: %+v", s.Instances)
	}
	want.Store("") // from here on either
	n.apply("ready again", map[string]string{"web.yaml": web("three", "")})
	stop()
	<-done
	if asked.Load() < 20 || wrong.Load() > 0 {
		t.Errorf("%d of %d answers were wrong", wrong.Load(), asked.Load())
	}
	if body, err := ask(fromNode, fmt.Sprintf("http://127.0.0.1:%d/", n.port)); err != nil || !strings.Contains(body, "three") {
		t.Errorf("%q %v", body, err)
	}
}
