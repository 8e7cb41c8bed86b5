package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestRotateLogs(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "default", "web", "0", "main.log")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	// The writer appends, as a container does, and never opens it again.
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	write := func(s string) {
		if _, err := out.WriteString(s); err != nil {
			t.Fatal(err)
		}
	}
	want := func(parts ...string) {
		t.Helper()
		for n, suffix := range []string{"", ".1", ".2", ".3"} {
			got, err := os.ReadFile(path + suffix)
			if n >= len(parts) {
				if err == nil {
					t.Errorf("%s is there", path+suffix)
				}
				continue
			}
			if string(got) != parts[n] {
				t.Errorf("main.log%s is %.40q (%d bytes), want %.40q", suffix, got, len(got), parts[n])
			}
		}
	}
	rotate := func() {
		t.Helper()
		if err := rotateLogs(root, 100, 2); err != nil {
			t.Fatal(err)
		}
	}
	big := func(c string) string { return strings.Repeat(c, 101) }
	write("small")
	rotate()
	want("small")
	write(big("b"))
	rotate()
	write("next")
	want("next", "small"+big("b"))
	write(big("c"))
	rotate()
	write(big("d"))
	rotate()
	want("", big("d"), "next"+big("c"))
	write(strings.Repeat("e", 5000)) // between two looks: the newest part is kept
	rotate()
	want("", strings.Repeat("e", 200), big("d"))
}

func TestSweepLogsKeepsWhatIsLeased(t *testing.T) {
	inWorld(t, func(w *world) {
		w.commit(service("web", "a", replicas(2)), service("api", "b"))
		w.settle(5 * time.Second)
		w.commit(service("web", "a"))
		w.settle(2 * sweepInterval)
		left, err := filepath.Glob(filepath.Join(LogRoot(w.state), "*", "*", "*"))
		if err != nil || len(left) != 1 || !strings.HasSuffix(left[0], "default/web/0") {
			t.Errorf("log folders %v, %v; want that of web-0", left, err)
		}
		if _, err := os.Stat(filepath.Join(LogRoot(w.state), "default", "api")); err == nil {
			t.Error("the folder of api is there")
		}
	})
}
