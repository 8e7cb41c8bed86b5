package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/planner"
)

// TestRecordsInSecondRepository: over https, with an authority of its own and a
// token; manifests can only be read, and what agents write goes elsewhere.
func TestRecordsInSecondRepository(t *testing.T) {
	t.Parallel()
	f := newFleet(t, devfleet.ClusterOptions{
		Driver: planner.DriverProcess, Nodes: 2, Loopback: true, Git: gitsynctest.Options{TLS: true, Token: gitToken},
	})
	records, err := f.Git.NewRepo("records.git")
	f.must(err)
	_, err = f.Repo.Git("", "config", "http.receivepack", "false")
	f.must(err)
	token := filepath.Join(f.Dir, "token")
	f.must(os.WriteFile(token, []byte(gitToken+"\n"), 0o600))
	for _, n := range f.Nodes {
		n.Configure(fmt.Sprintf("repository: {tokenFile: %q}\nrecords: {url: %q, tokenFile: %q}\n", token, f.Git.RepoURL(records), token))
	}
	web := map[string]int{"web": 4}
	version := func(v string) map[string]string {
		return map[string]string{"web.yaml": f.manifest(spec{name: "web", replicas: 4, env: map[string]string{"VERSION": v}})}
	}
	files := version("1")
	files["fleet.yaml"] = fmt.Sprintf("apiVersion: orpheus/v1\nkind: Fleet\nmetadata: {name: e2e}\n"+
		"spec: {pollInterval: 1s, nodes: [node-1, node-2], records: {url: %q}}\n", f.Git.RepoURL(records))
	f.begin(files, web)
	if spread := f.places().perNode("web"); spread["node-1"] != 2 || spread["node-2"] != 2 {
		t.Errorf("4 replicas on 2 nodes: %v", spread)
	}
	f.settles("version 2", f.commit("version 2", version("2")), web)
	before := f.places()
	hash, err := f.Repo.Revert()
	f.must(err)
	f.settles("revert", hash, web)
	for slot, at := range f.places() {
		if at[0].PID == before[slot][0].PID {
			t.Errorf("the revert did not touch %s", slot)
		}
	}
	if refs := f.refs(); len(refs) > 0 {
		t.Errorf("records in the manifests' repository: %v", refs)
	}
	text, err := records.Git("", "for-each-ref", "--format=%(refname)", prefix)
	f.must(err)
	contains(t, "the records' repository", text, "nodes/node-1", "nodes/node-2", "leases/default/web", "status/node-1")
	for _, n := range f.Nodes {
		if log := n.AgentLog(1 << 20); strings.Contains(log, gitToken) {
			t.Errorf("the log of %s holds the token", n.Name)
		}
	}
}

// TestRecordsBehindHook: over ssh, each node with a key of its own, on a server
// whose hook lets nodes write records and nothing else.
func TestRecordsBehindHook(t *testing.T) {
	t.Parallel()
	f := newFleet(t, devfleet.ClusterOptions{Driver: planner.DriverProcess, Nodes: 3, Loopback: true})
	dir := filepath.Join(f.Dir, "ssh")
	f.must(os.MkdirAll(dir, 0o700))
	server, err := gitsynctest.StartSSHD(gitsynctest.SSHDOptions{Root: filepath.Dir(f.Repo.Dir), Dir: dir})
	if errors.Is(err, gitsynctest.ErrNoSSHD) {
		t.Skip(err)
	}
	f.must(err)
	defer server.Close()
	f.must(os.WriteFile(filepath.Join(f.Repo.Dir, "hooks", "pre-receive"), []byte("#!/bin/sh\nexec '"+orpheus+"' hook pre-receive\n"), 0o755))
	keys := map[string]string{}
	for _, n := range f.Nodes {
		keys[n.Name], err = server.AddKey("ORPHEUS_USER=" + n.Name)
		f.must(err)
		n.Configure(fmt.Sprintf("repository: {url: %q, sshKeyFile: %q, knownHostsFile: %q}\n", server.RepoURL(f.Repo), keys[n.Name], server.KnownHosts))
	}
	web := map[string]int{"web": 3}
	hash := f.begin(map[string]string{"fleet.yaml": fleetYAML, "web.yaml": f.manifest(spec{name: "web", replicas: 3})}, web)

	work := filepath.Join(t.TempDir(), "work")
	f.must(git("clone", "-q", f.Repo.Dir, work))
	f.must(git("-C", work, "commit", "-q", "--allow-empty", "-m", "by a node"))
	push := func(key, to string) error {
		ssh := fmt.Sprintf("core.sshCommand=ssh -F none -i '%s' -o IdentitiesOnly=yes -o UserKnownHostsFile='%s'", key, server.KnownHosts)
		return git("-C", work, "-c", ssh, "push", "-q", server.RepoURL(f.Repo), "+HEAD:"+to)
	}
	for _, row := range []struct{ key, to string }{
		{"node-1", "refs/heads/main"},
		{"node-1", "refs/heads/other"},
		{"node-1", "refs/tags/v1"},
		{"node-1", prefix + "nodes/node-2"},
		{"node-1", prefix + "leases/default/web"}, // a commit with files is no record
	} {
		if err := push(keys[row.key], row.to); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("the key of %s pushes to %s: %v", row.key, row.to, err)
		}
	}
	if tip, err := f.Repo.Tip("main"); err != nil || tip != hash {
		t.Errorf("main is %s, %v", tip, err)
	}

	f.must(f.Nodes[2].Kill())
	took := f.await("the others may fence it", patience, func(all []*api.Status) string { return placesOf(all).exactly(web) })
	t.Logf("over ssh, behind the hook: a node that dies is replaced after %s", took.Round(100*time.Millisecond))
	f.comesBack(f.Nodes[2], web)
}

// git runs git; its error holds what it said.
func git(args ...string) error {
	cmd := exec.Command("git", args...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=e2e", "GIT_AUTHOR_EMAIL=e2e@example.com", "GIT_COMMITTER_NAME=e2e", "GIT_COMMITTER_EMAIL=e2e@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("git %s: %w: %s", args[0], err, out)
	}
	return nil
}
