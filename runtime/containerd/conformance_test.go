//go:build linux

package containerd

import (
	"testing"

	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/containerd/imagetest"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

func TestConformance(t *testing.T) {
	b := testBench(t)
	img, err := imagetest.Build(imagetest.Options{Binary: runtimetest.BuildPayload(t)})
	if err != nil {
		t.Fatal(err)
	}
	ref, _, err := b.registry.Push("conformance:1", img)
	if err != nil {
		t.Fatal(err)
	}
	runtimetest.Conformance(t, runtimetest.Harness{
		New: func(t *testing.T) runtime.Driver { return b.driver(t) },
		Container: func(_ *testing.T, args ...string) runtime.Container {
			return runtime.Container{Name: "main", Image: ref, Args: args}
		},
		MissingImage: b.registry.Host + "/there-is-none:1",
		RestartBackend: func(t *testing.T) {
			if err := b.server.Restart(); err != nil {
				t.Fatal(err)
			}
		},
		Leftovers: func(t *testing.T) []string { return b.everything(t) },
	})
}
