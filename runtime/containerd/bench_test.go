//go:build linux

package containerd

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"

	"github.com/orpheus-cd/orpheus/runtime"
)

// BenchmarkStart compares a start with the same container started raw through
// the client: container with new snapshot, task, start; image unpacked. The
// two take turns, since the machine's speed changes more than they differ.
func BenchmarkStart(b *testing.B) {
	bench := testBench(b)
	d := bench.driver(b)
	w := bench.workload(b, "lines")
	if _, err := d.Prepare(context.Background(), w, nil); err != nil {
		b.Fatal(err)
	}
	for _, parallel := range []int{1, 8} {
		b.Run(fmt.Sprintf("parallel=%d", parallel), func(b *testing.B) {
			var ours, raw []time.Duration
			for b.Loop() {
				raw = append(raw, timed(parallel, func(i int) { bench.rawStart(b, i) }))
				timed(parallel, func(i int) { bench.rawRemove(b, i) })
				ours = append(ours, timed(parallel, func(i int) {
					if err := d.Start(context.Background(), nth(w, i)); err != nil {
						b.Error(err)
					}
				}))
				timed(parallel, func(i int) {
					if err := d.Remove(context.Background(), nth(w, i).ID); err != nil {
						b.Error(err)
					}
				})
			}
			slices.Sort(ours)
			slices.Sort(raw)
			b.ReportMetric(float64(median(ours).Microseconds())/1000, "ours-ms")
			b.ReportMetric(float64(median(raw).Microseconds())/1000, "raw-ms")
			b.ReportMetric(float64(median(ours))/float64(median(raw)), "ours/raw")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func nth(w runtime.Workload, i int) runtime.Workload {
	w.ID = fmt.Sprintf("%s-%d", w.ID, i)
	return w
}

func median(sorted []time.Duration) time.Duration { return sorted[len(sorted)/2] }

// timed runs n of something at once.
func timed(n int, run func(i int)) time.Duration {
	began := time.Now()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { run(i) })
	}
	wg.Wait()
	return time.Since(began)
}

// rawStart is the least a program must do with the client for the same result.
func (b *bench) rawStart(t testing.TB, i int) {
	ctx := b.ctx()
	ref, err := parseRef(b.image, b.digest)
	if err != nil {
		t.Fatal(err)
	}
	img, err := b.client.GetImage(ctx, ref.name(ref.digest))
	if err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprintf("raw-%d", i)
	c, err := b.client.NewContainer(ctx, id,
		client.WithNewSnapshot(id, img),
		client.WithNewSpec(oci.WithImageConfigArgs(img, []string{"lines"}),
			oci.WithHostNamespace("network"), oci.WithCgroup(testCgroup()+"/"+id), seccomp.WithDefaultProfile()))
	if err != nil {
		t.Error(err)
		return
	}
	task, err := c.NewTask(ctx, cio.LogFile(t.TempDir()+"/log"))
	if err != nil {
		t.Error(err)
		return
	}
	if err := task.Start(ctx); err != nil {
		t.Error(err)
	}
}

func (b *bench) rawRemove(t testing.TB, i int) {
	ctx := b.ctx()
	c, err := b.client.LoadContainer(ctx, fmt.Sprintf("raw-%d", i))
	if err != nil {
		t.Error(err)
		return
	}
	if task, err := c.Task(ctx, nil); err == nil {
		_, _ = task.Delete(ctx, client.WithProcessKill)
	}
	if err := c.Delete(ctx, client.WithSnapshotCleanup); err != nil {
		t.Error(err)
	}
}
