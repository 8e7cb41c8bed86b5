package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/runtime/containerd/imagetest"
)

// outputs is everything the agent tells, and the command line of every process
// on the machine, by where it is found.
func (n *node) outputs() map[string]string {
	n.t.Helper()
	out := map[string]string{"log": n.agentLog(), "status": n.get("/v1/status"), "metrics": n.get("/metrics"), "page": n.get("/")}
	for _, args := range [][]string{{"status"}, {"status", "-o", "json"}, {"events"}, {"events", "-o", "json"}, {"holds"}} {
		out["orpheus "+strings.Join(args, " ")], _ = n.orpheus(append(args, "--socket", n.Socket())...)
	}
	for _, s := range n.status().Services {
		out["orpheus why "+s.Name], _ = n.orpheus("why", s.ID().String(), "--socket", n.Socket())
		out["orpheus status "+s.Name], _ = n.orpheus("status", s.ID().String(), "--socket", n.Socket())
	}
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range lines {
		line, _ := os.ReadFile(file) // it may have just ended
		out[file] = strings.ReplaceAll(string(line), "\x00", " ")
	}
	return out
}

// kept is everything the agent keeps, by file.
func (n *node) kept() map[string]string {
	out := map[string]string{}
	for _, dir := range []string{n.StateDir(), filepath.Dir(n.Socket())} {
		_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				if data, err := os.ReadFile(path); err == nil {
					out[path] = string(data)
				}
			}
			return nil
		})
	}
	return out
}

// tellsNoSecrets looks for credentials in everything the agent tells or keeps.
func (n *node) tellsNoSecrets(secrets ...string) {
	n.t.Helper()
	places := n.outputs()
	maps.Copy(places, n.kept())
	n.holdNone(places, secrets...)
}

func (n *node) holdNone(places map[string]string, secrets ...string) {
	n.t.Helper()
	for place, text := range places {
		for _, s := range secrets {
			if strings.Contains(text, s) {
				n.t.Errorf("%s holds the credential %s", place, s)
			}
		}
	}
}

// Further credentials that must be seen nowhere.
const (
	otherRegistryPassword = "registry-password-Wp81" // a wrong one
	webhookSecret         = "webhook-secret-K0pa7Xw2Ls"
	envPassword           = "env-password-Ju62s"
)

// TestAttack11CredentialsInURL plants credentials where there may be some: in
// the repository's URL and the proxy's, in files for the registry and the
// webhook, in a container's environment. Everything is told while all is well,
// and while each of those that are shown the credentials refuses them and says
// them back.
func TestAttack11CredentialsInURL(t *testing.T) {
	n := newNode(t, devfleet.Options{
		Git:      gitsynctest.Options{TLS: true, Username: "user", Password: urlPassword},
		Registry: imagetest.RegistryOptions{User: "puller", Secret: registryPassword, Bearer: true},
	})
	n.push("app:1", "1")
	p := n.newProxy()
	p.echoes = true
	url := "https://user:" + urlPassword + "@" + strings.TrimPrefix(n.proxiedURL(), "https://")
	n.secret("registry", registryPassword)
	n.secret("webhook", webhookSecret)
	const hook = "127.0.0.1:18790"
	n.configure(fmt.Sprintf("repository: {url: %q, proxy: %q}\nregistries: {%q: {username: puller, passwordFile: %q}}\n"+
		"coordination: leases\npeer: {listen: none}\nwebhook: {listen: %q, secretFile: %q}\n",
		url, strings.Replace(p.URL, "://", "://"+proxyLogin+"@", 1), n.Registry.Host, n.secretFile("registry"), hook, n.secretFile("webhook")))
	app := func(name, image string) string {
		return n.manifest(spec{name: name, image: image, env: map[string]string{"DB_PASSWORD": envPassword}})
	}
	first := n.commit("first version", map[string]string{"fleet.yaml": fleetYAML, "web.yaml": app("web", "app:1")})
	n.agent()
	n.await("first version", func(st *api.Status) string {
		if service(st, "web").Ready == 0 {
			return "web is not ready"
		}
		return devfleet.SettledAt(first)(st)
	})
	n.say("hold", "web", "--for", "1h", "--reason", "somebody looks at it")
	n.tell(hook)
	if err := p.used(); err != nil {
		t.Error(err)
	}

	// The registry does not let it in, the hook is called by strangers, the
	// repository's server says the password back, then the proxy does.
	n.secret("registry", otherRegistryPassword)
	n.push("app:2", "2")
	n.commit("an image that it may not pull", map[string]string{"late.yaml": app("late", "app:2")})
	n.await("the registry says no", func(st *api.Status) string {
		if text := service(st, "late").Message; !strings.Contains(text, "401") && !strings.Contains(text, "credentials") {
			return "it says " + text
		}
		return ""
	})
	n.tell(hook)
	n.Git.SetFault(gitsynctest.Status(http.StatusForbidden, "", "no "+urlPassword))
	n.await("Git says no", repositoryError("403"))
	n.tell(hook)
	p.refuses.Store(http.StatusProxyAuthRequired)
	p.cut()
	n.await("the proxy says no", repositoryError("407"))
	n.tell(hook)
	n.refs(urlPassword, proxyPassword, registryPassword, otherRegistryPassword, webhookSecret)
}

