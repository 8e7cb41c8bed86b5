package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/planner"
)

// away is how a test takes Git away from a node, and gives it back.
type away struct{ takes, gives func() error }

// TestTransports tells one story over every way to reach a repository: deploy,
// look, roll out, revert, an agent that is killed, Git that is away.
func TestTransports(t *testing.T) {
	t.Parallel()
	stories := map[string]func(*testing.T){}
	for _, tt := range []struct {
		name  string
		opts  devfleet.Options
		reach func(*node) away // configures the node
	}{
		// A certificate of one's own, and no way to the server but the proxy,
		// which wants to know who asks.
		{"HTTPSThroughProxy", devfleet.Options{Git: gitsynctest.Options{TLS: true, Token: gitToken}}, func(n *node) away {
			p := n.behindProxy()
			n.t.Cleanup(func() {
				if err := p.used(); err != nil {
					n.t.Error(err)
				}
			})
			return away{func() error { n.StopGit(); return nil }, n.StartGit}
		}},
		// A certificate of one's own and a token.
		{"HTTPS", devfleet.Options{Git: gitsynctest.Options{TLS: true, Token: gitToken}}, func(n *node) away {
			n.secret("token", gitToken)
			n.configure(fmt.Sprintf("repository: {tokenFile: %q}\n", n.secretFile("token")))
			return away{func() error { n.StopGit(); return nil }, n.StartGit}
		}},
		// OpenSSH's server, a user whose login shell is git-shell, a key that
		// reads and cannot write.
		{"SSH", devfleet.Options{}, func(n *node) away {
			srv := n.sshServer()
			n.overSSH(srv)
			cut := func(gitsynctest.Direction, []byte) bool { return true }
			return away{func() error { srv.SetCut(cut); srv.CutConnections(); return nil },
				func() error { srv.SetCut(nil); return nil }}
		}},
		// A folder on this machine, which is as good as unmounted.
		{"LocalPath", devfleet.Options{LocalPath: true}, func(n *node) away {
			elsewhere := n.Repo.Dir + ".away"
			return away{func() error { return os.Rename(n.Repo.Dir, elsewhere) },
				func() error { return os.Rename(elsewhere, n.Repo.Dir) }}
		}},
	} {
		stories[tt.name] = func(t *testing.T) {
			tt.opts.Driver = planner.DriverProcess
			n := newNodeNow(t, tt.opts)
			n.story(tt.reach(n))
		}
	}
	allAtOnce(t, stories)
}

// story is what is told over each transport.
func (n *node) story(git away) {
	n.t.Helper()
	web := func(colour string) map[string]string {
		return map[string]string{"web.yaml": n.manifest(spec{name: "web", replicas: 2, env: map[string]string{"COLOUR": colour}})}
	}
	files := n.bystanders()
	files["web.yaml"] = web("blue")["web.yaml"]
	hash := n.commit("deploy", files)
	n.agent()
	n.await("deploy", devfleet.SettledAt(hash))
	out, code := n.orpheus("status", "--exit-code", "--socket", n.Socket())
	if contains(n.t, "orpheus status", out, "deploy", "web", "2/2", "calm"); code != 0 {
		n.t.Errorf("status --exit-code ends with %d:\n%s", code, out)
	}
	blue, begin := service(n.status(), "web").Revision, n.lives()

	n.hangUp(n.commit("roll out", web("green"))) // it may look in 5 s, by a clock older than fleet.yaml
	n.untouched("web was rolled out", begin, "web")
	hash, err := n.Repo.Revert()
	if err != nil {
		n.t.Fatal(err)
	}
	if st := n.await("revert", devfleet.SettledAt(hash)); service(st, "web").Revision != blue {
		n.t.Errorf("reverted, web has revision %s, not %s", service(st, "web").Revision, blue)
	}
	n.untouched("web was reverted", begin, "web")

	before := n.lives()
	n.kill()
	n.agent()
	n.untouched("the agent was killed", before)

	if err := git.takes(); err != nil {
		n.t.Fatal(err)
	}
	n.await("Git is missed", repositoryError(""))
	n.kill()
	n.agent()
	st := n.await("a new agent misses Git, too", repositoryError(""))
	n.t.Logf("away: %s", st.Repository.Error)
	n.untouched("Git was away", before)
	if err := git.gives(); err != nil {
		n.t.Fatal(err)
	}
	n.apply("Git is back", map[string]string{"late.yaml": n.manifest(spec{name: "late"})})
	n.untouched("Git came back", before)
	n.tellsNoSecrets(gitToken, proxyPassword)
}

