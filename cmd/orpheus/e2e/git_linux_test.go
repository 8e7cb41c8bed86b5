package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/runtime/containerd/imagetest"
)

// Credentials that must be seen nowhere.
const (
	gitToken         = "git-token-4fz8Kq"
	wrongToken       = "wrong-token-9sJw2"
	urlPassword      = "url-password-Lm31x"
	registryPassword = "registry-password-Hq77"
)

// seldom is a fleet whose agents look at Git only when something tells them.
const seldom = "apiVersion: orpheus/v1\nkind: Fleet\nmetadata: {name: e2e}\nspec: {pollInterval: 1h}\n"

// TestGitOverHTTPS follows a repository behind TLS and a token, through wrong
// credentials, outages, and the loss of everything that ran.
func TestGitOverHTTPS(t *testing.T) {
	onEachDriver(t, devfleet.Options{
		Git:      gitsynctest.Options{TLS: true, Token: gitToken},
		Registry: imagetest.RegistryOptions{User: "puller", Secret: registryPassword, Bearer: true},
	}, func(n *node) {
		n.push("app:1", "1")
		n.credentials()
		n.firstLook()
		files := n.bystanders()
		files["fleet.yaml"] = seldom
		hash := n.commit("first version", files)
		n.hangUp(hash)
		begin := time.Now()
		hash = n.commit("web comes", map[string]string{"web.yaml": n.manifest(spec{name: "web"})})
		n.hangUp(hash)
		n.t.Logf("commit to running, told by SIGHUP: %s", time.Since(begin).Round(time.Millisecond))
		n.await("at rest", devfleet.SettledAt(hash))

		n.Git.SetFault(gitsynctest.Status(http.StatusServiceUnavailable, "", "gone"))
		if n.Registry != nil {
			n.Registry.Stop()
		}
		before := n.lives()
		n.kill()
		n.agent()
		n.await("Git is missed", gitMissed)
		n.untouched("Git is down and the agent was killed", before)

		n.reboot()
		if err := n.StartAgent(); err != nil {
			n.t.Fatal(err)
		}
		st := n.await("everything runs again without Git", func(st *api.Status) string {
			if missing := gitMissed(st); missing != "" {
				return missing
			}
			if len(n.lives()) != len(before) {
				return fmt.Sprintf("%d of %d instances run", len(n.lives()), len(before))
			}
			return devfleet.SettledAt(hash)(st)
		})
		out, _ := n.orpheus("status", "--socket", n.Socket())
		contains(n.t, "orpheus status", out, "503", "web")
		if st.Repository.ErrorSince.IsZero() {
			n.t.Error("status does not say since when Git cannot be read")
		}
		n.Git.SetFault(nil)
		if n.Registry != nil {
			if err := n.Registry.Restart(); err != nil {
				n.t.Fatal(err)
			}
		}
		n.hangUp(n.commit("Git is back", map[string]string{"README.md": "Back.\n"}))
		n.tellsNoSecrets(gitToken, wrongToken, urlPassword, registryPassword)
	})
}

// credentials writes those of the registry and wrong ones for Git.
func (n *node) credentials() {
	n.t.Helper()
	n.secret("registry", registryPassword)
	n.secret("token", wrongToken)
	config := fmt.Sprintf("repository: {tokenFile: %q}\n", n.secretFile("token"))
	if n.Registry != nil {
		config += fmt.Sprintf("registries: {%q: {username: puller, passwordFile: %q}}\n", n.Registry.Host, n.secretFile("registry"))
	}
	n.configure(config)
}

func (n *node) secretFile(name string) string { return filepath.Join(n.Dir, name+".secret") }

