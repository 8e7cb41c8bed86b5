package runtime

import (
	"context"

	"github.com/orpheus-cd/orpheus/planner"
)

// Volumes is the node's storage. Local volumes belong to a slot and are never
// removed by the agent; everything else lives and dies with the instance.
// Every method may be repeated.
type Volumes interface {
	// Mount makes the volumes of an instance ready and returns where each lies
	// on the host, by volume name. A local volume that is made now belongs to
	// owner. files gives the content of file volumes by its SHA-256; it is not
	// asked for what is on disk already. Links in a host path are resolved: its
	// real place is returned, for the caller to judge.
	Mount(ctx context.Context, id string, slot planner.SlotID, volumes []planner.Volume, owner Owner, files func(sha256 string) ([]byte, error)) (map[string]string, error)

	// Release takes away what Mount made for this instance alone.
	Release(ctx context.Context, id string) error

	// Local lists the local volumes on this node.
	Local(ctx context.Context) ([]LocalVolume, error)

	Sweeper
}

// Owner is the user and group a workload runs as; zero is the agent's own, or
// unknown.
type Owner struct{ UID, GID int }

// Owners is implemented by drivers that know whom a workload runs as where the
// manifest says it by name, or leaves it to the image.
type Owners interface {
	// Owner is the user and group of the first container. Its image is prepared;
	// ErrNotFound if it is not.
	Owner(ctx context.Context, w Workload) (Owner, error)
}

// LocalVolume is one local volume on the node's disk.
type LocalVolume struct {
	Slot planner.SlotID
	Name string
	Path string
}