// repositoryError waits until the repository cannot be read for a reason.
func repositoryError(reason string) func(*api.Status) string {
	return func(st *api.Status) string {
		if st.Repository.Error == "" || !strings.Contains(st.Repository.Error, reason) {
			return fmt.Sprintf("the repository's error is %q", st.Repository.Error)
		}
		return ""
	}
}

// Who may use the proxy.
const (
	proxyUser     = "porter"
	proxyPassword = "proxy-password-Tz5"
	proxyLogin    = proxyUser + ":" + proxyPassword
)

// behindProxy has the agent reach the Git server through a proxy alone, which
// its environment names: the server's name means nothing to this machine.
func (n *node) behindProxy() *connectProxy {
	n.t.Helper()
	p := n.newProxy()
	n.Environ("HTTPS_PROXY=" + strings.Replace(p.URL, "://", "://"+proxyLogin+"@", 1))
	n.secret("token", gitToken)
	n.configure(fmt.Sprintf("repository: {url: %q, tokenFile: %q}\n", n.proxiedURL(), n.secretFile("token")))
	return p
}

// configuredProxy is behindProxy with a proxy that the configuration names, and
// whose password is in a file.
func (n *node) configuredProxy() *connectProxy {
	n.t.Helper()
	p := n.newProxy()
	n.secret("token", gitToken)
	n.secret("proxy", proxyPassword)
	n.configure(fmt.Sprintf("repository: {url: %q, tokenFile: %q, proxy: %q, proxyUsername: %s, proxyPasswordFile: %q}\n",
		n.proxiedURL(), n.secretFile("token"), p.URL, proxyUser, n.secretFile("proxy")))
	return p
}

// newProxy starts a proxy to the node's Git server.
func (n *node) newProxy() *connectProxy {
	n.t.Helper()
	_, server, _ := strings.Cut(n.Git.URL, "://")
	return newConnectProxy(n.t, server, proxyLogin)
}

// proxiedURL is the repository's where only a connectProxy knows the way.
func (n *node) proxiedURL() string { return strings.Replace(n.RepoURL(), "127.0.0.1", gitHost, 1) }

// sshServer serves the node's repository to a user whose login shell is
// git-shell, where there may be such a user.
func (n *node) sshServer() *gitsynctest.SSHD {
	n.t.Helper()
	dir := filepath.Join(n.Dir, "sshd")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Chmod(n.Dir, 0o711)); err != nil {
		n.t.Fatal(err)
	}
	srv, err := gitsynctest.StartSSHD(gitsynctest.SSHDOptions{Root: filepath.Dir(n.Repo.Dir), Dir: dir, LoginShell: os.Geteuid() == 0})
	if errors.Is(err, gitsynctest.ErrNoSSHD) {
		n.t.Skip(err)
	}
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		srv.Close()
		if n.t.Failed() {
			n.t.Log("sshd: " + srv.Log())
		}
	})
	return srv
}

// overSSH has the agent follow the repository there.
func (n *node) overSSH(srv *gitsynctest.SSHD) {
	n.configure(fmt.Sprintf("repository: {url: %q, sshKeyFile: %q, knownHostsFile: %q}\n", srv.RepoURL(n.Repo), srv.KeyFile, srv.KnownHosts))
}
