//go:build linux

package containerd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/orpheus-cd/orpheus/runtime"
)

// Prepare pulls and unpacks the images of the workload, several at a time,
// each once however many ask for it.
func (d *Driver) Prepare(ctx context.Context, w runtime.Workload, progress func(runtime.Progress)) (map[string]string, error) {
	containers := w.AllContainers()
	digests := make([]digest.Digest, len(containers))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for i, c := range containers {
		g.Go(func() (err error) {
			digests[i], err = d.prepare(ctx, c.Image, c.Digest, progress)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	out := make(map[string]string, len(containers))
	for i, c := range containers {
		out[c.Image] = digests[i].String()
	}
	return out, nil
}

// prepare makes one image ready and returns its digest.
func (d *Driver) prepare(ctx context.Context, image, pinned string, progress func(runtime.Progress)) (digest.Digest, error) {
	ref, err := parseRef(image, pinned)
	if err != nil {
		return "", err
	}
	got, err := d.flights.do(ctx, ref.String(), func(ctx context.Context, report func(done, total int64)) (digest.Digest, error) {
		return d.pull(d.context(ctx), ref, report)
	}, func(done, total int64) {
		if progress != nil {
			progress(runtime.Progress{Image: image, Done: done, Total: total})
		}
	})
	if err != nil {
		return "", d.pullError(image, ref, err)
	}
	if pinned == "" {
		d.images.resolved(image, got)
	}
	return got, nil
}

// pull resolves, fetches and unpacks one image. Nothing is fetched that is
// there; nothing is asked either if the digest is known.
func (d *Driver) pull(ctx context.Context, ref imageRef, report func(done, total int64)) (digest.Digest, error) {
	if ref.digest != "" {
		return d.pullDigest(ctx, ref, resolved{Resolver: d.resolver(ctx, ref.host)}, report)
	}
	resolver := d.resolver(ctx, ref.host)
	_, desc, err := resolver.Resolve(ctx, ref.String())
	if err != nil {
		return "", err
	}
	// Other tags, and the digest itself, may stand for the same image.
	ref.digest = desc.Digest
	return d.flights.do(ctx, ref.String(), func(ctx context.Context, report func(done, total int64)) (digest.Digest, error) {
		return d.pullDigest(ctx, ref, resolved{Resolver: resolver, desc: desc}, report)
	}, report)
}

// pullDigest pulls what has a digest. There is one at a time of each name:
// the lease is of that name, too.
func (d *Driver) pullDigest(ctx context.Context, ref imageRef, from resolved, report func(done, total int64)) (digest.Digest, error) {
	d.pulling.RLock()
	defer d.pulling.RUnlock()
	if ready, err := d.ready(ctx, ref, ref.digest); err != nil || ready {
		return ref.digest, err
	}
	if from.desc.Digest == "" {
		var err error
		if _, from.desc, err = from.Resolver.Resolve(ctx, ref.String()); err != nil {
			return "", err
		}
	}
	release, err := d.lease(&ctx, ref.String())
	if err != nil {
		return "", err
	}
	defer release()
	if err := d.fetch(ctx, ref, from, report); err != nil {
		return "", err
	}
	// Reading it now tells about a wrong architecture while pulling, and makes
	// the start quicker.
	if _, err := d.loadImage(ctx, ref.String(), ref.digest); err != nil {
		return "", err
	}
	return ref.digest, nil
}

// fetch gets and unpacks what of an image is missing. A blob that is there in
// part is continued; registries that cannot do that get a second request.
func (d *Driver) fetch(ctx context.Context, ref imageRef, from resolved, report func(done, total int64)) error {
	for again := false; ; again = true {
		meter := startMeter(ctx, d, report)
		_, err := d.client.Pull(ctx, ref.name(from.desc.Digest),
			client.WithResolver(from),
			client.WithPlatformMatcher(platforms.Default()),
			client.WithPullSnapshotter(d.cfg.Snapshotter),
			client.WithPullUnpack,
			client.WithImageHandlerWrapper(func(h images.Handler) images.Handler {
				return meter.wrap(h, d.cfg.MaxImageBytes)
			}))
		meter.stop(ctx, err == nil)
		var answer remoteerrors.ErrUnexpectedStatus
		if again || !errors.As(err, &answer) || answer.StatusCode != http.StatusRequestedRangeNotSatisfiable {
			return err
		}
		if err := meter.abortPartial(ctx); err != nil {
			return err
		}
	}
}

// ready reports whether an image is there and unpacked.
func (d *Driver) ready(ctx context.Context, ref imageRef, dgst digest.Digest) (bool, error) {
	img, err := d.storedImage(ctx, ref.name(dgst), dgst)
	if isGone(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	_, err = d.client.SnapshotService(d.cfg.Snapshotter).Stat(ctx, img.chain)
	if isGone(err) {
		return false, nil
	}
	return err == nil, err
}

// lease protects what a pull fetches until its image is recorded. Its name
// follows from the image, so that a pull which was cut off and comes again
// takes over the lease, and what it holds, of its predecessor.
func (d *Driver) lease(ctx *context.Context, name string) (release func(), err error) {
	sum := sha256.Sum256([]byte(name))
	id := "orpheus-pull-" + hex.EncodeToString(sum[:16])
	service := d.client.LeasesService()
	_, err = service.Create(*ctx, leases.WithID(id),
		leases.WithLabel(labelPull, "true"), leases.WithExpiration(24*time.Hour))
	if err != nil && !isThere(err) {
		return nil, fmt.Errorf("make a lease: %w", err)
	}
	outer := *ctx
	*ctx = leases.WithLease(*ctx, id)
	return func() {
		undo, cancel := d.rollback(outer)
		defer cancel()
		if err := service.Delete(undo, leases.Lease{ID: id}); err != nil && !isGone(err) {
			d.cfg.Log.Warn("lease of a pull left for the next sweep", "lease", id, "err", err)
		}
	}, nil
}
