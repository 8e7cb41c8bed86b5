//go:build linux

package containerd

import (
	"slices"
	"testing"

	"github.com/containerd/containerd/v2/core/images"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime/containerd/imagetest"
)

// listedPorts are the ports that the driver tells an instance's images expose.
func listedPorts(t *testing.T, d *Driver, id string) []planner.ImagePort {
	t.Helper()
	all, err := d.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	k := slices.IndexFunc(all, func(i planner.Instance) bool { return i.ID == id })
	if k < 0 {
		t.Fatalf("%s is not listed", id)
	}
	return all[k].ImagePorts()
}

// The ports that an image exposes are told for as long as the container exists,
// also by another agent and without the image, and also of a container that was
// made before there was a label for them.
func TestExposedPortsAreListed(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	d := b.driver(t)
	_, ref, digest := newRegistry(t, imagetest.RegistryOptions{}, imagetest.Options{Binary: b.payload, Expose: []string{"6379/tcp", "53/udp", "x/tcp"}})
	want := []planner.ImagePort{{Port: 53, Protocol: "udp"}, {Port: 6379, Protocol: "tcp"}}
	w := b.workload(t, "sleep")
	w.Containers[0].Image, w.Containers[0].Digest = ref, digest
	// Init containers end before anybody connects.
	setup := w.Containers[0]
	setup.Name, setup.Args = "setup", []string{"exit", "0"}
	w.Init = append(w.Init, setup)
	if _, err := d.Prepare(t.Context(), w, nil); err != nil {
		t.Fatal(err)
	}
	start(t, d, w)
	if got := listedPorts(t, d, w.ID); !slices.Equal(got, want) {
		t.Errorf("after the start: %v, want %v", got, want)
	}

	// As it is after an upgrade from an agent that wrote no such label.
	containers := b.client.ContainerService()
	c, err := containers.Get(b.ctx(), containerID(w.ID, 1))
	if err != nil {
		t.Fatal(err)
	}
	exposed := c.Labels[labelExposed]
	delete(c.Labels, labelExposed)
	if _, err := containers.Update(b.ctx(), c, "labels"); err != nil {
		t.Fatal(err)
	}
	former := b.driver(t)
	for range 2 {
		if got := listedPorts(t, former, w.ID); !slices.Equal(got, want) {
			t.Errorf("without the label: %v, want %v", got, want)
		}
	}
	c.Labels[labelExposed] = exposed
	if _, err := containers.Update(b.ctx(), c, "labels"); err != nil {
		t.Fatal(err)
	}

	img, _ := stored(t, d, digest)
	if err := b.client.ImageService().Delete(b.ctx(), img.Name, images.SynchronousDelete()); err != nil {
		t.Fatal(err)
	}
	if got := listedPorts(t, b.driver(t), w.ID); !slices.Equal(got, want) {
		t.Errorf("another agent, without the image: %v, want %v", got, want)
	}
	if got := listedPorts(t, former, w.ID); !slices.Equal(got, want) {
		t.Errorf("without the image: %v, want %v", got, want)
	}
}
