//go:build linux

package containerd

import (
	"fmt"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/orpheus-cd/orpheus/runtime"
)

// imageRef is a reference as written in a manifest, taken apart.
type imageRef struct {
	host       string        // "docker.io" where none is written
	repository string        // with the host
	tagged     string        // with tag, "latest" where none is written; "" when there is a digest
	digest     digest.Digest // "" = what the tag says
}

// parseRef reads a reference by Docker's rules. A digest wins over a tag, and
// pinned (a container's Digest; may be "") over both.
func parseRef(ref, pinned string) (imageRef, error) {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return imageRef{}, fmt.Errorf("image %q: %w: %w", ref, runtime.ErrInvalid, err)
	}
	r := imageRef{host: reference.Domain(named), repository: named.Name()}
	if pinned != "" {
		if r.digest, err = digest.Parse(pinned); err != nil {
			return imageRef{}, fmt.Errorf("image %q: digest %q: %w: %w", ref, pinned, runtime.ErrInvalid, err)
		}
		return r, nil
	}
	if d, ok := named.(reference.Digested); ok {
		r.digest = d.Digest()
		return r, nil
	}
	r.tagged = named.String()
	return r, nil
}

// name is the stable name of the image's record in containerd.
func (r imageRef) name(d digest.Digest) string { return r.repository + "@" + d.String() }

// String is what to ask the registry for.
func (r imageRef) String() string {
	if r.digest != "" {
		return r.name(r.digest)
	}
	return r.tagged
}
