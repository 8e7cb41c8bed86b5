//go:build linux

package process

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
)

// FuzzState reads whatever may be in an instance's folder.
func FuzzState(f *testing.F) {
	good, err := json.Marshal(state{Version: stateVersion, ID: "a", Workload: process{PID: 7, Start: 9}, Group: group{Unified: "/sys/fs/cgroup/x/a"}})
	if err != nil {
		f.Fatal(err)
	}
	end, err := json.Marshal(exit{Code: 137, Signal: 9, At: time.Unix(1, 0)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, end)
	f.Add([]byte(`{"version":1,"id":"a","shim":{"pid":-1}}`), []byte(`{"code":-1}`))
	f.Add([]byte("{"), []byte(nil))
	f.Fuzz(func(t *testing.T, stateText, exitText []byte) {
		s, err := decodeState(stateText, "a")
		if err != nil {
			return
		}
		if s.ID != "a" || s.Shim.PID < 0 || s.Workload.PID < 0 || s.Shim.PID == 1 || s.Workload.PID == 1 {
			t.Errorf("accepted %+v", s)
		}
		for _, folder := range s.Group.folders() {
			if !strings.HasSuffix(folder, "/a") {
				t.Errorf("accepted the cgroup %s", folder)
			}
		}
		i := instance{state: s}
		if e, err := decodeExit(exitText); err == nil {
			i.exit = &e
		}
		i.listed()
	})
}

// The name in /proc/PID/stat may hold anything.
func TestParseStat(t *testing.T) {
	rest := " S 7 1 1 0 -1 4194560 1 0 0 0 11 22 0 0 20 0 3 0 4242 1000 55 0 0"
	for _, name := range []string{"(sleep)", "(a b)", "() S 1 1)", "(\n)"} {
		s, err := parseStat([]byte("99 " + name + rest))
		if err != nil || s.state != 'S' || s.parent != 7 || s.ticks != 33 || s.threads != 3 || s.start != 4242 || s.pages != 55 {
			t.Errorf("%q: %+v, %v", name, s, err)
		}
	}
	for _, text := range []string{"", "99", "99 (sleep) S", "99 (x"} {
		if _, err := parseStat([]byte(text)); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}

func TestMountsOf(t *testing.T) {
	unified, v1 := mountsOf(`25 1 0:23 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
26 1 0:24 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct
27 1 0:25 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
nonsense
28 1 0:26 / /mnt rw - ext4 /dev/sda rw`)
	if unified != "/sys/fs/cgroup/unified" || len(v1) != 2 || v1[cpu] != "/sys/fs/cgroup/cpu,cpuacct" || v1[memory] != "/sys/fs/cgroup/memory" {
		t.Errorf("unified %q, v1 %v", unified, v1)
	}
}

// A file replaced in one step is never seen half.
func TestWriteAtomicReplaces(t *testing.T) {
	path := t.TempDir() + "/f"
	for _, text := range []string{"a long first content", "b"} {
		check(t, writeAtomic(path, text, true))
		if got := must(os.ReadFile(path)); string(got) != `"`+text+`"` {
			t.Errorf("the file holds %s", got)
		}
	}
}
