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
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/orpheus-cd/orpheus/runtime"
)

// Prepare pulls and unpacks the images of the workload, several at a time,
// each once however many ask for it. Those that are there are kept until all
// are.
func (d *Driver) Prepare(ctx context.Context, w runtime.Workload, progress func(runtime.Progress)) (map[string]string, error) {
	containers := w.AllContainers()
	digests := make([]digest.Digest, len(containers))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	releases := make([]func(), len(containers))
	defer func() {
		for _, release := range releases {
			if release != nil {
				release()
			}
		}
	}()
	for i, c := range containers {
		g.Go(func() (err error) {
			digests[i], releases[i], err = d.prepare(ctx, c.Image, c.Digest, progress)
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

// prepare makes one image ready and returns its digest. It is kept until it is
// released, which must be done once if there is no error.
func (d *Driver) prepare(ctx context.Context, image, pinned string, progress func(runtime.Progress)) (digest.Digest, func(), error) {
	ref, err := parseRef(image, pinned)
	if err != nil {
		return "", nil, err
	}
	got, err := d.flights.do(ctx, ref.String(), func(ctx context.Context, report func(runtime.Progress)) (digest.Digest, error) {
		return d.pull(d.context(ctx), ref, report)
	}, func(p runtime.Progress) {
		if progress != nil {
			p.Image = image
			progress(p)
		}
	})
	if err != nil {
		return "", nil, d.pullError(image, err)
	}
	if pinned == "" {
		d.images.resolved(image, got)
	}
	return got, d.images.uses.hold(ref.name(got)), nil
}

// pull resolves, fetches and unpacks one image, from the first place that can
// serve it. Nothing is fetched that is there; nothing is asked either if the
// digest is known.
func (d *Driver) pull(ctx context.Context, ref imageRef, report func(runtime.Progress)) (digest.Digest, error) {
	if ref.digest != "" {
		return d.pullDigest(ctx, ref, nil, report)
	}
	places := d.places(ctx, ref.host)
	var failed nowhere
	for i, p := range places {
		desc, err := d.ask(ctx, p, ref)
		if err != nil {
			if failed = append(failed, placeError{p, err}); final(ctx, err) {
				break
			}
			d.failed(p, err)
			continue
		}
		// Other tags, and the digest itself, may stand for the same image.
		known := ref
		known.digest = desc.Digest
		places[i].desc = desc
		got, err := d.flights.do(ctx, known.String(), func(ctx context.Context, report func(runtime.Progress)) (digest.Digest, error) {
			return d.pullDigest(ctx, known, places[i:], report)
		}, report)
		var said nowhere
		if err == nil || !p.mirror || !errors.As(err, &said) || final(ctx, err) {
			return got, err
		}
		// What the mirror says the tag stands for is nowhere: others may say
		// something else.
		failed = append(failed, said[0])
	}
	return "", failed
}

// pullDigest pulls what has a digest. There is one at a time of each name:
// the lease is of that name, too. No places are all there are.
func (d *Driver) pullDigest(ctx context.Context, ref imageRef, places []place, report func(runtime.Progress)) (digest.Digest, error) {
	d.pulling.RLock()
	defer d.pulling.RUnlock()
	if ready, err := d.ready(ctx, ref, ref.digest); err != nil || ready {
		return ref.digest, err
	}
	release, err := d.lease(&ctx, ref.String())
	if err != nil {
		return "", err
	}
	defer release()
	if places == nil {
		places = d.places(ctx, ref.host)
	}
	var failed nowhere
	for _, p := range places {
		err := d.pullFrom(ctx, p, ref, report)
		if err == nil {
			return ref.digest, nil
		}
		if failed = append(failed, placeError{p, err}); final(ctx, err) {
			break
		}
		d.failed(p, err)
	}
	return "", failed
}

// pullFrom pulls from one place.
func (d *Driver) pullFrom(ctx context.Context, p place, ref imageRef, report func(runtime.Progress)) error {
	var err error
	if p.desc, err = d.ask(ctx, p, ref); err != nil {
		return err
	}
	if err := d.fetch(ctx, p, ref, report); err != nil {
		return err
	}
	// Reading it now tells about a wrong architecture while pulling, and makes
	// the start quicker.
	_, err = d.loadImage(ctx, ref.String(), ref.digest)
	return err
}

// fetch gets and unpacks what of an image is missing. A blob that is there in
// part is continued; registries that cannot do that get a second request, and
// so do those after which it has another digest: the part was another's. What
// a mirror leaves unfinished is not continued elsewhere.
func (d *Driver) fetch(ctx context.Context, p place, ref imageRef, report func(runtime.Progress)) error {
	for again := false; ; again = true {
		meter := startMeter(ctx, d, p.name, report)
		_, err := d.client.Pull(ctx, ref.name(p.desc.Digest),
			client.WithResolver(resolved{Resolver: p.resolver, desc: p.desc}),
			client.WithPlatformMatcher(platforms.Default()),
			client.WithPullSnapshotter(d.cfg.Snapshotter),
			client.WithPullUnpack,
			client.WithPullLabel(labelPulled, "true"),
			client.WithImageHandlerWrapper(func(h images.Handler) images.Handler {
				return meter.wrap(h, d.cfg.MaxImageBytes)
			}))
		meter.stop(ctx, err == nil)
		if err == nil || ctx.Err() != nil {
			return err
		}
		var answer remoteerrors.ErrUnexpectedStatus
		unranged := errors.As(err, &answer) && answer.StatusCode == http.StatusRequestedRangeNotSatisfiable
		anew := !again && (unranged || otherContent(err) && !p.mirror)
		if !anew && !p.mirror {
			return err
		}
		if err := meter.abortPartial(ctx); err != nil {
			return err
		}
		if !anew {
			return err
		}
	}
}

// otherContent reports that what came has not the digest it was asked for by.
func otherContent(err error) bool { return errdefs.IsFailedPrecondition(native(err)) }

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