// tell has the node tell all it can, and be called with the webhook's secret as
// a stranger would who guesses it.
func (n *node) tell(hook string) {
	n.t.Helper()
	for header, value := range map[string]string{"X-Gitlab-Token": webhookSecret + "x", "X-Hub-Signature-256": "sha256=" + webhookSecret} {
		req, err := http.NewRequestWithContext(n.t.Context(), http.MethodPost, "http://"+hook+"/webhook", strings.NewReader(webhookSecret))
		if err != nil {
			n.t.Fatal(err)
		}
		req.Header.Set(header, value)
		res, err := (&http.Client{Timeout: 10 * time.Second}).Do(req)
		if err != nil {
			n.t.Fatal(err)
		}
		if res.Body.Close(); res.StatusCode < 400 {
			n.t.Errorf("a call with a wrong %s: %s", header, res.Status)
		}
	}
	secrets := []string{urlPassword, proxyPassword, registryPassword, otherRegistryPassword, webhookSecret}
	n.tellsNoSecrets(secrets...)
	out := n.outputs()
	config := filepath.Join(n.Dir, "agent.yaml")
	out["orpheus doctor"], _ = n.orpheus("doctor", "--config", config)
	out["orpheus doctor -o json"], _ = n.orpheus("doctor", "--config", config, "-o", "json")
	out["orpheus history"], _ = n.orpheus("history", "web", "--config", config)
	// They got as far as the repository, or into it.
	contains(n.t, "orpheus doctor", out["orpheus doctor"], gitHost)
	if text := out["orpheus history"]; !strings.Contains(text, "web-0 is given to") && !strings.Contains(text, gitHost) {
		n.t.Errorf("orpheus history says %q", text)
	}
	n.holdNone(out, append(secrets, envPassword)...)
	for file, text := range n.kept() {
		if strings.Contains(text, envPassword) && !n.mayHoldEnvironment(file) {
			n.t.Errorf("%s holds a container's environment", file)
		}
	}
}

// mayHoldEnvironment: what manifests say in clear is in the clone, in the state
// that starts everything without Git, and in what the driver is given.
func (n *node) mayHoldEnvironment(file string) bool {
	return file == filepath.Join(n.StateDir(), "state.json")
}

// refs looks into every object of the repository.
func (n *node) refs(secrets ...string) {
	n.t.Helper()
	refs, err := n.Repo.Git("", "for-each-ref")
	if err != nil {
		n.t.Fatal(err)
	}
	contains(n.t, "the repository", refs, prefix)
	objects, err := n.Repo.Git("", "cat-file", "--batch-all-objects", "--batch")
	if err != nil {
		n.t.Fatal(err)
	}
	n.holdNone(map[string]string{"the repository's refs": refs, "the repository's objects": objects}, secrets...)
}
