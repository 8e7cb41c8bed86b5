package bench

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"

	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/runtime/containerd"
)

// rawNamespace keeps raw containers out of the agent's sight.
const rawNamespace = "raw"

// peer is what the agent is compared with: the containerd client, used for the
// least that gives the same container. It also watches starts, on both sides
// with the shim's own timestamps.
type peer struct {
	fleet  *devfleet.Fleet
	client *client.Client
	image  client.Image // unpacked
	starts map[string]chan time.Time
}

func newPeer(b *testing.B, f *devfleet.Fleet, img image) *peer {
	b.Helper()
	c, err := client.New(f.Containerd.Address)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	p := &peer{fleet: f, client: c, starts: map[string]chan time.Time{}}
	resolver := docker.NewResolver(docker.ResolverOptions{
		Hosts: docker.ConfigureDefaultRegistries(docker.WithPlainHTTP(docker.MatchLocalhost)),
	})
	if p.image, err = c.Pull(p.ctx(b), img.tag, client.WithResolver(resolver), client.WithPullUnpack); err != nil {
		b.Fatal(err)
	}
	for _, ns := range []string{rawNamespace, containerd.DefaultNamespace} {
		p.starts[ns] = p.watch(b, ns)
	}
	return p
}

func (p *peer) ctx(b *testing.B) context.Context {
	return namespaces.WithNamespace(b.Context(), rawNamespace)
}

// watch collects when containers of a namespace began to run.
func (p *peer) watch(b *testing.B, namespace string) chan time.Time {
	ctx, cancel := context.WithCancel(context.Background())
	b.Cleanup(cancel)
	events, errs := p.client.EventService().Subscribe(ctx, fmt.Sprintf(`namespace==%q,topic=="/tasks/start"`, namespace))
	at := make(chan time.Time, 4096)
	go func() {
		for {
			select {
			case e := <-events:
				at <- e.Timestamp
			case <-errs:
				return
			}
		}
	}()
	return at
}

// started waits for n starts after an instant, and returns how long after it
// the last of them was.
func (p *peer) started(b *testing.B, namespace string, n int, since time.Time) time.Duration {
	b.Helper()
	var last time.Duration
	for deadline := time.After(patience); n > 0; {
		select {
		case at := <-p.starts[namespace]:
			if at.Before(since) {
				continue
			}
			last = max(last, at.Sub(since))
			n--
		case <-deadline:
			b.Fatalf("%d containers of namespace %s were not started in %s", n, namespace, patience)
		}
	}
	return last
}

// raw starts n containers, parallel at once, and returns how long it took until
// the last one ran. They are taken away before it returns, which is not timed.
func (p *peer) raw(b *testing.B, n, parallel int) time.Duration {
	b.Helper()
	begin := time.Now()
	p.each(n, parallel, func(i int) {
		if err := p.start(p.ctx(b), i); err != nil {
			b.Error(err)
		}
	})
	if b.Failed() {
		b.FailNow()
	}
	took := p.started(b, rawNamespace, n, begin)
	p.each(n, parallel, func(i int) {
		if err := p.remove(p.ctx(b), i); err != nil {
			b.Error(err)
		}
	})
	return took
}

func (p *peer) each(n, parallel int, do func(i int)) {
	next := make(chan int)
	var workers sync.WaitGroup
	for range parallel {
		workers.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	workers.Wait()
}

func rawID(i int) string { return fmt.Sprintf("raw-%d", i) }

// start is container with new snapshot, task, start. The container has the
// namespaces of its own that are the client's default, a network without a
// link among them, and the seccomp profile every container should have.
func (p *peer) start(ctx context.Context, i int) error {
	id := rawID(i)
	c, err := p.client.NewContainer(ctx, id,
		client.WithNewSnapshot(id, p.image),
		client.WithNewSpec(oci.WithImageConfig(p.image), oci.WithEnv([]string{"VERSION=raw"}),
			oci.WithCgroup(p.fleet.Cgroup()+"/"+id), seccomp.WithDefaultProfile()))
	if err != nil {
		return fmt.Errorf("make raw container: %w", err)
	}
	task, err := c.NewTask(ctx, cio.LogFile(filepath.Join(p.fleet.Dir, id+".log")))
	if err != nil {
		return fmt.Errorf("make raw task: %w", err)
	}
	return task.Start(ctx)
}

func (p *peer) remove(ctx context.Context, i int) error {
	c, err := p.client.LoadContainer(ctx, rawID(i))
	if err != nil {
		return err
	}
	task, err := c.Task(ctx, nil)
	if err != nil {
		return err
	}
	if _, err := task.Delete(ctx, client.WithProcessKill); err != nil {
		return err
	}
	return c.Delete(ctx, client.WithSnapshotCleanup)
}
