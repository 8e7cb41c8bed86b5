package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/trust"
	"github.com/orpheus-cd/orpheus/planner"
)

// examOf is a node that would share work through a repository.
func examOf(t *testing.T, repository string) *nodeExam {
	t.Helper()
	n := &nodeExam{file: "agent.yaml", running: func(context.Context) bool { return false }}
	n.config = config{Node: nodeConfig{Name: "node-1"}, Repository: repositoryConfig{URL: repository}, StateDir: t.TempDir(), RunDir: t.TempDir()}
	if err := n.config.complete(); err != nil {
		t.Fatal(err)
	}
	return n
}

// finds runs a check that has to find a level and say a text.
func finds(t *testing.T, run func(context.Context) (level, string, string), want level, text string) {
	t.Helper()
	found, said, remedy := run(t.Context())
	if found != want || !strings.Contains(said, text) || (remedy == "") != (found == levelOK) {
		t.Errorf("%s: %s (%s); want %s: %s", found, said, remedy, want, text)
	}
}

func TestDoctorRecords(t *testing.T) {
	remote, dir := fleetRemote(t, fleetFiles())
	n := examOf(t, remote)
	finds(t, n.records, levelWarn, "fleet.yaml could not be read")
	finds(t, n.repository, levelOK, "branch main at")
	before := gitAs(t, remote, "for-each-ref")
	finds(t, n.records, levelOK, "0 registered nodes; compares old values, atomic pushes, protocol version 2")
	if after := gitAs(t, remote, "for-each-ref"); after != before {
		t.Errorf("doctor leaves something behind:\n%s", after)
	}
	w := newRecordWriter(t, remote)
	w.node(w.record("node-1"))
	n.running = func(context.Context) bool { return true }
	finds(t, n.records, levelOK, "1 registered node; the agent here has probed the server")

	n.running = func(context.Context) bool { return false }
	gitAs(t, remote, "config", "receive.denyDeletes", "true") // keeps the scratch refs, and works
	gitAs(t, remote, "config", "transfer.hideRefs", "refs/orpheus/probe")
	finds(t, n.records, levelFail, "create refs below refs/orpheus/")

	n.config.Records.URL = filepath.Join(t.TempDir(), "none.git")
	finds(t, n.records, levelFail, "none.git")

	// Agents would refuse the newest commit.
	if err := os.Remove(filepath.Join(dir, "fleet.yaml")); err != nil {
		t.Fatal(err)
	}
	gitAs(t, dir, "commit", "-qam", "empty")
	gitAs(t, dir, "push", "-q")
	finds(t, n.repository, levelWarn, "which agents refuse")
}

func TestDoctorAbilities(t *testing.T) {
	for _, row := range []struct {
		able gitsync.Abilities
		want level
		text string
	}{
		{gitsync.Abilities{Compares: true, Atomic: true, V2: true}, levelOK, "atomic pushes"},
		{gitsync.Abilities{Compares: true, Atomic: true}, levelWarn, "version 2"},
		{gitsync.Abilities{Compares: true, V2: true}, levelWarn, "two pushes"},
		{gitsync.Abilities{Atomic: true, V2: true}, levelFail, "without comparing"},
	} {
		finds(t, func(context.Context) (level, string, string) { return judgeAbilities(row.able, "x") }, row.want, row.text)
	}
}

func TestDoctorForge(t *testing.T) {
	own, github := planner.Fleet{}, planner.Fleet{Budgets: planner.GitHubBudgets}
	apart := func(f planner.Fleet) planner.Fleet {
		f.Records = &planner.RecordsPlace{URL: "https://github.com/team/records.git"}
		return f
	}
	for _, row := range []struct {
		name, repository string
		fleet            planner.Fleet
		want             level
		text             string
	}{
		{"a server of one's own", "https://git.example.com/team/fleet.git", own, levelOK, "no hosted forge"},
		{"a name that only looks like it", "https://notgithub.com/team/fleet.git", own, levelOK, "no hosted forge"},
		{"a path", "/srv/git/github.com/fleet.git", own, levelOK, "no hosted forge"},
		{"all in one place", "https://github.com/team/fleet.git", github, levelWarn, "the manifests' branch"},
		{"the same by ssh", "git@gitlab.com:team/fleet.git", github, levelWarn, "gitlab.com"},
		{"ssh over the port of https", "ssh://git@ssh.github.com:443/team/fleet.git", github, levelWarn, "ssh.github.com"},
		{"apart, and too fast", "https://github.com/team/fleet.git", apart(own), levelWarn, "more than 6 times a minute"},
		{"as it should be", "https://github.com/team/fleet.git", apart(github), levelOK, "apart from the manifests"},
		{"one repository by two names", "git@github.com:Team/Records", apart(github), levelWarn, "the manifests' branch"},
	} {
		t.Run(row.name, func(t *testing.T) {
			n := examOf(t, row.repository)
			n.fleet = &row.fleet
			finds(t, n.forge, row.want, row.text)
		})
	}
}

func TestDoctorPeerPort(t *testing.T) {
	n := examOf(t, "/srv/git/fleet.git")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n.config.Peer.Listen = l.Addr().String()
	finds(t, n.peerPort, levelFail, "address already in use")
	n.running = func(context.Context) bool { return true } // it is the agent's
	finds(t, n.peerPort, levelOK, "others reach it at 127.0.0.1:")
	n.running = func(context.Context) bool { return false }
	n.config.Peer.Listen, n.config.Peer.Address = "127.0.0.1:0", "10.0.0.5:7718"
	finds(t, n.peerPort, levelOK, "others reach it at 10.0.0.5:7718")
	n.config.Peer.Listen = "none"
	finds(t, n.peerPort, levelOK, "shows life through the repository")
}

func TestDoctorNodeKey(t *testing.T) {
	n := examOf(t, "/srv/git/fleet.git")
	path := filepath.Join(n.config.StateDir, nodeKeyFile)
	finds(t, n.nodeKey, levelOK, "will be made")
	if _, err := os.Stat(path); err == nil {
		t.Fatal("doctor made a key")
	}
	key, err := trust.LoadOrCreateKey(path)
	if err != nil {
		t.Fatal(err)
	}
	finds(t, n.nodeKey, levelOK, key.Public())
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	finds(t, n.nodeKey, levelFail, "chmod 600")
}

// A node alone has no such checks.
func TestDoctorAlone(t *testing.T) {
	n := examOf(t, "/srv/git/fleet.git")
	if len(n.fleetChecks()) == 0 {
		t.Error("a node of a fleet is not checked")
	}
	n.config.Coordination = coordinationNone
	if len(n.fleetChecks()) != 0 {
		t.Error("a node alone is checked for a fleet")
	}
}
