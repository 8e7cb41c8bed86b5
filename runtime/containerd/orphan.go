//go:build linux

package containerd

import (
	"context"
	"strings"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/typeurl/v2"
)

// withRecord runs an operation on a process. The server refuses those for a
// process whose record was deleted behind its back (ctr refuses to do that,
// the API does not), so such a process gets a record for as long as it takes.
func (d *Driver) withRecord(ctx context.Context, id string, operate func() error) error {
	err := operate()
	if !isGone(err) {
		return err
	}
	if p, perr := d.orphan(ctx, id); perr != nil || !p {
		return err
	}
	spec, merr := typeurl.MarshalAny(&oci.Spec{})
	if merr != nil {
		return merr
	}
	_, cerr := d.client.ContainerService().Create(ctx, containers.Container{
		ID: id, Spec: spec, Runtime: containers.RuntimeInfo{Name: d.cfg.Runtime},
		Labels: map[string]string{labelInstance: orphanInstance(id)},
	})
	if cerr != nil && !isThere(cerr) {
		return cerr
	}
	return operate()
}

// orphanInstance is the best guess at the instance of a container id.
func orphanInstance(id string) string {
	prefix, _ := prefixOf(id)
	return strings.TrimSuffix(prefix, ".")
}

// orphan reports whether a process runs under an id that has no record.
func (d *Driver) orphan(ctx context.Context, id string) (bool, error) {
	if _, err := d.client.ContainerService().Get(ctx, id); !isGone(err) {
		return false, err
	}
	processes, err := d.processes(ctx)
	return processes[id] != nil, err
}
