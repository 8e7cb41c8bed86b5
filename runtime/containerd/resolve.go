//go:build linux

package containerd

import (
	"context"

	"github.com/orpheus-cd/orpheus/runtime"
)

var _ runtime.Resolver = (*Driver)(nil)

// Resolve asks the registry of an image which digest its reference stands for
// now. One that names a digest is not asked for.
func (d *Driver) Resolve(ctx context.Context, image string) (string, error) {
	ref, err := parseRef(image, "")
	if err != nil {
		return "", err
	}
	if ref.digest != "" {
		return ref.digest.String(), nil
	}
	var failed nowhere
	for _, p := range d.places(ctx, ref.host) {
		desc, err := d.ask(ctx, p, ref)
		if err == nil {
			return desc.Digest.String(), nil
		}
		if failed = append(failed, placeError{p, err}); final(ctx, err) {
			break
		}
		d.failed(p, err)
	}
	return "", d.pullError(image, failed)
}
