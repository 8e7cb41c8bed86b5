package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// TestDevCommandLine: what can be known to be wrong is said before anything is
// made. What the verbs do is tested where whole machines can be looked at, in
// cmd/internal/devfleet.
func TestDevCommandLine(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	empty, unborn := t.TempDir(), t.TempDir()
	gitIn(t, unborn, "init", "--quiet")
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"dev", 0, "Run a whole fleet on this machine"},
		{"dev frob", 2, `there is no verb "frob" of dev`},
		{"dev kill", 2, `"orpheus dev kill" cannot be read with 0 arguments`},
		{"dev kill node-1", 1, `there is no fleet "dev" on this machine; "orpheus dev up" makes one`},
		{"dev status --name shop", 1, `there is no fleet "shop"`},
		{"dev down", 1, `there is no fleet "dev"`},
		{"dev logs node-1", 1, `there is no fleet "dev"`},
		{"dev logs ../../etc", 2, `"../../etc" is no name of a node`},
		{"dev status --name ../x", 2, `--name "../x" is not a DNS label`},
		{"dev cut node-1 --from here", 2, "write both or peers or git"},
		{"dev up --process --nodes 0", 2, "--nodes 0: write 1 to 243"},
		{"dev up --process --containerd", 2, "none of the others can be"},
		{"dev up --process --repository /does/not/exist", 2, "is not a folder"},
		{"dev up --process --repository " + empty, 2, "is in no Git repository"},
		{"dev up --process --repository " + unborn, 2, "has no commit yet"},
		{"dev up --process --agent-config /does/not/exist", 2, "--agent-config: open"},
	} {
		code, stdout, stderr := orpheus(t, empty, strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(stdout+stderr, c.want) {
			t.Errorf("orpheus %s: %d\n%s%s", c.args, code, stdout, stderr)
		}
	}
	if left, err := os.ReadDir(cache); err != nil || len(left) > 0 {
		t.Errorf("left in the cache: %v %v", left, err)
	}
}

func gitIn(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-C", dir}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull,
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

// TestFindSource: which commit and which folder of the user's repository a
// fleet gets, and what is said about it.
func TestFindSource(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	writeFiles(t, top, map[string]string{"fleets/prod/fleet.yaml": "", "other/x": ""})
	gitIn(t, top, "init", "--quiet", "--initial-branch=topic")
	gitIn(t, top, "add", ".")
	gitIn(t, top, "commit", "--quiet", "-m", "fleet")
	writeFiles(t, top, map[string]string{"other/x": "changed", "new": ""})

	s, err := findSource(t.Context(), filepath.Join(top, "fleets/prod"))
	if err != nil || s.top != top || s.path != "fleets/prod" || s.branch != "topic" || s.changed != 2 {
		t.Errorf("in a folder: %+v %v", s, err)
	}
	if _, err := findSource(t.Context(), filepath.Join(top, "other")); err == nil || !strings.Contains(err.Error(), "no fleet.yaml that is committed") {
		t.Errorf("in a folder without a fleet: %v", err)
	}
	bare := filepath.Join(t.TempDir(), "bare.git")
	gitIn(t, top, "clone", "--quiet", "--bare", ".", bare)
	if s, err = findSource(t.Context(), bare); err != nil || s.top != "" || s.path != "." || s.changed != 0 {
		t.Errorf("bare: %+v %v", s, err)
	}
	copied := filepath.Join(t.TempDir(), "copy.git")
	gitIn(t, top, "init", "--quiet", "--bare", copied)
	if err := s.push(t.Context(), copied); err != nil {
		t.Fatal(err)
	}
	gitIn(t, copied, "cat-file", "-e", "refs/heads/main:fleets/prod/fleet.yaml")
	t.Chdir(t.TempDir())
	if s, err := findSource(t.Context(), ""); s != nil || err != nil {
		t.Errorf("nothing there: %+v %v", s, err)
	}
}

// TestDrawFleet: a row for each state a node can be in.
func TestDrawFleet(t *testing.T) {
	commit := planner.Commit{Hash: "0123456789abcdef0123456789abcdef01234567"}
	well := &api.Status{Repository: api.Repository{Applied: commit}, Services: []api.Service{{
		Name: "web", Replicas: 1, Ready: 1, Updated: 1, Instances: []api.Instance{{Slot: "0", Phase: planner.PhaseReady}},
	}}}
	dark := *well
	dark.Repository.Error = "remote cannot be reached"
	st := devStatus{
		devState: devState{Name: "dev", PID: 7, GitURL: "http://10.213.0.1:80/fleet.git", Nodes: []devNode{
			{Name: "node-1", On: true, Address: "10.213.0.11:7718", Agent: 11, Processes: []int{11, 12}},
			{Name: "node-2", Address: "10.213.0.12:7718"},
			{Name: "node-3", On: true, Address: "10.213.0.13:7718", Agent: 31, Processes: []int{31}, Cut: "git"},
			{Name: "node-4", On: true, Address: "10.213.0.14:7718"},
			{Name: "node-5", On: true, Address: "10.213.0.15:7718", Agent: 51},
		}},
		Agents: map[string]*api.Status{"node-1": well, "node-3": &dark},
	}
	var s screen
	drawFleet(&s, st, st.StartedAt)
	var out bytes.Buffer
	if err := s.writeTo(&out); err != nil {
		t.Fatal(err)
	}
	const want = `FLEET     dev, up for 0s, supervisor 7
GIT       http://10.213.0.1:80/fleet.git

NODE    STATE     ADDRESS           AGENT  PROCESSES  COMMIT    READY  NOTE
node-1  on        10.213.0.11:7718  11     2          01234567  1/1
node-2  off       10.213.0.12:7718
node-3  on        10.213.0.13:7718  31     1          01234567  1/1    cut off from Git; remote cannot be reached
node-4  no agent  10.213.0.14:7718
node-5  silent    10.213.0.15:7718  51                                 its agent does not answer; see dev logs
`
	if out.String() != want {
		t.Errorf("%s", out.String())
	}
}

// TestDevReport: what is up, and at which address nodes reach this machine.
func TestDevReport(t *testing.T) {
	var b bytes.Buffer
	d := &dev{env: &env{stdout: &b}, name: "dev"}
	st := &devState{Name: "dev", GitURL: "http://10.213.0.1:80/fleet.git", Host: "10.213.0.254", Nodes: []devNode{{Name: "node-1", Address: "10.213.0.11:7718"}}}
	d.report(st, nil, serveOptions{}, time.Second)
	for _, want := range []string{`Fleet "dev" is up in 1.0 s: 1 node that runs containers.`, "  Host      10.213.0.254: this machine, as nodes"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
