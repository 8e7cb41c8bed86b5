package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
)

// TestContainers looks at what surrounds a container: limits, defaults of
// security, volumes, init containers.
func TestContainers(t *testing.T) {
	n := newNode(t, devfleet.Options{LocalPath: true})
	n.push("app:1", "1")
	n.agent()
	limits := "  resources: {limits: {cpu: 500m, memory: 64Mi, pids: 50}}\n"
	pod := func(initCode int) string {
		return fmt.Sprintf(`apiVersion: orpheus/v1
kind: Service
metadata: {name: pod}
spec:
  initContainers:
  - {name: first, image: %[1]s/app:1, args: [exit, "%[2]d"]}
  containers:
  - name: main
    image: %[1]s/app:1
    env: [{name: PORT, value: "8080"}]
    ports: [{containerPort: 8080, publish: %[3]d}]
    volumeMounts: [{name: conf, mountPath: /etc/app.conf}, {name: fast, mountPath: /fast}]
  volumes:
  - {name: conf, file: conf/app.conf}
  - {name: fast, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
`, n.Registry.Host, initCode, n.port)
	}
	hash := n.commit("many things", map[string]string{
		"fleet.yaml":    fleetYAML,
		"limited.yaml":  n.manifest(spec{name: "limited", more: limits}),
		"greedy.yaml":   n.manifest(spec{name: "greedy", args: []string{"memory"}, more: "  resources: {limits: {memory: 32Mi}}\n"}),
		"report.yaml":   n.manifest(spec{name: "report", args: []string{"report"}}),
		"pod.yaml":      pod(1),
		"conf/app.conf": "colour: blue\n",
	})
	st := n.await("greedy is killed and told apart", func(st *api.Status) string {
		if m := service(st, "greedy").Message; !strings.Contains(m, "out of memory") {
			return "greedy says: " + m
		}
		if m := service(st, "pod").Message; !strings.Contains(m, "first") {
			return "pod says: " + m
		}
		if devfleet.PIDs(st, "limited")["0"] == 0 {
			return "limited does not run"
		}
		return ""
	})
	contains(t, "message of greedy", service(st, "greedy").Message, "resources.limits.memory")
	contains(t, "message of pod", service(st, "pod").Message, "container first", "code 1")
	for _, i := range service(st, "pod").Instances {
		for _, c := range i.Containers {
			if c.Name == planner.MainContainer && c.State == "running" {
				t.Error("pod's container runs although its init container failed")
			}
		}
	}
	n.checkLimits(devfleet.PIDs(st, "limited")["0"])
	n.eventually("the report is written", func() string {
		if data, _ := os.ReadFile(n.logFile("report")); !strings.Contains(string(data), "end: report") {
			return string(data)
		}
		return ""
	})
	contains(t, "report", n.containerLog("report", "0"),
		"Seccomp: 2", "NoNewPrivs: 1", "CapEff: 00000000a80425fb", "mount: operation not permitted", "sysctl: ", "unshare-user: ")

	n.commit("pod may begin, the others go", map[string]string{"pod.yaml": pod(0)})
	n.await("pod runs", func(st *api.Status) string {
		if s := service(st, "pod"); s.Ready != 1 || s.Updated != 1 || len(s.Instances) != 1 || s.Commit == hash {
			return "pod says: " + s.Message
		}
		return ""
	})
	body, err := ask(fromNode, fmt.Sprintf("http://127.0.0.1:%d/file?path=/etc/app.conf", n.port))
	if err != nil || body != "colour: blue" {
		t.Errorf("the file from the repository reads %q, %v", body, err)
	}
	mounts := n.mountsOf("pod")
	contains(t, "mounts of pod", mounts, " /fast tmpfs rw", "size=1024k")
	for line := range strings.Lines(mounts) {
		if strings.Contains(line, " /etc/app.conf ") && !strings.Contains(line, " ro,") {
			t.Errorf("the file from the repository can be written to: %s", line)
		}
	}
}

func (n *node) logFile(service string) string {
	return filepath.Join(n.StateDir(), "logs", "default", service, "0", "main.log")
}

// mountsOf is what the first process of a service sees mounted.
func (n *node) mountsOf(name string) string {
	n.t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/mounts", devfleet.PIDs(n.status(), name)["0"]))
	if err != nil {
		n.t.Fatal(err)
	}
	return string(data)
}

