//go:build linux

package containerd

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/containerd/imagetest"
)

// The files of users are the image's: whatever stands in their place must not
// hold up the node, nor lead out of the image.
func TestHostileUserFiles(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	d := b.driver(t)
	for name, o := range map[string]imagetest.Options{
		"pipe for passwd":          {Pipes: []string{"/etc/passwd"}, User: "app"},
		"pipe for passwd, by id":   {Pipes: []string{"/etc/passwd"}, User: "1000"},
		"pipe for passwd, as root": {Pipes: []string{"/etc/passwd"}},
		"pipe for group":           {Pipes: []string{"/etc/group"}, User: "app:staff"},
		"endless passwd":           {Files: map[string]string{"/etc/passwd": strings.Repeat("x:x:1:1:::\n", 1<<20)}, User: "app"},
	} {
		t.Run(name, func(t *testing.T) {
			o.Binary = b.payload
			ref, digest := push(t, b.registry, "hostile:1", o)
			w := b.workload(t, "lines")
			w.Containers[0].Image, w.Containers[0].Digest = ref, digest
			if _, err := d.Prepare(t.Context(), w, nil); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- d.Start(t.Context(), w) }()
			select {
			case err := <-ended:
				if !errors.Is(err, runtime.ErrInvalid) {
					t.Errorf("Start: %v; want ErrInvalid", err)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("Start hangs")
			}
		})
	}
}

// What a killed process had mounted to look into goes with the next sweep; what
// is in it stays.
func TestSweepUnmountsViews(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	d := b.driver(t)
	image := t.TempDir()
	kept := filepath.Join(image, "file")
	left := filepath.Join(d.cfg.viewDir(), "0-1")
	if err := errors.Join(os.WriteFile(kept, nil, 0o600), os.MkdirAll(left, 0o700), unix.Mount(image, left, "", unix.MS_BIND, "")); err != nil {
		t.Fatal(err)
	}
	if err := d.Sweep(t.Context(), map[string]bool{}); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", left, err)
	}
	if _, err := os.Lstat(kept); err != nil {
		t.Errorf("what was mounted is gone: %v", err)
	}
}
