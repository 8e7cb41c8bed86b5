package runtimetest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// fakeImages is a registry and the images on the node. Without PushImage the
// registry has every image: its digest is the hash of the reference.
type fakeImages struct {
	pushes   map[string]int       // by reference
	missing  map[string]bool      // references the registry does not know
	tags     map[string]string    // on the node: reference to digest
	present  map[string]bool      // on the node: digests
	fetched  map[string]time.Time // of those: since when
	registry error                // what the registry answers; nil = it works
	pullTime time.Duration
	pulling  map[string]bool                // references under way
	exposed  map[string][]planner.ImagePort // by reference
}

func newFakeImages() fakeImages {
	return fakeImages{
		pushes: map[string]int{}, missing: map[string]bool{}, tags: map[string]string{},
		present: map[string]bool{}, fetched: map[string]time.Time{}, pulling: map[string]bool{}, exposed: map[string][]planner.ImagePort{},
	}
}

// PushImage puts a new image behind the reference and returns its digest.
func (f *Fake) PushImage(ref string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.images.pushes[ref]++
	delete(f.images.missing, ref)
	return f.images.digest(ref)
}

// ExposeImage has the image behind the reference expose ports, written as in
// EXPOSE: those of containers started from now on.
func (f *Fake) ExposeImage(ref string, ports ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.images.exposed[ref] = planner.ParseImagePorts(ports)
}

// DeleteImage makes the registry answer "not found" for the reference. What
// nodes have stays.
func (f *Fake) DeleteImage(ref string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.images.missing[ref] = true
}

// ForgetImages deletes all images from the node, as disk pressure does.
func (f *Fake) ForgetImages() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.images.tags)
	clear(f.images.present)
}

// SetRegistry makes every pull fail with the error (one that wraps
// runtime.ErrUnauthorized, or any other); nil = the registry works.
func (f *Fake) SetRegistry(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.images.registry = err
}

// SetPullTime is how long the pull of one image takes.
func (f *Fake) SetPullTime(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.images.pullTime = d
}

// Prepare implements runtime.Driver. Every pull that reaches the registry is a
// call of its own in the log, with the verb "Pull".
func (f *Fake) Prepare(ctx context.Context, w runtime.Workload, progress func(runtime.Progress)) (map[string]string, error) {
	end, err := f.enter(ctx, Call{Verb: "Prepare", ID: w.ID})
	if err != nil {
		return nil, end(err)
	}
	defer f.mu.Unlock()
	digests := map[string]string{}
	for _, c := range w.AllContainers() {
		if c.Image == "" {
			continue
		}
		if !f.info.Capabilities.Images {
			return nil, end(fmt.Errorf("prepare %s: driver %s runs no images: %w", c.Image, f.name, runtime.ErrInvalid))
		}
		if digests[c.Image], err = f.prepare(ctx, w.ID, c, progress); err != nil {
			return nil, end(fmt.Errorf("prepare %s: %w", c.Image, err))
		}
	}
	return digests, end(nil)
}

// prepare makes one image present. The lock is held, but not while it pulls.
func (f *Fake) prepare(ctx context.Context, id string, c runtime.Container, progress func(runtime.Progress)) (string, error) {
	m := &f.images
	key := c.Image + "@" + c.Digest
	for waited := false; ; waited = true {
		if c.Digest != "" && m.present[c.Digest] {
			return c.Digest, nil
		}
		if waited && c.Digest == "" && m.tags[c.Image] != "" {
			return m.tags[c.Image], nil // by the pull that was waited for
		}
		if !m.pulling[key] {
			break
		}
		if err := f.pause(ctx, time.Time{}); err != nil {
			return "", err
		}
	}
	m.pulling[key] = true
	err := f.pull(ctx, id, c, progress)
	delete(m.pulling, key)
	f.notify()
	if err != nil {
		return "", err
	}
	digest := c.Digest
	if digest == "" {
		digest = m.digest(c.Image)
		m.tags[c.Image] = digest
	}
	m.fetchedNow(digest)
	return digest, nil
}

func (f *Fake) pull(ctx context.Context, id string, c runtime.Container, progress func(runtime.Progress)) error {
	f.mu.Unlock()
	end, err := f.begin(ctx, Call{Verb: "Pull", ID: id, Image: c.Image})
	f.mu.Lock()
	if err != nil {
		return end(err)
	}
	const size = 1 << 20
	report := func(done int64) {
		if progress == nil {
			return
		}
		f.mu.Unlock()
		defer f.mu.Lock()
		progress(runtime.Progress{Image: c.Image, Done: done, Total: size})
	}
	report(0)
	if err := f.pauseUntil(ctx, time.Now().Add(f.images.pullTime)); err != nil {
		return end(err)
	}
	if err := f.images.registry; err != nil {
		return end(err)
	}
	if f.images.missing[c.Image] {
		return end(fmt.Errorf("the registry does not know it: %w", runtime.ErrNotFound))
	}
	report(size)
	return end(nil)
}

// digest is what the registry has behind the reference now.
func (m *fakeImages) digest(ref string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", ref, m.pushes[ref]))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// local is the digest that a container starts with.
func (m *fakeImages) local(images bool, c runtime.Container) (string, error) {
	if c.Image == "" {
		if images {
			return "", fmt.Errorf("container %s has no image: %w", c.Name, runtime.ErrInvalid)
		}
		return "", nil
	}
	if !images {
		return "", fmt.Errorf("container %s: images are not supported: %w", c.Name, runtime.ErrInvalid)
	}
	digest := c.Digest
	if digest == "" {
		digest = m.tags[c.Image]
	}
	if digest == "" || !m.present[digest] {
		return "", fmt.Errorf("image %s is not prepared: %w", c.Image, runtime.ErrNotFound)
	}
	return digest, nil
}

// ErrRegistryDown is an error for SetRegistry, as drivers return it.
var ErrRegistryDown = fmt.Errorf("the registry does not answer: %w", runtime.ErrUnavailable)