// checkLimits reads the limits of a process from its cgroups, of either
// version.
func (n *node) checkLimits(pid int) {
	n.t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		n.t.Fatal(err)
	}
	read := func(paths ...string) string {
		for _, p := range paths {
			if text, err := os.ReadFile(p); err == nil {
				return strings.TrimSpace(string(text))
			}
		}
		return ""
	}
	group := map[string]string{}
	for line := range strings.Lines(string(data)) {
		if parts := strings.SplitN(strings.TrimSpace(line), ":", 3); len(parts) == 3 {
			for _, controller := range strings.Split(parts[1], ",") {
				group[controller] = parts[2]
			}
		}
	}
	unified := "/sys/fs/cgroup" + group[""]
	for what, c := range map[string]struct{ got, want string }{
		"memory": {read("/sys/fs/cgroup/memory"+group["memory"]+"/memory.limit_in_bytes", unified+"/memory.max"), "67108864"},
		"pids":   {read("/sys/fs/cgroup/pids"+group["pids"]+"/pids.max", unified+"/pids.max"), "50"},
		"cpu":    {read("/sys/fs/cgroup/cpu"+group["cpu"]+"/cpu.cfs_quota_us", unified+"/cpu.max"), "50000"},
	} {
		if got, _, _ := strings.Cut(c.got, " "); got != c.want {
			n.t.Errorf("the limit of %s is %q, not %s", what, c.got, c.want)
		}
	}
}

// TestLogs follows the log of a service through a crash and a rotation.
func TestLogs(t *testing.T) {
	onEachDriver(t, devfleet.Options{LocalPath: true, Config: "logs: {maxSize: 4Ki, files: 2}\n"}, func(n *node) {
		n.push("app:1", "1")
		n.agent()
		n.apply("it counts", map[string]string{"fleet.yaml": fleetYAML, "count.yaml": n.manifest(spec{name: "count", args: []string{"lines"}})})
		lines := n.followLogs("count")
		lines.has(n, "line 3")
		before := n.lives()["count/0"]
		if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
			n.t.Fatal(err)
		}
		n.comesBack("count", "0", before.PID)
		// The new run counts from the beginning.
		lines.has(n, "line 3", "line 3")
		n.eventually("the log is rotated", func() string {
			if _, err := os.Stat(n.logFile("count") + ".1"); err != nil {
				return err.Error()
			}
			return ""
		})
		seen := lines.count()
		n.eventually("the stream goes on after the rotation", func() string {
			if lines.count() < seen+100 {
				return fmt.Sprintf("%d lines, %d before", lines.count(), seen)
			}
			return ""
		})
		out, code := n.orpheus("logs", "count", "--tail", "5", "--socket", n.Socket())
		if got := strings.Count(out, "\n"); code != 0 || got != 5 {
			n.t.Errorf("orpheus logs --tail 5 ends with %d and prints %d lines:\n%s", code, got, out)
		}
		out, code = n.orpheus("logs", "nobody", "--socket", n.Socket())
		if code == 0 {
			n.t.Errorf("orpheus logs of a service that does not exist ends with 0:\n%s", out)
		}
	})
}

// stream is what `orpheus logs -f` has printed so far.
type stream struct {
	mu    sync.Mutex
	lines []string
}

func (n *node) followLogs(service string) *stream {
	n.t.Helper()
	cmd := exec.Command(orpheus, "logs", "-f", service, "--socket", n.Socket())
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		n.t.Fatal(err)
	}
	s := &stream{}
	var reader sync.WaitGroup
	reader.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			s.mu.Lock()
			s.lines = append(s.lines, lines.Text())
			s.mu.Unlock()
		}
	})
	n.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		reader.Wait()
		_ = cmd.Wait() // it was killed
	})
	return s
}

func (s *stream) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.lines)
}

// has waits for whole lines, in this order.
func (s *stream) has(n *node, want ...string) {
	n.t.Helper()
	n.eventually("the log has "+strings.Join(want, ", "), func() string {
		s.mu.Lock()
		defer s.mu.Unlock()
		found := 0
		for _, line := range s.lines {
			if found < len(want) && strings.TrimSpace(line) == want[found] {
				found++
			}
		}
		if found < len(want) {
			return fmt.Sprintf("%d of them in %d lines", found, len(s.lines))
		}
		return ""
	})
}
