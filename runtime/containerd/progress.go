//go:build linux

package containerd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/orpheus-cd/orpheus/runtime"
)

// meter measures a pull: what the descriptors announce, what has arrived.
type meter struct {
	driver *Driver
	report func(runtime.Progress)
	from   string
	quit   chan struct{}
	ended  chan struct{}

	mu    sync.Mutex
	known map[digest.Digest]bool
	total int64
	done  int64            // of blobs that are complete
	refs  map[string]int64 // ingests under way, by containerd's name for them
}

// startMeter reports twice a second until stop.
func startMeter(ctx context.Context, d *Driver, from string, report func(runtime.Progress)) *meter {
	m := &meter{
		driver: d, from: from, report: report, quit: make(chan struct{}), ended: make(chan struct{}),
		known: map[digest.Digest]bool{}, refs: map[string]int64{},
	}
	go m.poll(ctx)
	return m
}

// wrap counts what h fetches and refuses an image of more than limit bytes
// before its layers are fetched.
func (m *meter) wrap(h images.Handler, limit int64) images.Handler {
	return images.HandlerFunc(func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		if err := m.announce(limit, desc); err != nil {
			return nil, err
		}
		ref := remotes.MakeRefKey(ctx, desc)
		m.begin(ref, desc.Size)
		children, err := h.Handle(ctx, desc)
		m.finish(ref, desc.Size, err == nil)
		if err != nil || images.IsIndexType(desc.MediaType) {
			return children, err // of an index only one platform is fetched
		}
		return children, m.announce(limit, children...)
	})
}

func (m *meter) announce(limit int64, descs ...ocispec.Descriptor) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, desc := range descs {
		if m.known[desc.Digest] {
			continue
		}
		m.known[desc.Digest] = true
		if err := checkDocument(desc); err != nil {
			return err
		}
		if m.total += desc.Size; desc.Size < 0 || m.total > limit {
			return fmt.Errorf("image is larger than %d bytes, the limit of this node: %w", limit, errTooBig)
		}
	}
	return nil
}

// maxImageConfig bounds the configuration of an image. Its variables become part
// of the container's record, which every listing brings.
const maxImageConfig = 1 << 20

// checkDocument refuses a document of an image that is too big to be read
// whole, as we and containerd's client read them. Layers are not.
func checkDocument(desc ocispec.Descriptor) error {
	what, most := "manifest", int64(docker.MaxManifestSize)
	switch {
	case images.IsConfigType(desc.MediaType):
		what, most = "configuration", maxImageConfig
	case !images.IsManifestType(desc.MediaType) && !images.IsIndexType(desc.MediaType):
		return nil
	}
	if desc.Size > most {
		return fmt.Errorf("%s of the image is larger than %d bytes: %w", what, most, errTooBig)
	}
	return nil
}

func (m *meter) begin(ref string, size int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refs[ref] = size
}

func (m *meter) finish(ref string, size int64, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.refs, ref)
	if ok {
		m.done += size
	}
}

func (m *meter) poll(ctx context.Context) {
	defer close(m.ended)
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-m.quit:
			return
		case <-ctx.Done():
			return
		case <-ticker.C:
			m.tell(m.arrived(ctx))
		}
	}
}

// arrived adds up what is complete and what is on its way.
func (m *meter) arrived(ctx context.Context) (done, total int64) {
	statuses, err := m.driver.client.ContentStore().ListStatuses(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	done = m.done
	if err == nil {
		for _, s := range statuses {
			if size, ours := m.refs[s.Ref]; ours {
				done += min(s.Offset, size)
			}
		}
	}
	return done, m.total
}

// stop ends the reports with a last one: everything, if the image is there,
// whatever of it did not have to be fetched.
func (m *meter) stop(ctx context.Context, complete bool) {
	close(m.quit)
	<-m.ended
	done, total := m.arrived(ctx)
	if complete {
		done = total
	}
	m.tell(done, total)
}

func (m *meter) tell(done, total int64) {
	m.report(runtime.Progress{Done: done, Total: total, From: m.from})
}

// abortPartial drops what has arrived of blobs that are not complete.
func (m *meter) abortPartial(ctx context.Context) error {
	store := m.driver.client.ContentStore()
	statuses, err := store.ListStatuses(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range statuses {
		if at := strings.Index(s.Ref, "sha256:"); at >= 0 && m.known[digest.Digest(s.Ref[at:])] {
			errs = append(errs, m.driver.abort(ctx, store, s.Ref))
		}
	}
	return errors.Join(errs...)
}
