package bench

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime/containerd/imagetest"
)

// swarm is a Docker Swarm of one node, of the benchmark's own: its folders, its
// containerd, and network, mount, host name and process namespaces that end
// with it.
type swarm struct {
	b       *testing.B
	dir     string
	cgroup  string
	pid     int // of the daemon
	api     *http.Client
	version int
	// parallel is what the service's updates are given at a time.
	parallel int
}

// newSwarm begins one; nil, and says why, where there is no Docker.
func newSwarm(b *testing.B, program string) *swarm {
	b.Helper()
	for _, name := range []string{"dockerd", "containerd", "runc", "ip", "nsenter"} {
		if _, err := exec.LookPath(name); err != nil {
			b.Logf("not beside Docker Swarm: %v", err)
			table.add("rollouts beside Docker Swarm", "not run", name+" is not on PATH", "")
			return nil
		}
	}
	s := &swarm{b: b, dir: b.TempDir(), cgroup: fmt.Sprintf("orpheus-swarm-%d", os.Getpid())}
	s.api = &http.Client{Timeout: patience, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", s.socket())
		}}}
	b.Cleanup(s.removeCgroups)
	s.start()
	s.pushImage(program)
	s.must(s.ask(nil, "POST", "/swarm/init", object{"ListenAddr": "127.0.0.1:2377", "AdvertiseAddr": "127.0.0.1"}))
	return s
}

// object is one of JSON.
type object map[string]any

func (s *swarm) socket() string { return filepath.Join(s.dir, "socket") }

func (s *swarm) must(err error) {
	s.b.Helper()
	if err != nil {
		log, _ := os.ReadFile(s.log())
		s.b.Fatalf("Docker: %v\n%s", err, log[max(0, len(log)-2000):])
	}
}

func (s *swarm) log() string { return filepath.Join(s.dir, "log") }

// start begins the daemon and waits until it answers.
func (s *swarm) start() {
	s.b.Helper()
	script := "mount -t proc proc /proc && mount -t tmpfs -o mode=755 tmpfs /run && ip link set lo up && exec dockerd \"$@\""
	cmd := exec.Command("sh", "-c", script, "sh",
		"--data-root", filepath.Join(s.dir, "data"), "--exec-root", filepath.Join(s.dir, "exec"), "--pidfile", filepath.Join(s.dir, "pid"),
		"--host", "unix://"+s.socket(), "--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", "/"+s.cgroup)
	log, err := os.Create(s.log())
	s.must(err)
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL,
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWUTS}
	started, ended := make(chan error), make(chan struct{})
	go func() {
		goruntime.LockOSThread() // Pdeathsig is bound to the thread
		defer goruntime.UnlockOSThread()
		defer close(ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its log
		}
	}()
	s.must(<-started)
	s.pid = cmd.Process.Pid
	s.b.Cleanup(func() {
		_ = cmd.Process.Kill() // and with it all that is in its process namespace
		<-ended
	})
	s.until("Docker answers", func() bool { return s.ask(nil, "GET", "/_ping", nil) == nil })
}

// ask asks the daemon, and decodes what it answers into something.
func (s *swarm) ask(into any, method, path string, body any) error {
	var content io.Reader
	kind := "application/json"
	switch body := body.(type) {
	case nil:
	case []byte:
		content, kind = bytes.NewReader(body), "application/x-tar"
	default:
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(s.b.Context(), method, "http://docker"+path, content)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", kind)
	answer, err := s.api.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	switch {
	case err != nil:
		return err
	case answer.StatusCode >= 300:
		return fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, text)
	case into == nil:
		return nil
	}
	return json.Unmarshal(text, into)
}

func (s *swarm) until(what string, is func() bool) {
	s.b.Helper()
	for deadline := time.Now().Add(2 * patience); !is(); time.Sleep(look) {
		if time.Now().After(deadline) {
			s.must(fmt.Errorf("waited in vain: %s", what))
		}
	}
}

// pushImage makes the image of the program, which is not pulled from anywhere.
func (s *swarm) pushImage(program string) {
	s.b.Helper()
	content, err := os.ReadFile(program)
	s.must(err)
	var image bytes.Buffer
	w := tar.NewWriter(&image)
	s.must(w.WriteHeader(&tar.Header{Name: strings.TrimPrefix(imagetest.Program, "/"), Mode: 0o755, Size: int64(len(content))}))
	_, err = w.Write(content)
	s.must(errors.Join(err, w.Close()))
	s.must(s.ask(nil, "POST", "/images/create?fromSrc=-&repo=payload&tag=1", image.Bytes()))
}

