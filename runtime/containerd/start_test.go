//go:build linux

package containerd

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/orpheus-cd/orpheus/runtime"
)

// A start that cannot be taken back, for containerd has gone, must not pass for
// one that left nothing: the instance may run, and needs its network.
func TestStartThatCannotBeTakenBack(t *testing.T) {
	dir := t.TempDir()
	d, err := New(Config{Address: filepath.Join(dir, "nobody.sock"), StateDir: filepath.Join(dir, "state"), Cgroup: testCgroup()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	if err := d.takeBack(d.context(t.Context()), "web-0", []string{"web-0.0"}); !errors.Is(err, runtime.ErrUnavailable) {
		t.Errorf("takeBack: %v; want ErrUnavailable", err)
	}
	if err := d.takeBack(d.context(t.Context()), "web-0", nil); err != nil {
		t.Errorf("takeBack of nothing: %v", err)
	}
}
