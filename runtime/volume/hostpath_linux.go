package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/orpheus-cd/orpheus/runtime"
)

// ResolveHostPath returns where a host path of a manifest really leads, all
// symbolic links followed. Policy must judge what it returns and not what the
// manifest says, and that path is to be mounted: a link may change meanwhile.
func ResolveHostPath(path string) (string, error) {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return "", fmt.Errorf("host path %q: want an absolute path without '.', '..' or a slash at its end: %w", path, runtime.ErrInvalid)
	}
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("host path %s is not there: make it on this node, or place the service on nodes that have it: %w", path, err)
	}
	if err != nil {
		return "", fmt.Errorf("host path %s: %w", path, err)
	}
	return real, nil
}
