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
	_, desc, err := d.resolver(ctx, ref.host).Resolve(ctx, ref.String())
	if err != nil {
		return "", d.pullError(image, ref, err)
	}
	return desc.Digest.String(), nil
}