func (n *node) secret(name, value string) {
	n.t.Helper()
	if err := os.WriteFile(n.secretFile(name), []byte(value+"\n"), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

// firstLook starts the agent with a wrong token and puts it right while it
// runs.
func (n *node) firstLook() {
	n.t.Helper()
	n.agent()
	st := n.await("the wrong token is told", func(st *api.Status) string {
		if st.Repository.Error == "" {
			return "no error"
		}
		return ""
	})
	contains(n.t, "status of the repository", st.Repository.Error, "401", "credentials")
	n.tellsNoSecrets(wrongToken, gitToken)
	n.secret("token", gitToken)
}

// hangUp sends the agent SIGHUP until it has seen a commit.
func (n *node) hangUp(hash string) {
	n.t.Helper()
	if err := syscall.Kill(n.AgentPID(), syscall.SIGHUP); err != nil {
		n.t.Fatal(err)
	}
	n.await("SIGHUP makes it look", func(st *api.Status) string {
		if st.Repository.Seen.Hash != hash {
			return fmt.Sprintf("it has seen %.8s, %s", st.Repository.Seen.Hash, st.Repository.Error)
		}
		return devfleet.SettledAt(hash)(st)
	})
}

func gitMissed(st *api.Status) string {
	if !strings.Contains(st.Repository.Error, "503") {
		return "Git is not missed: " + st.Repository.Error
	}
	return ""
}

// reboot does to the node what a power cut does: nothing runs afterwards, and
// what is not on disk is gone.
func (n *node) reboot() {
	n.t.Helper()
	before := n.lives()
	n.kill()
	if n.Containerd != nil {
		shims := n.Containerd.Shims()
		if err := n.Containerd.Kill(); err != nil {
			n.t.Fatal(err)
		}
		for _, pid := range shims {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have just ended
		}
	}
	if err := n.KillProcesses(); err != nil {
		n.t.Fatal(err)
	}
	for _, l := range before {
		_ = syscall.Kill(l.PID, syscall.SIGKILL) // with its shim it may have gone
	}
	for slot, l := range before {
		n.eventually(slot+" is gone", func() string {
			if running(l.PID) {
				return fmt.Sprintf("process %d lives", l.PID)
			}
			return ""
		})
	}
	if err := n.Unmount(); err != nil {
		n.t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Dir(n.Socket())); err != nil {
		n.t.Fatal(err)
	}
	if n.Containerd != nil {
		if err := n.Containerd.Restart(); err != nil {
			n.t.Fatal(err)
		}
	}
}

// TestLocalRepository follows a repository on this machine: a commit is seen
// at once although the next look by the clock is an hour away.
func TestLocalRepository(t *testing.T) {
	onEachDriver(t, devfleet.Options{LocalPath: true}, func(n *node) {
		n.push("app:1", "1")
		n.agent()
		n.apply("first version", map[string]string{"fleet.yaml": seldom, "web.yaml": n.manifest(spec{name: "web", env: map[string]string{"COLOUR": "0"}})})
		var slowest time.Duration
		for k := range 5 {
			name := fmt.Sprintf("more-%d", k)
			content := n.manifest(spec{name: name})
			begin := time.Now()
			n.commit(name, map[string]string{name + ".yaml": content})
			n.await(name+" runs", func(st *api.Status) string {
				if devfleet.PIDs(st, name)["0"] == 0 {
					return "it does not run"
				}
				return ""
			})
			slowest = max(slowest, time.Since(begin))
		}
		n.t.Logf("commit to running, the slowest of 5: %s", slowest.Round(time.Millisecond))
		if slowest > 10*time.Second {
			n.t.Errorf("a commit took %s to run: no hint has come", slowest)
		}
	})
}

// TestWrongPath points the agent to a folder that is no fleet.
func TestWrongPath(t *testing.T) {
	onEachDriver(t, devfleet.Options{LocalPath: true}, func(n *node) {
		n.push("app:1", "1")
		n.agent()
		n.apply("first version", n.bystanders())
		before := n.lives()
		if err := n.EndAgent(syscall.SIGTERM); err != nil {
			n.t.Fatal(err)
		}
		n.configure("repository: {path: fleets/prod}\n")
		n.agent()
		st := n.await("the path is refused", func(st *api.Status) string {
			if st.Repository.Refused == "" {
				return "nothing is refused"
			}
			return ""
		})
		contains(n.t, "status", st.Repository.Refused, "fleets/prod", "fleet.yaml")
		n.untouched("the path is wrong", before)
	})
}
