package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime/plugin"
)

// sandbox is the example plugin, as a node's owner installs it.
type sandbox struct {
	*node
	file, state string
}

// newSandbox builds the plugin and gives it to a node.
func newSandbox(t *testing.T) *sandbox {
	if os.Geteuid() != 0 {
		t.Skip("sandboxes need root")
	}
	n := newNode(t, devfleet.Options{Driver: planner.DriverProcess, LocalPath: true})
	dir, err := os.MkdirTemp("", "osb") // short: sockets lie in it
	if err != nil {
		t.Fatal(err)
	}
	s := &sandbox{node: n, file: filepath.Join(dir, "driver-sandbox"), state: filepath.Join(dir, "i")}
	t.Cleanup(func() {
		_ = n.EndAgent(syscall.SIGKILL)
		if err := plugin.End(context.Background(), s.pluginDir()); err != nil {
			t.Error(err)
		}
		os.RemoveAll(dir)
	})
	build := exec.Command("go", "build", "-o", s.file, "github.com/orpheus-cd/orpheus/examples/driver-sandbox")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the plugin: %v\n%s", err, out)
	}
	s.install()
	return s
}

func (s *sandbox) pluginDir() string { return filepath.Join(s.StateDir(), "plugins", "sandbox") }

// install configures the plugin's file as it is now.
func (s *sandbox) install() {
	s.t.Helper()
	program, err := os.ReadFile(s.file)
	if err != nil {
		s.t.Fatal(err)
	}
	sum := sha256.Sum256(program)
	show := "/bin,/lib,/lib64,/usr," + filepath.Dir(s.Payload)
	s.configure(fmt.Sprintf("plugins: [{name: sandbox, path: %s, sha256: %s, args: [--state, %s, --show, %q]}]\npolicy: {drivers: [sandbox]}\n",
		s.file, hex.EncodeToString(sum[:]), s.state, show))
}

// process is the plugin's process.
func (s *sandbox) process() int {
	s.t.Helper()
	var record struct{ Process struct{ PID int } }
	data, err := os.ReadFile(filepath.Join(s.pluginDir(), "plugin.json"))
	if err == nil {
		err = json.Unmarshal(data, &record)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return record.Process.PID
}

// TestPluginDriver: a service of a plugin's driver, with a network and a
// published port, through the deaths of the agent and of the plugin, and
// through an upgrade of the plugin.
func TestPluginDriver(t *testing.T) {
	s := newSandbox(t)
	s.agent()
	hash := s.commit("two instances", map[string]string{"fleet.yaml": fleetYAML, "web.yaml": fmt.Sprintf(`apiVersion: orpheus/v1
kind: Service
metadata: {name: web}
spec:
  driver: sandbox
  replicas: 2
  command: [%s, serve]
  env: [{name: PORT, value: "8080"}]
  ports: [{name: http, containerPort: 8080, publish: %d}]
  securityContext: {runAsUser: 65534}
`, s.Payload, s.port)})
	s.await("two instances", devfleet.SettledAt(hash))
	s.served()
	begin, process := s.lives(), s.process()

	s.kill()
	if !running(process) {
		t.Error("the plugin has ended with its agent")
	}
	s.served()
	s.agent()
	s.untouched("the agent was killed", begin)
	if now := s.process(); now != process {
		t.Errorf("the plugin is process %d, was %d", now, process)
	}

	if err := syscall.Kill(process, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.await("the plugin is started again", func(st *api.Status) string {
		if now := s.process(); now == process {
			return "it is not"
		}
		return devfleet.SettledAt(hash)(st)
	})
	s.untouched("the plugin was killed", begin)
	s.served()

	process = s.process()
	if err := os.Rename(s.another(), s.file); err != nil {
		t.Fatal(err)
	}
	s.install()
	s.kill()
	s.agent()
	s.await("another version of the plugin", devfleet.SettledAt(hash))
	if now := s.process(); now == process || running(process) {
		t.Errorf("the plugin is process %d, was %d", now, process)
	}
	s.untouched("the plugin was upgraded", begin)
	s.served()
	if out, _ := s.orpheus("status", "--socket", s.Socket()); !strings.Contains(out, "sandbox") {
		t.Errorf("status does not show the driver:\n%s", out)
	}

	s.apply("no service", map[string]string{"web.yaml": "# none\n"})
	process = s.process()
	s.configure("policy: {drivers: [process]}\n")
	s.kill()
	s.agent()
	s.eventually("a plugin that is not configured any more ends", func() string {
		if running(process) {
			return "it runs"
		}
		return ""
	})
}

// another is the plugin's file in another version.
func (s *sandbox) another() string {
	s.t.Helper()
	program, err := os.ReadFile(s.file)
	if err == nil {
		err = os.WriteFile(s.file+".new", append(program, "of another version"...), 0o755)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return s.file + ".new"
}

// served demands an answer through the published port.
func (s *sandbox) served() {
	s.t.Helper()
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	s.eventually("the published port answers", func() string {
		res, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/", s.port))
		if err != nil {
			return err.Error()
		}
		defer res.Body.Close()
		if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
			return fmt.Sprint(res.Status, err)
		}
		return ""
	})
}
