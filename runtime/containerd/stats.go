//go:build linux

package containerd

import (
	"context"
	"fmt"
	"strconv"
	"time"

	cgroup1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	cgroup2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/typeurl/v2"

	"github.com/orpheus-cd/orpheus/runtime"
)

// Stats adds up what the containers of the instance use.
func (d *Driver) Stats(ctx context.Context, id string) (runtime.Usage, error) {
	ctx = d.context(ctx)
	what := "measure " + id
	records, err := d.records(ctx, instanceFilter(id))
	if err != nil {
		return runtime.Usage{}, fmt.Errorf("%s: %w", what, err)
	}
	if len(records) == 0 {
		return runtime.Usage{}, fmt.Errorf("%s: %w", what, runtime.ErrNotFound)
	}
	request := &tasks.MetricsRequest{}
	for _, rec := range records {
		request.Filters = append(request.Filters, "id=="+strconv.Quote(rec.ID))
	}
	answer, err := d.client.TaskService().Metrics(ctx, request)
	if err != nil {
		return runtime.Usage{}, d.fail(what, err)
	}
	var sum runtime.Usage
	for _, m := range answer.Metrics {
		usage, err := usageOf(m.Data)
		if err != nil {
			return runtime.Usage{}, fmt.Errorf("%s: %w", what, err)
		}
		sum.CPU += usage.CPU
		sum.MemoryBytes += usage.MemoryBytes
		sum.PIDs += usage.PIDs
	}
	return sum, nil
}

// usageOf reads the counters of either cgroup version. Memory is without the
// page cache that the kernel can take back at once.
func usageOf(data typeurl.Any) (runtime.Usage, error) {
	counters, err := typeurl.UnmarshalAny(data)
	if err != nil {
		return runtime.Usage{}, fmt.Errorf("read counters: %w", err)
	}
	switch c := counters.(type) {
	case *cgroup1.Metrics:
		return runtime.Usage{
			CPU:         time.Duration(c.GetCPU().GetUsage().GetTotal()),
			MemoryBytes: workingSet(c.GetMemory().GetUsage().GetUsage(), c.GetMemory().GetTotalInactiveFile()),
			PIDs:        int64(c.GetPids().GetCurrent()),
		}, nil
	case *cgroup2.Metrics:
		return runtime.Usage{
			CPU:         time.Duration(c.GetCPU().GetUsageUsec()) * time.Microsecond,
			MemoryBytes: workingSet(c.GetMemory().GetUsage(), c.GetMemory().GetInactiveFile()),
			PIDs:        int64(c.GetPids().GetCurrent()),
		}, nil
	default:
		return runtime.Usage{}, fmt.Errorf("counters of unknown kind %T", counters)
	}
}

func workingSet(usage, reclaimable uint64) int64 {
	if reclaimable > usage {
		return 0
	}
	return int64(usage - reclaimable)
}
