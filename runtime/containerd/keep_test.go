//go:build linux

package containerd

import (
	"errors"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/containerd/v2/core/images"

	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/containerd/imagetest"
)

// impatient has a driver forget at once what was prepared.
func impatient(d *Driver) *Driver {
	d.images.uses.grace = time.Nanosecond
	return d
}

// stored is an image as the driver lists it.
func stored(t *testing.T, d *Driver, digest string) (runtime.Image, bool) {
	t.Helper()
	all, err := d.Images(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	k := slices.IndexFunc(all, func(i runtime.Image) bool { return i.Digest == digest })
	if k < 0 {
		return runtime.Image{}, false
	}
	return all[k], true
}

func TestStoresAreContainerds(t *testing.T) {
	b := testBench(t)
	folders, err := b.driver(t).Stores(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(folders) != 1 || folders[0] != filepath.Join(b.dir, "d", "root") {
		t.Errorf("containerd keeps its data in %q", folders)
	}
}

func TestImagesThatNobodyUsesCanBeRemoved(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	d := impatient(b.driver(t))
	r, ref, digest := newRegistry(t, imagetest.RegistryOptions{}, imagetest.Options{Binary: b.payload, Env: []string{"UNUSED=1"}, Padding: 3 << 20})
	if _, err := d.Prepare(t.Context(), of(ref, ""), nil); err != nil {
		t.Fatal(err)
	}
	img, ok := stored(t, d, digest)
	if !ok || img.InUse || time.Since(img.Fetched) > time.Hour {
		t.Fatalf("after the pull: %+v, %v", img, ok)
	}
	// As one that a person loaded by hand.
	theirs, err := b.client.ImageService().Get(b.ctx(), img.Name)
	if err != nil {
		t.Fatal(err)
	}
	theirs.Name, theirs.Labels = "registry.example.com/theirs@"+digest, nil
	if _, err := b.client.ImageService().Create(b.ctx(), theirs); err != nil {
		t.Fatal(err)
	}
	all, err := d.Images(t.Context())
	if err != nil || slices.ContainsFunc(all, func(i runtime.Image) bool { return i.Name == theirs.Name }) {
		t.Errorf("an image that we did not fetch is listed: %+v, %v", all, err)
	}
	if err := b.client.ImageService().Delete(b.ctx(), theirs.Name, images.SynchronousDelete()); err != nil {
		t.Fatal(err)
	}

	before, err := d.ImageBytes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second finds nothing, which is success
		if err := d.RemoveImage(t.Context(), img.Name); err != nil {
			t.Fatal(err)
		}
	}
	after, err := d.ImageBytes(t.Context())
	if err != nil || before-after < 6<<20 { // the padding as it was fetched, and unpacked
		t.Errorf("the removal made %d bytes free, %v", before-after, err)
	}
	if _, ok := stored(t, d, digest); ok {
		t.Error("it is listed after its removal")
	}
	asked := len(r.Asked("blobs"))
	if _, err := d.Prepare(t.Context(), of(ref, digest), nil); err != nil || len(r.Asked("blobs")) == asked {
		t.Errorf("it is not fetched again after its removal: %v", err)
	}
}

// TestUsedImagesStay: a container keeps its image also when it does not run
// any more, and a pull keeps it for a moment.
func TestUsedImagesStay(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	d := b.driver(t)
	_, ref, digest := newRegistry(t, imagetest.RegistryOptions{}, imagetest.Options{Binary: b.payload, Env: []string{"USED=1"}})
	w := b.workload(t, "exit", "0")
	w.Containers[0].Image, w.Containers[0].Digest = ref, digest
	if _, err := d.Prepare(t.Context(), w, nil); err != nil {
		t.Fatal(err)
	}
	img, _ := stored(t, d, digest)
	if err := d.RemoveImage(t.Context(), img.Name); !img.InUse || !errors.Is(err, runtime.ErrInUse) {
		t.Errorf("a moment after it was prepared: %+v, %v", img, err)
	}
	impatient(d)
	start(t, d, w)
	if _, err := d.Wait(t.Context(), w.ID); err != nil {
		t.Fatal(err)
	}
	img, _ = stored(t, d, digest)
	if err := d.RemoveImage(t.Context(), img.Name); !img.InUse || !errors.Is(err, runtime.ErrInUse) {
		t.Errorf("with a stopped container of it: %+v, %v", img, err)
	}
	if err := d.Remove(t.Context(), w.ID); err != nil {
		t.Fatal(err)
	}
	if img, _ = stored(t, d, digest); img.InUse {
		t.Error("without any container of it, it still counts as in use")
	}
}

// TestRemovalAndStartAtOnce: what was prepared can be started, whatever is
// removed meanwhile.
func TestRemovalAndStartAtOnce(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	d := b.driver(t)
	_, ref, digest := newRegistry(t, imagetest.RegistryOptions{}, imagetest.Options{Binary: b.payload, Env: []string{"RACE=1"}})
	if _, err := d.Prepare(t.Context(), of(ref, ""), nil); err != nil {
		t.Fatal(err)
	}
	img, _ := stored(t, d, digest)
	removed := 0
	for k := range 12 {
		// As long ago as it takes for the image to be fair game.
		d.images.uses.mu.Lock()
		clear(d.images.uses.prepared)
		d.images.uses.mu.Unlock()
		w := b.workload(t, "sleep")
		w.ID += "-race-" + strconv.Itoa(k)
		w.Containers[0].Image, w.Containers[0].Digest = ref, digest
		var both sync.WaitGroup
		both.Go(func() {
			switch err := d.RemoveImage(t.Context(), img.Name); {
			case err == nil:
				removed++
			case !errors.Is(err, runtime.ErrInUse):
				t.Error(err)
			}
		})
		both.Go(func() {
			if _, err := d.Prepare(t.Context(), w, nil); err != nil {
				t.Error(err)
			} else if err := d.Start(t.Context(), w); err != nil {
				t.Error(err)
			}
		})
		both.Wait()
		if err := d.Remove(t.Context(), w.ID); err != nil {
			t.Error(err)
		}
	}
	t.Logf("removed in %d of 12 rounds", removed)
}

// TestImageIsKeptUntilTheOthersAreThere: what is ready of a workload stays for
// as long as the rest of it takes, however long ago it came itself.
func TestImageIsKeptUntilTheOthersAreThere(t *testing.T) {
	b := testBench(t)
	b.leavesNothing(t)
	d := impatient(b.driver(t))
	r, ref, digest := newRegistry(t, imagetest.RegistryOptions{}, imagetest.Options{Binary: b.payload, Env: []string{"FIRST=1"}})
	slow, _ := push(t, r, "slow:1", imagetest.Options{Binary: b.payload, Env: []string{"SECOND=1"}, Padding: 1 << 20})
	arrives, ended := make(chan struct{}), make(chan error, 1)
	r.Intercept(func(_ http.ResponseWriter, req *http.Request) bool {
		if strings.Contains(req.URL.Path, "/slow/") {
			select {
			case <-arrives:
			case <-req.Context().Done():
			}
		}
		return false
	})
	w := of(ref, "")
	w.Containers = append(w.Containers, runtime.Container{Name: "side", Image: slow})
	go func() {
		_, err := d.Prepare(t.Context(), w, nil)
		ended <- err
	}()
	var img runtime.Image
	eventually(t, "the first image is there and in use", func() bool {
		var ok bool
		img, ok = stored(t, d, digest)
		return ok && img.InUse
	})
	if err := d.RemoveImage(t.Context(), img.Name); !errors.Is(err, runtime.ErrInUse) {
		t.Errorf("while the second is on its way, its removal: %v", err)
	}
	close(arrives)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if img, ok := stored(t, d, digest); !ok || img.InUse {
		t.Errorf("when all are there: %+v, %v", img, ok)
	}
}

// TestGraceBeginsWithTheLastImage: not with its own.
func TestGraceBeginsWithTheLastImage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var u uses
		if err := u.touch(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		first, second := u.hold("a"), u.hold("a")
		time.Sleep(time.Minute)
		first()
		time.Sleep(time.Minute)
		if _, ok := u.remove("a"); ok || !u.inUse("a") {
			t.Error("an image that is held can be removed")
		}
		second()
		if !u.inUse("a") {
			t.Error("there is no grace")
		}
		time.Sleep(prepareGrace + time.Second)
		if over, ok := u.remove("a"); !ok {
			t.Error("it can never be removed")
		} else {
			over()
		}
	})
}
