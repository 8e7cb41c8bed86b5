package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/terminal"
	"github.com/orpheus-cd/orpheus/planner"
)

var update = flag.Bool("update", false, "write the golden files anew; look at what changed")

var testNow = time.Date(2026, 3, 4, 12, 30, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return testNow.Add(-d) }

func testCommit(hash, subject string, d time.Duration) planner.Commit {
	return planner.Commit{Hash: strings.Repeat(hash, 10), Subject: subject, Author: "Ada", Time: ago(d)}
}

func testRevision(digit string) planner.Revision {
	return planner.Revision("r1-" + strings.Repeat(digit, 32))
}

// testService has n ready slots of a revision.
func testService(id, digit string, n int, published ...string) api.Service {
	sid := planner.ParseServiceID(id)
	s := api.Service{
		Namespace: sid.Namespace, Name: sid.Name, File: "services/" + sid.Name + ".yaml", Driver: "containerd",
		Replicas: n, Ready: n, Updated: n, Revision: testRevision(digit), Published: published,
	}
	for i := range n {
		s.Instances = append(s.Instances, api.Instance{
			Slot: fmt.Sprint(i), ID: fmt.Sprintf("%s-%d-%d", sid.Name, i, i+1), Phase: planner.PhaseReady,
			Token: uint64(i + 1), Revision: s.Revision, StartedAt: ago(26 * time.Hour), Address: fmt.Sprintf("10.64.0.%d", i+2),
			Images:     map[string]string{"registry.example.com/" + sid.Name + ":1.2.3": "sha256:" + strings.Repeat(digit, 64)},
			Containers: []api.Container{{Name: "main", PID: 4000 + i, State: "running"}},
		})
	}
	return s
}

func testStatus(services ...api.Service) *api.Status {
	c := testCommit("4f2a", "web: raise replicas to 3", 5*time.Minute)
	instances := 0
	for _, s := range services {
		instances += len(s.Instances)
	}
	return &api.Status{
		Node: "node-1", Version: "0.1.0", StartedAt: ago(3 * 24 * time.Hour),
		Repository: api.Repository{
			URL: "https://git.example.com/team/fleet.git", Branch: "main", Following: "branch main", Path: "fleets/prod",
			Applied: c, Seen: c, LastRead: ago(4 * time.Second),
		},
		Drivers:  []api.Driver{{Name: "containerd", Version: "1.7.28", Instances: instances}, {Name: "process"}},
		Services: services, FaultsIn: c.Short(),
	}
}

