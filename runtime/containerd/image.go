//go:build linux

package containerd

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// image is what a start needs to know of an image. It follows from the digest
// and never changes.
type image struct {
	name   string // of its record in containerd
	digest digest.Digest
	chain  string // snapshot of its topmost layer
	config ocispec.ImageConfig
}

// exposed lists the ports that its configuration says programs listen on.
func (i image) exposed() []planner.ImagePort {
	return planner.ParseImagePorts(slices.Collect(maps.Keys(i.config.ExposedPorts)))
}

// imageCache remembers images by digest, users within them, and what tags were
// resolved to. It is a cache: whether an image is still there shows when it is
// used.
type imageCache struct {
	mu     sync.Mutex
	images map[string]image         // by name
	users  map[userKey]userIDs      // as looked up in the image's files
	tags   map[string]digest.Digest // by reference as written

	uses uses
}

// maxCached bounds each map of the cache; it is emptied when full.
const maxCached = 1024

func (c *imageCache) get(name string) (image, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	img, ok := c.images[name]
	return img, ok
}

func (c *imageCache) put(img image) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.images == nil || len(c.images) >= maxCached {
		c.images = map[string]image{}
	}
	c.images[img.name] = img
}

// forget drops an image that turned out to be gone.
func (c *imageCache) forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.images, name)
}

func (c *imageCache) resolved(ref string, d digest.Digest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tags == nil || len(c.tags) >= maxCached {
		c.tags = map[string]digest.Digest{}
	}
	c.tags[ref] = d
}

func (c *imageCache) tag(ref string) (digest.Digest, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d, ok := c.tags[ref]
	return d, ok
}

// imageOf finds the image a container runs from: by its digest, else by what
// Prepare resolved its reference to.
func (d *Driver) imageOf(ctx context.Context, c runtime.Container) (image, error) {
	ref, err := parseRef(c.Image, c.Digest)
	if err != nil {
		return image{}, err
	}
	dgst := ref.digest
	if dgst == "" {
		known := false
		if dgst, known = d.images.tag(c.Image); !known {
			return image{}, fmt.Errorf("image %s is not prepared: %w", c.Image, runtime.ErrNotFound)
		}
	}
	name := ref.name(dgst)
	if err := d.images.uses.touch(ctx, name); err != nil {
		return image{}, err
	}
	if img, ok := d.images.get(name); ok {
		return img, nil
	}
	img, err := d.loadImage(ctx, name, dgst)
	if isGone(err) {
		return image{}, fmt.Errorf("image %s is not prepared: %w", name, runtime.ErrNotFound)
	}
	if err != nil {
		return image{}, d.fail("read image "+name, err)
	}
	return img, nil
}

// storedImage is what is known of an image, if containerd has a record of it:
// the record is asked for, what follows from the digest is read once.
func (d *Driver) storedImage(ctx context.Context, name string, dgst digest.Digest) (image, error) {
	img, known := d.images.get(name)
	if !known {
		return d.loadImage(ctx, name, dgst)
	}
	if err := d.images.uses.touch(ctx, name); err != nil {
		return image{}, err
	}
	_, err := d.client.ImageService().Get(ctx, name)
	return img, err
}

// loadImage reads an image from containerd and caches it. Its errors are the
// client's, but for an image of another platform.
func (d *Driver) loadImage(ctx context.Context, name string, dgst digest.Digest) (image, error) {
	if err := d.images.uses.touch(ctx, name); err != nil {
		return image{}, err
	}
	stored, err := d.client.ImageService().Get(ctx, name)
	if err != nil {
		return image{}, err
	}
	store := d.client.ContentStore()
	manifest, err := images.Manifest(ctx, store, stored.Target, platforms.Default())
	if err != nil {
		return image{}, err
	}
	// Whatever its type is called, it is read as the configuration.
	if size := manifest.Config.Size; size > maxImageConfig {
		return image{}, fmt.Errorf("configuration of the image is larger than %d bytes: %w", maxImageConfig, runtime.ErrInvalid)
	}
	blob, err := content.ReadBlob(ctx, store, manifest.Config)
	if err != nil {
		return image{}, err
	}
	var config ocispec.Image
	if err := json.Unmarshal(blob, &config); err != nil {
		return image{}, fmt.Errorf("image configuration %s: %w: %w", manifest.Config.Digest, runtime.ErrInvalid, err)
	}
	if platform := platforms.Normalize(config.Platform); config.Architecture != "" && !platforms.Default().Match(platform) {
		return image{}, fmt.Errorf("the image has no %s, it is %s: %w", platforms.DefaultString(), platforms.Format(platform), runtime.ErrInvalid)
	}
	img := image{
		name:   name,
		digest: dgst,
		chain:  identity.ChainID(config.RootFS.DiffIDs).String(),
		config: config.Config,
	}
	d.images.put(img)
	return img, nil
}
