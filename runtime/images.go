package runtime

import (
	"context"
	"errors"
	"time"
)

// ErrInUse: the image is needed by something, and was not removed.
var ErrInUse = errors.New("in use")

// Storer is implemented by drivers that keep data outside the agent's folders.
type Storer interface {
	// Stores lists the folders, on this machine, that hold the driver's images
	// and root filesystems. The agent watches how full they are.
	Stores(ctx context.Context) ([]string, error)
}

// ImageKeeper is implemented by drivers whose images stay on the node until
// they are removed.
type ImageKeeper interface {
	// Images lists the images that the driver has fetched. What somebody else put
	// there is not among them. It returns all or an error, never a part.
	Images(ctx context.Context) ([]Image, error)

	// RemoveImage removes an image by its name, and returns when its space is
	// free; an image that is not there is success. It fails with ErrInUse, and
	// removes nothing, if a container exists that was made from it, or if it was
	// prepared a moment ago: that container is about to be made. A Prepare of the
	// same image waits for the removal and then fetches it anew.
	RemoveImage(ctx context.Context, name string) error

	// ImageBytes is what all images take on the disk, layers they share counted
	// once.
	ImageBytes(ctx context.Context) (int64, error)
}

// Image is an image on the node.
type Image struct {
	Name    string // in the driver
	Digest  string // "sha256:…", as Prepare returns it
	Fetched time.Time
	InUse   bool // RemoveImage would fail with ErrInUse
}