// scenarios are the states that people meet.
func scenarios() map[string]*api.Status {
	all := map[string]*api.Status{}
	usual := func() []api.Service {
		return []api.Service{
			testService("db", "1", 1, "127.0.0.1:5432/tcp→5432"), testService("web", "2", 3, "*:80/tcp→8080", "*:443/tcp→8443"),
			testService("shop/api", "3", 2),
		}
	}
	all["healthy"] = testStatus(usual()...)

	// A new revision replaces slot 1; slot 0 has it already.
	rolling := usual()
	web := &rolling[1]
	web.Revision, web.Updated, web.Message = testRevision("9"), 2, "replacing: 2 of 3 slots have revision r1-99999999"
	web.Instances[0].Revision, web.Instances[0].StartedAt = web.Revision, ago(40*time.Second)
	web.Instances = append(web.Instances[:2], append([]api.Instance{{
		Slot: "1", ID: "web-1-9", Phase: planner.PhaseStarting, Token: 9, Revision: web.Revision,
		Reason: "commit 4f2a4f2a changed revision r1-22222222 to r1-99999999 (spec.image)",
	}}, web.Instances[2:]...)...)
	all["rolling"] = testStatus(rolling...)

	// The registry has no such image: the old revision stays.
	blocked := usual()
	blocked[1].Revision, blocked[1].Updated = testRevision("9"), 0
	blocked[1].RetryAt = testNow.Add(20 * time.Second)
	blocked[1].Message = "revision r1-99999999 waits (tried 4 times): pull registry.example.com/team/web:1.2.4: not found; push the image, or correct the tag"
	all["blocked image"] = testStatus(blocked...)

	refused := testStatus(usual()...)
	refused.Repository.Seen = testCommit("77aa", "remove fleet.yaml by mistake", time.Minute)
	refused.Repository.Refused = `there is no fleets/prod/fleet.yaml; there is one in folder ".": check the path the agent follows`
	all["refused commit"] = refused

	down := testStatus(usual()...)
	down.Repository.Error = "fetch https://git.example.com/team/fleet.git: dial tcp 192.0.2.7:443: connect: connection refused"
	down.Repository.ErrorSince, down.Repository.LastRead = ago(17*time.Minute), ago(17*time.Minute)
	all["git down"] = down

	crash := usual()
	api0 := &crash[2].Instances[0]
	api0.Phase, api0.Restarts, api0.StartedAt, api0.Address = planner.PhaseFailed, 7, ago(9*time.Second), ""
	api0.Reason = "exited with code 1 (tried 7 times; again in 58 s)"
	api0.Containers[0] = api.Container{Name: "main", State: "exited", Exit: &planner.Exit{Code: 1}}
	crash[2].Ready, crash[2].Message = 1, api0.Reason
	all["crash loop"] = testStatus(crash...)

	probes := usual()
	sick := &probes[1].Instances[1]
	sick.Phase, sick.Reason = planner.PhaseUnhealthy, "not ready: httpGet http://:8080/healthz: 503 (3 of 3 failures)"
	probes[1].Ready, probes[1].Message = 2, sick.Reason
	for k := range probes[1].Instances {
		probes[1].Instances[k].Probes = []api.Probe{
			{Container: "main", Kind: planner.ProbeLiveness, Check: "exec /bin/check", Result: planner.CheckSuccess, FailureThreshold: 3},
			{Container: "main", Kind: planner.ProbeReadiness, Check: "httpGet http://:8080/healthz", Result: planner.CheckSuccess, FailureThreshold: 3},
		}
	}
	sick.Probes[0].Failures, sick.Probes[0].Message, sick.Probes[0].Output = 2, "exit code 1", `no \x1b[31mleader`
	sick.Probes[1].Result, sick.Probes[1].Failures, sick.Probes[1].Message = planner.CheckFailure, 3, "503"
	sick.LastLog = []string{"2026-03-04 panic: no leader", `\x1b[2J`, ""}
	all["probes fail"] = testStatus(probes...)

	var many []api.Service
	for i := range 60 {
		s := testService(fmt.Sprintf("service-%02d", i), fmt.Sprintf("%x", i%16), 1+i%3, fmt.Sprintf("*:%d/tcp→8080", 9000+i))
		if i%17 == 5 {
			s.Ready--
			s.Instances[0].Phase, s.Message = planner.PhasePulling, "pulling 12.4 of 80.1 MiB"
		}
		many = append(many, s)
	}
	all["sixty services"] = testStatus(many...)

	faults := testStatus(usual()...)
	faults.Faults = []planner.Fault{
		{File: "services/web.yaml", Line: 7, Column: 3, Field: "spec.replica", Reason: "is not a field of a Service", Remedy: "did you mean replicas?"},
		{File: "services/web.yaml", Line: 12, Column: 12, Field: "spec.ports[0].containerPort", Reason: `"http" is not a number`, Remedy: "write a port from 1 to 65535"},
		{File: "services/db.yaml", Line: 3, Field: "spec.image", Reason: "has the tag latest, which means another image every day", Remedy: "name a version", Warning: true},
	}
	faults.Problems = []string{"log rotation: open logs: no space left on device"}
	faults.Drivers[0].Error = "containerd at /run/containerd/containerd.sock does not answer"
	faults.Services[2].Message, faults.Services[2].Approve = "removed from the manifests, but it has volumes: its deletion waits", "Prune-Approved: "+strings.Repeat("4f2a", 10)
	all["faults and problems"] = faults

	long := append(usual(), testService(strings.Repeat("namespace-", 6)+"x/"+strings.Repeat("service-", 7)+"y", "7", 2, "*:9999/tcp→80"))
	all["long name"] = testStatus(long...)

	bulk := usual()
	trailer := "Prune-Approved: " + strings.Repeat("4f2a", 10)
	for k := range bulk {
		bulk[k].Message, bulk[k].Approve = "removed from the manifests together with 6 others: its deletion waits", trailer
	}
	all["bulk deletion"] = testStatus(bulk...)
	all["bulk deletion"].Deletions = []api.Deletion{{Approve: trailer, Count: 7, Services: []string{"a", "b", "c", "db", "web", "shop/api", "shop/x"}}}

	unread := testStatus(usual()...)
	unread.Repository = down.Repository
	unread.Fleet = &api.Fleet{Records: unread.Repository.URL, Unread: true, Error: unread.Repository.Error, ErrorSince: ago(17 * time.Minute)}
	all["records unread"] = unread

	closed := testStatus(usual()...)
	elsewhere := testNotOpened
	elsewhere.Name, elsewhere.Port = "db", 5432
	closed.NotOpened = []api.NotOpened{elsewhere, testNotOpened}
	closed.Problems = []string{elsewhere.String(), testNotOpened.String()}
	all["port closed"] = closed

	empty := testStatus()
	empty.Repository.Applied, empty.Repository.Seen = planner.Commit{}, planner.Commit{}
	empty.Drivers = nil
	all["empty"] = empty

	pod := testService("shop/pod", "5", 1)
	pod.Instances[0].Containers = []api.Container{
		{Name: "render", State: "exited", Exit: &planner.Exit{Container: "render"}},
		{Name: "web", PID: 4711, State: "running"},
		{Name: "worker", State: "exited", Exit: &planner.Exit{Container: "worker", Code: 137, Signal: 9, OOM: true}},
	}
	pod.Instances[0].Images = map[string]string{
		"registry.example.com/render:2.0.1": "sha256:" + strings.Repeat("a", 64),
		"registry.example.com/web:1.2.3":    "sha256:" + strings.Repeat("b", 64),
	}
	all["pod"] = testStatus(pod)

	// Everything that a repository can put in says something else to a terminal.
	evil := testStatus(usual()...)
	evil.Repository.Applied.Subject = "fix\x1b[2J\x1b[1;1Hall \u202egood\r\nNODE forged"
	evil.Faults = []planner.Fault{{File: "a\x1b]0;title\a.yaml", Reason: "evil\x07", Remedy: "\x1b[31mremedy"}}
	evil.Problems = []string{"log: \x1b[?1049h"}
	evil.Services[0].Message = "wide 日本語のメッセージ and \x9b31m"
	all["hostile"] = evil
	return all
}

