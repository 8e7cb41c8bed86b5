package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// withFile gives a service a file volume of this content.
func withFile(text string) func(*planner.Service) {
	return func(s *planner.Service) {
		sum := sha256.Sum256([]byte(text))
		file := planner.File{Volume: "conf", Path: "web.conf", SHA256: hex.EncodeToString(sum[:]), Data: []byte(text)}
		s.Template.Volumes = []planner.Volume{{Name: "conf", File: &planner.FileVolume{SHA256: file.SHA256}}}
		s.Template.Containers[0].VolumeMounts = []planner.VolumeMount{{Name: "conf", MountPath: "/etc/web.conf"}}
		s.Files = []planner.File{file}
	}
}

func suspended(s *planner.Service) {
	s.Suspend = &planner.Suspension{Until: time.Now().AddDate(1, 0, 0)}
}

// A release goes back to a revision that never ran on this node: its files are
// in the older commit alone. While that cannot be read the slot waits, with the
// reason, also through a restart of the agent.
func TestBackToARevisionThatNeverRanHere(t *testing.T) {
	inWorld(t, func(w *world) {
		good, bad := service("web", "a", withFile("good"), suspended), service("web", "b", withFile("bad"), suspended)
		first := w.commit(good)
		w.settle(time.Second)
		second := w.commit(bad)
		w.settle(time.Second)
		w.crash()
		path := filepath.Join(w.state, statePath)
		state, err := loadState(path)
		if err != nil {
			t.Fatal(err)
		}
		state.docs[good.ID] = planner.LeaseDoc{
			Service: good.ID, Commit: second.Hash, Tokens: 3, Blocked: []planner.Revision{bad.Revision}, LastGood: good.Revision,
			Leases:  []planner.Lease{{Slot: "0", Node: w.name, Token: 3, Revision: good.Revision}},
			History: []planner.Applied{{Revision: bad.Revision, Commit: second.Hash}, {Revision: good.Revision, Commit: first.Hash}},
		}
		state.followed.Services[bad.ID], state.specs[good.Revision] = bad, good.Template
		if err := state.save(path, true); err != nil {
			t.Fatal(err)
		}
		w.repo.failLoads(errors.New("connection refused"))
		w.start()
		w.settle(time.Minute)
		for range 2 {
			w.wantRunning()
			if i := w.service("web").Instances[0]; !strings.Contains(i.Reason, "until the repository can be read") || !strings.Contains(i.Reason, "connection refused") {
				t.Errorf("the slot waits for %q", i.Reason)
			}
			w.crash()
			w.start()
			w.settle(time.Minute)
		}
		w.repo.failLoads(nil)
		w.settle(10 * time.Minute)
		w.wantRunning("web-0 a")
	})
}

// The template of the last good revision stays on disk although nothing runs at
// it any more.
func TestLastGoodTemplateIsKept(t *testing.T) {
	good, bad := service("web", "a"), service("web", "b")
	s := newState()
	s.followed.Services[bad.ID] = bad
	s.specs[good.Revision] = good.Template
	doc := planner.LeaseDoc{
		Service: bad.ID, LastGood: good.Revision,
		Leases: []planner.Lease{{Slot: "0", Node: "n1", Token: 2, Revision: bad.Revision}},
	}
	path := filepath.Join(t.TempDir(), statePath)
	if err := s.with([]planner.LeaseDoc{doc}, nil).save(path, false); err != nil {
		t.Fatal(err)
	}
	read, err := loadState(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, rev := range []planner.Revision{good.Revision, bad.Revision} {
		if _, known := read.specs[rev]; !known {
			t.Errorf("the template of %s is forgotten", rev)
		}
	}
	if read.docs[bad.ID].LastGood != good.Revision {
		t.Errorf("read back %+v", read.docs[bad.ID])
	}
}
