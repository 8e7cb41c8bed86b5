//go:build linux

package containerd

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/remotes"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// place is where an image may be had: its registry, or a mirror of that. Each
// is asked with its own connections and its own credentials.
type place struct {
	host     string // its key in Config.Registries
	name     string // for people
	mirror   bool
	resolver remotes.Resolver
	login    *loginNote
	desc     ocispec.Descriptor // of the image, if that was asked for already
}

const (
	// mirrorPatience is how long a mirror may take to say what it has.
	mirrorPatience = 10 * time.Second
	// mirrorRest is for how long one that did not answer is asked last.
	mirrorRest = time.Minute
)

// places lists where the images of a registry are looked for, in order: its
// mirrors, and then itself. Mirrors that did not answer lately come after it.
func (d *Driver) places(ctx context.Context, host string) []place {
	registry := d.cfg.Registries[host]
	var first, resting []place
	for _, m := range registry.Mirrors {
		p := d.mirror(ctx, m)
		if d.rests(p.name) {
			resting = append(resting, p)
		} else {
			first = append(first, p)
		}
	}
	return slices.Concat(first, []place{d.registry(ctx, host, registry)}, resting)
}

// ask returns what the place says that a reference stands for.
func (d *Driver) ask(ctx context.Context, p place, ref imageRef) (ocispec.Descriptor, error) {
	if p.desc.Digest != "" {
		return p.desc, nil
	}
	if p.mirror {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, d.patience, errSlow)
		defer cancel()
	}
	_, desc, err := p.resolver.Resolve(ctx, ref.String())
	if err != nil && context.Cause(ctx) == errSlow {
		err = errSlow
	}
	return desc, err
}

// rests reports whether a mirror did not answer lately.
func (d *Driver) rests(mirror string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Since(d.resting[mirror]) < mirrorRest
}

// failed notes that a place could not serve.
func (d *Driver) failed(p place, err error) {
	if !p.mirror {
		return
	}
	if unreachable(err) {
		d.mu.Lock()
		d.resting[p.name] = time.Now()
		d.mu.Unlock()
	}
	d.cfg.Log.Info("mirror cannot serve: the next place is asked", "mirror", p.name, "reason", d.whyNot(p, err))
}

// loginNote remembers what a place was shown, for its errors.
type loginNote struct {
	mu    sync.Mutex
	from  string // where the credentials come from; "" = there are none
	doubt error  // whether there are none
}

func (n *loginNote) set(l Login) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.from, n.doubt = l.From, l.Doubt
}

func (n *loginNote) get() (from string, doubt error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.from, n.doubt
}