func drawn(st *api.Status, detail bool, width int) string {
	s := &screen{width: width}
	drawStatus(s, st, detail, testNow)
	var b bytes.Buffer
	_ = s.writeTo(&b)
	return b.String()
}

// golden compares with a file of testdata, or writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", strings.ReplaceAll(name, " ", "_"))
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; run with -update and look at the difference.\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

func TestStatusScreens(t *testing.T) {
	for name, st := range scenarios() {
		for _, width := range []int{80, 200} {
			golden(t, fmt.Sprintf("status/%s.%d", name, width), drawn(st, false, width))
		}
	}
}

func TestServiceScreens(t *testing.T) {
	all := scenarios()
	for name, service := range map[string]string{"healthy": "web", "rolling": "web", "crash loop": "shop/api", "blocked image": "web", "pod": "shop/pod", "probes fail": "web", "port closed": "web", "long name": strings.Repeat("namespace-", 6) + "x/" + strings.Repeat("service-", 7) + "y"} {
		v := statusView{service: service}
		one, err := v.narrow(all[name])
		if err != nil {
			t.Fatal(err)
		}
		for _, width := range []int{80, 200} {
			golden(t, fmt.Sprintf("service/%s.%d", name, width), drawn(one, true, width))
		}
	}
}

// A port that is not opened is its service's: nobody asks for another's.
func TestClosedPortIsItsServices(t *testing.T) {
	st := scenarios()["port closed"]
	for service, want := range map[string]int{"web": 1, "shop/api": 0} {
		one, err := statusView{service: service}.narrow(st)
		if err != nil {
			t.Fatal(err)
		}
		if text := drawn(one, true, 0); strings.Count(text, "is not opened") != want || strings.Contains(text, "of db") {
			t.Errorf("%s:\n%s", service, text)
		}
		if asAsked(one) != (want == 0) {
			t.Errorf("%s is said to be as asked: %v", service, asAsked(one))
		}
	}
}

// TestScreensFit holds every line to the width of the screen.
func TestScreensFit(t *testing.T) {
	for name, st := range scenarios() {
		for _, width := range []int{80, 120, 200} {
			for _, detail := range []bool{false, true} {
				if detail && len(st.Services) == 0 {
					continue
				}
				for line := range strings.Lines(drawn(st, detail, width)) {
					line = strings.TrimRight(line, "\n")
					if terminal.Columns(line) > width {
						t.Errorf("%s at %d columns: line of %d: %s", name, width, terminal.Columns(line), line)
					}
				}
			}
		}
	}
}

func TestAttack23StatusCannotActOnTerminal(t *testing.T) {
	st := scenarios()["hostile"]
	st.Services[0].Name = "web\x1b[2J"
	st.Services[0].Instances[0].Reason = "evil\x1b[2J"
	st.Services[0].Instances[0].Images = map[string]string{"a\x1b[2J": "b\nc"}
	st.Services[0].Instances[0].LastLog = []string{"evil\x1b[2J"}
	st.Services[0].Instances[0].Probes = []api.Probe{{Container: "a\x1b[2J", Check: "b\x1b[2J", Message: "c\x1b[2J", Output: "d\x1b[2J"}}
	for _, detail := range []bool{false, true} {
		for _, width := range []int{0, 80, 200} {
			for _, r := range drawn(st, detail, width) {
				if r != '\n' && (r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u202e') {
					t.Fatalf("detail %v, width %d: %q reaches the terminal", detail, width, r)
				}
			}
		}
	}
}

func TestAttack23JSONCannotActOnTerminal(t *testing.T) {
	evil := map[string]string{"a": "\x1b[2J \u009b31m \x7f \u202e \U000e0001 日本 <&>"}
	for _, oneLine := range []bool{false, true} {
		var b bytes.Buffer
		if err := writeJSON(&b, evil, oneLine); err != nil {
			t.Fatal(err)
		}
		for _, r := range b.String() {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Errorf("%q reaches the terminal", r)
			}
		}
		var back map[string]string
		if err := json.Unmarshal(b.Bytes(), &back); err != nil || back["a"] != evil["a"] {
			t.Errorf("%q, %v", back["a"], err)
		}
	}
}