// spec is the service at its version.
func (s *swarm) spec() object {
	return object{
		"Name": "web",
		"TaskTemplate": object{
			"ContainerSpec": object{"Image": "payload:1", "Command": []string{imagetest.Program}, "Env": []string{s.env()}},
			"RestartPolicy": object{"Condition": "any", "Delay": 0},
		},
		"Mode":         object{"Replicated": object{"Replicas": rolledReplicas}},
		"UpdateConfig": object{"Parallelism": s.parallel, "Order": "start-first", "FailureAction": "pause"},
	}
}

func (s *swarm) env() string { return "VERSION=" + strconv.Itoa(s.version) }

// task is one of a service's.
type task struct {
	ID   string
	Slot int
	Spec struct{ ContainerSpec struct{ Env []string } }

	Status struct {
		State           string
		ContainerStatus struct{ PID int }
	}
}

// running lists the tasks that run and are to, of the newest version.
func (s *swarm) running() (tasks []task) {
	filters, err := json.Marshal(map[string][]string{"service": {"web"}, "desired-state": {"running"}})
	s.must(err)
	var all []task
	s.must(s.ask(&all, "GET", "/tasks?filters="+url.QueryEscape(string(filters)), nil))
	for _, t := range all {
		if env := t.Spec.ContainerSpec.Env; t.Status.State == "running" && len(env) == 1 && env[0] == s.env() {
			tasks = append(tasks, t)
		}
	}
	return tasks
}

// begin creates the service and waits until all of it runs; end removes it.
func (s *swarm) begin(parallel int) {
	s.b.Helper()
	s.parallel = parallel
	s.must(s.ask(nil, "POST", "/services/create", s.spec()))
	s.until("all tasks run", func() bool { return len(s.running()) == rolledReplicas })
}

func (s *swarm) end() {
	s.b.Helper()
	s.must(s.ask(nil, "DELETE", "/services/web", nil))
	s.until("no container is left", func() bool {
		var all []object
		s.must(s.ask(&all, "GET", "/containers/json?all=1", nil))
		return len(all) == 0
	})
}

// update gives the service a new version and waits until Swarm says that this
// is completed.
func (s *swarm) update() turn {
	s.b.Helper()
	type known struct {
		Version      struct{ Index uint64 }
		UpdateStatus struct {
			State, Message string
			StartedAt      time.Time
		}
	}
	var before, now known
	s.must(s.ask(&before, "GET", "/services/web", nil))
	s.version++
	began := time.Now()
	s.must(s.ask(nil, "POST", fmt.Sprintf("/services/web/update?version=%d", before.Version.Index), s.spec()))
	s.until("the last new task runs", func() bool { return len(s.running()) == rolledReplicas })
	last := time.Since(began)
	s.until("the update is completed", func() bool {
		now = known{}
		s.must(s.ask(&now, "GET", "/services/web", nil))
		return now.UpdateStatus.State == "completed" && now.UpdateStatus.StartedAt.After(before.UpdateStatus.StartedAt)
	})
	return turn{last: []time.Duration{last}, done: []time.Duration{time.Since(began)}}
}

// crash kills the process of a task and waits until another runs in its place.
func (s *swarm) crash(n int) time.Duration {
	s.b.Helper()
	tasks := s.running()
	if len(tasks) <= n {
		s.b.Fatalf("%d tasks run", len(tasks))
	}
	victim := tasks[n]
	// Swarm tells the id that the process has in the daemon's namespace.
	kill := exec.Command("nsenter", "--target", strconv.Itoa(s.pid), "--pid", "kill", "-9", strconv.Itoa(victim.Status.ContainerStatus.PID))
	text, err := kill.CombinedOutput()
	began := time.Now()
	if err != nil {
		s.must(fmt.Errorf("kill a task: %w: %s", err, text))
	}
	s.until("another task runs", func() bool {
		for _, t := range s.running() {
			if t.Slot == victim.Slot && t.ID != victim.ID {
				return true
			}
		}
		return false
	})
	return time.Since(began)
}

// removeCgroups removes those that Docker made, which are empty by now.
func (s *swarm) removeCgroups() {
	for _, pattern := range []string{"/sys/fs/cgroup/" + s.cgroup, "/sys/fs/cgroup/*/" + s.cgroup} {
		found, _ := filepath.Glob(pattern) // the pattern is good
		for _, parent := range found {
			s.until("cgroup "+parent+" is gone", func() bool {
				children, _ := filepath.Glob(parent + "/*/cgroup.procs")
				for _, c := range children {
					_ = os.Remove(filepath.Dir(c)) // tried until the parent can be removed
				}
				err := os.Remove(parent)
				return err == nil || errors.Is(err, os.ErrNotExist)
			})
		}
	}
}
