package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
)

// TestDatabase changes the image of a database twenty times. The database
// itself proves that no two ever had its data: like PostgreSQL it takes a lock
// there, and ends with code 3 if another holds it.
func TestDatabase(t *testing.T) {
	n := newNode(t, devfleet.Options{LocalPath: true})
	const changes = 20
	for k := range changes + 1 {
		n.push(fmt.Sprintf("db:%d", k), strconv.Itoa(k))
	}
	n.agent()
	db := func(tag string) map[string]string {
		return map[string]string{"fleet.yaml": fleetYAML, "db.yaml": n.manifest(spec{
			name: "db", image: "db:" + tag, args: []string{"database", "/data"}, env: map[string]string{"PORT": "5432"},
			more: "  volumes: [{name: data, local: {}}]\n  volumeMounts: [{name: data, mountPath: /data}]\n",
		})}
	}
	n.apply("first version", db("0"))
	for k := 1; k <= changes; k++ {
		if k == changes/2 {
			n.badImage(db)
		}
		hash := n.commit(fmt.Sprintf("version %d", k), db(strconv.Itoa(k)))
		// Stop-first takes a start less than start-first: it need not be ready.
		n.await("the next version runs", func(st *api.Status) string {
			s := service(st, "db")
			if st.Repository.Applied.Hash != hash || s.Updated != 1 || len(s.Instances) != 1 {
				return "not replaced: " + s.Message
			}
			if devfleet.PIDs(st, "db")["0"] == 0 {
				return "not started"
			}
			return ""
		})
	}
	n.await("at rest", devfleet.Settled)

	log := n.containerLog("db", "0")
	if strings.Contains(log, "FATAL") {
		t.Errorf("two databases met on one folder:\n%s", log)
	}
	if log := n.agentLog(); strings.Contains(log, "instance ended") || strings.Contains(log, "action failed") {
		t.Errorf("a database ended or could not be started")
	}
	if restarts := service(n.status(), "db").Instances[0].Restarts; restarts != 0 {
		t.Errorf("status counts %d restarts", restarts)
	}
	data, err := os.ReadFile(n.volume("journal"))
	if err != nil {
		t.Fatal(err)
	}
	if begun := strings.Count(string(data), "begin"); begun != changes+1 {
		t.Errorf("the journal on the volume tells of %d starts, not %d:\n%s", begun, changes+1, data)
	}
	n.stoppedFirst(changes)
}

// badImage commits an image that does not exist: the database runs on.
func (n *node) badImage(db func(string) map[string]string) {
	n.t.Helper()
	n.await("at rest", devfleet.Settled)
	before := n.lives()
	n.commit("a version that does not exist", db("nonsense"))
	st := n.await("the bad image is noticed", func(st *api.Status) string {
		if message := service(st, "db").Message; !strings.Contains(message, "db:nonsense") {
			return "db says: " + message
		}
		return ""
	})
	contains(n.t, "message of db", service(st, "db").Message, "not", n.Registry.Host)
	n.untouched("the next image does not exist", before)
}

// volume is a file on the only volume of the node.
func (n *node) volume(name string) string {
	n.t.Helper()
	var found []string
	_ = filepath.WalkDir(filepath.Join(n.StateDir(), "volumes"), func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Name() == name {
			found = append(found, path)
		}
		return nil
	})
	if len(found) != 1 {
		n.t.Fatalf("%s on volumes: %v", name, found)
	}
	return found[0]
}

// containerLog is what a slot has written.
func (n *node) containerLog(service, slot string) string {
	n.t.Helper()
	data, err := os.ReadFile(filepath.Join(n.StateDir(), "logs", "default", service, slot, "main.log"))
	if err != nil {
		n.t.Fatal(err)
	}
	return string(data)
}

// stoppedFirst demands that the agent's own account agrees: each old instance
// was stopped before the next was started.
func (n *node) stoppedFirst(changes int) {
	n.t.Helper()
	var order []string
	for line := range strings.Lines(n.agentLog()) {
		if !strings.Contains(line, "msg=action") || !strings.Contains(line, "slot=db-0") {
			continue
		}
		for _, kind := range []string{"start", "stop"} {
			if strings.Contains(line, "action="+kind+" ") {
				order = append(order, kind)
			}
		}
	}
	want := strings.Repeat("start stop ", changes) + "start"
	if got := strings.Join(order, " "); got != want {
		n.t.Errorf("the agent did: %s", got)
	}
}
