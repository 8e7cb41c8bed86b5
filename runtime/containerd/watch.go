//go:build linux

package containerd

import (
	"context"
	"fmt"
)

// Watch hints at ends and removals of containers. Servers lose events now and
// then; nothing may depend on them.
func (d *Driver) Watch(ctx context.Context) (<-chan struct{}, error) {
	ctx, cancel := context.WithCancel(d.context(ctx))
	events, errs := d.client.EventService().Subscribe(ctx,
		fmt.Sprintf(`namespace==%q,topic~="^/tasks/(exit|oom|delete|paused)$"`, d.cfg.Namespace),
		fmt.Sprintf(`namespace==%q,topic=="/containers/delete"`, d.cfg.Namespace))
	select {
	case err := <-errs: // only a subscription that failed has one at once
		cancel()
		return nil, d.fail("watch containerd", err)
	default:
	}
	hints := make(chan struct{}, 1)
	go func() {
		defer cancel()
		defer close(hints)
		for {
			select {
			case <-events:
				select {
				case hints <- struct{}{}:
				default: // one is waiting already
				}
			case <-errs:
				return
			case <-ctx.Done():
				return
			}
		}
	}()
	return hints, nil
}
