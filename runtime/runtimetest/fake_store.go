package runtimetest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/runtime"
)

var (
	_ runtime.Storer      = (*Fake)(nil)
	_ runtime.ImageKeeper = (*Fake)(nil)
)

// fakeImageBytes is what an image takes of the fake's disk.
const fakeImageBytes = 1 << 20

// Stores implements runtime.Storer: a folder that does not exist.
func (f *Fake) Stores(ctx context.Context) ([]string, error) {
	end, err := f.enter(ctx, Call{Verb: "Stores"})
	if err != nil {
		return nil, end(err)
	}
	defer f.mu.Unlock()
	return []string{"/fake/" + f.name}, end(nil)
}

// Images implements runtime.ImageKeeper: an image is called by its digest.
func (f *Fake) Images(ctx context.Context) ([]runtime.Image, error) {
	end, err := f.enter(ctx, Call{Verb: "Images"})
	if err != nil {
		return nil, end(err)
	}
	defer f.mu.Unlock()
	var out []runtime.Image
	for _, digest := range slices.Sorted(maps.Keys(f.images.present)) {
		out = append(out, runtime.Image{Name: digest, Digest: digest, Fetched: f.images.fetched[digest], InUse: f.usesImage(digest)})
	}
	return out, end(nil)
}

// RemoveImage implements runtime.ImageKeeper.
func (f *Fake) RemoveImage(ctx context.Context, name string) error {
	end, err := f.enter(ctx, Call{Verb: "RemoveImage", Image: name})
	if err != nil {
		return end(err)
	}
	defer f.mu.Unlock()
	if f.usesImage(name) {
		return end(fmt.Errorf("remove image %s: %w", name, runtime.ErrInUse))
	}
	delete(f.images.present, name)
	delete(f.images.fetched, name)
	maps.DeleteFunc(f.images.tags, func(_, digest string) bool { return digest == name })
	return end(nil)
}

// ImageBytes implements runtime.ImageKeeper.
func (f *Fake) ImageBytes(ctx context.Context) (int64, error) {
	end, err := f.enter(ctx, Call{Verb: "ImageBytes"})
	if err != nil {
		return 0, end(err)
	}
	defer f.mu.Unlock()
	return int64(len(f.images.present)) * fakeImageBytes, end(nil)
}

// usesImage reports whether an instance was made from an image. The lock is
// held.
func (f *Fake) usesImage(digest string) bool {
	for _, i := range f.instances {
		for _, c := range i.listed.Containers {
			if c.Digest == digest {
				return true
			}
		}
	}
	return false
}

// fetchedNow notes that an image is on the node. The lock is held.
func (m *fakeImages) fetchedNow(digest string) {
	if !m.present[digest] {
		m.fetched[digest] = time.Now()
	}
	m.present[digest] = true
}
