package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/planner"
)

// TestFilesMissingAtStart starts an agent again and again, each time without one
// of the files that its configuration names, as after a reboot with a disk that
// is not mounted yet. Each time what ran runs on, what dies is started again,
// and the status names the file, if it is one that is needed now.
func TestFilesMissingAtStart(t *testing.T) {
	n := newNode(t, devfleet.Options{Driver: planner.DriverProcess, Git: gitsynctest.Options{TLS: true, Token: gitToken}})
	n.secret("token", gitToken)
	sound := fmt.Sprintf("tokenFile: %q", n.secretFile("token"))
	n.configure("repository: {" + sound + "}\n")
	hash := n.commit("first version", n.bystanders())
	n.agent()
	n.await("first version", devfleet.SettledAt(hash))

	const gone = "/nonexistent/of-this-test"
	webhook := func(fields string) string {
		return fmt.Sprintf("repository: {%s}\nwebhook: {listen: %q, %s}\n", sound, unusedAddress(t), fields)
	}
	n.secret("webhook", webhookSecret)
	n.secret("known", "# nobody")
	for k, row := range []struct {
		name, config string
		told         bool
	}{
		{"token", "repository: {tokenFile: GONE}", true},
		{"password", "repository: {username: u, passwordFile: GONE}", true},
		{"authorities", "repository: {caFile: GONE, " + sound + "}", true},
		{"proxy's password", "repository: {proxy: 'http://127.0.0.1:1', proxyUsername: u, proxyPasswordFile: GONE, " + sound + "}", true},
		{"app's key", "repository: {githubApp: {appID: 1, installationID: 2, privateKeyFile: GONE, apiURL: 'http://127.0.0.1:1'}}", true},
		{"ssh key", "repository: {url: 'ssh://git@127.0.0.1:1/r.git', sshKeyFile: GONE, knownHostsFile: " + n.secretFile("known") + "}", true},
		{"known hosts", "repository: {url: 'ssh://git@127.0.0.1:1/r.git', sshKeyFile: /dev/null, knownHostsFile: GONE}", true},
		{"webhook's secret", webhook("secretFile: GONE"), true},
		{"webhook's certificate", webhook(fmt.Sprintf("secretFile: %q, certFile: GONE, keyFile: GONE", n.secretFile("webhook"))), true},
		{"plugin", "repository: {" + sound + "}\nplugins: [{name: other, path: GONE, sha256: " + strings.Repeat("a", 64) + "}]", true},
		// Of use once an image is pulled or the node is in a fleet.
		{"registry's and docker's", "repository: {" + sound + "}\ndockerConfig: GONE\nregistries: {a.example.com: {caFile: GONE, username: u, passwordFile: GONE}}", false},
		{"records'", "repository: {" + sound + "}\nrecords: {url: 'https://127.0.0.1:1/r.git', tokenFile: GONE, caFile: GONE}", false},
	} {
		before := n.lives()
		if err := n.EndAgent(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		n.configure(strings.ReplaceAll(row.config, "GONE", gone))
		if err := n.StartAgent(); err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		st := n.await(row.name+" is told", func(st *api.Status) string {
			if row.told && !strings.Contains(troubles(st), gone) {
				return "status names no file: " + troubles(st)
			}
			return allRun(n, len(before))
		})
		t.Logf("%s: %s", row.name, troubles(st))
		n.untouched(row.name, before)
		slots := slices.Sorted(maps.Keys(before))
		victim := slots[k%len(slots)] // one after the other: each has a back-off of its own
		if err := syscall.Kill(before[victim].PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		n.await(row.name+": what died is started again", func(st *api.Status) string {
			if now := n.lives()[victim]; now.PID == before[victim].PID || now.Restarts == before[victim].Restarts {
				return "it was not noticed yet"
			}
			for _, s := range st.Services {
				if s.Ready != s.Replicas { // a start under way ends with the agent
					return fmt.Sprintf("%s: %d of %d are ready", s.Name, s.Ready, s.Replicas)
				}
			}
			return allRun(n, len(before))
		})
	}
}

func allRun(n *node, want int) string {
	if have := len(n.lives()); have != want {
		return fmt.Sprintf("%d of %d instances run", have, want)
	}
	return ""
}

// troubles is what a status says of the node itself.
func troubles(st *api.Status) string {
	all := append(slices.Clone(st.Problems), st.Repository.Error)
	for _, d := range st.Drivers {
		all = append(all, d.Error)
	}
	return strings.Join(slices.DeleteFunc(all, func(s string) bool { return s == "" }), "; ")
}
