//go:build linux

package plugin_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

// odd is a driver that does what the name of its plugin's oddVariable says,
// beside abilities that the fake has not.
type odd struct {
	*runtimetest.Fake
	how string
}

const oddVariable = "ORPHEUS_TEST_ODD"

func newOdd() runtime.Driver {
	return &odd{runtimetest.NewFake("odd"), os.Getenv(oddVariable)}
}

func (o *odd) Info(ctx context.Context) (runtime.Info, error) {
	switch o.how {
	case "talks":
		fmt.Println("on stdout")
		fmt.Fprintln(os.Stderr, "on stderr")
	case "notes":
		return runtime.Info{Name: strings.Repeat("n", 10_000), Notes: strings.Split(strings.Repeat("x\x1b\n", 1000), "\n")}, nil
	case "huge":
		return runtime.Info{Version: strings.Repeat("v", 8<<20)}, nil
	case "deaf":
		if len(o.History()) > 0 {
			select {}
		}
	}
	return o.Fake.Info(ctx)
}

// List tells what no driver may.
func (o *odd) List(ctx context.Context) ([]planner.Instance, error) {
	one := planner.Instance{ID: "a", State: planner.StateRunning}
	switch o.how {
	case "evil id":
		one.ID = "../../etc/passwd"
	case "twice":
		return []planner.Instance{one, one}, nil
	case "many":
		var many []planner.Instance
		for k := range 10_001 {
			one.ID = fmt.Sprintf("i%d", k)
			many = append(many, one)
		}
		return many, nil
	case "large":
		one.Revision = planner.Revision(strings.Repeat("r", 1<<20))
	case "long name":
		one.Node = planner.NodeName(strings.Repeat("n", 1000))
	case "no state":
		one.State = "dreaming"
	case "evil exit":
		one.State, one.Exit = planner.StateExited, &planner.Exit{Code: -7}
	case "evil pid":
		one.Containers = []planner.ContainerState{{PID: -1, State: planner.StateRunning}}
	case "exit lost":
		one.State = planner.StateExited
	default:
		return o.Fake.List(ctx)
	}
	return []planner.Instance{one}, nil
}

func (o *odd) Prepare(ctx context.Context, w runtime.Workload, progress func(runtime.Progress)) (map[string]string, error) {
	switch o.how {
	case "endless progress":
		for ctx.Err() == nil {
			progress(runtime.Progress{Image: w.Containers[0].Image})
		}
		return nil, ctx.Err()
	case "evil digest":
		return map[string]string{"another/image": "sha256:00"}, nil
	}
	return o.Fake.Prepare(ctx, w, progress)
}

func (o *odd) Start(ctx context.Context, w runtime.Workload) error {
	if o.how == "hangs" {
		select {}
	}
	return o.Fake.Start(ctx, w)
}

// Stop of an odd driver fails with every error at once, and a long text.
func (o *odd) Stop(ctx context.Context, id string, grace time.Duration) error {
	if o.how == "fails" {
		return fmt.Errorf("%w and %w: %s", runtime.ErrNotFound, runtime.ErrUnauthorized, strings.Repeat("x\x00", 10_000))
	}
	return o.Fake.Stop(ctx, id, grace)
}

func (o *odd) Stores(ctx context.Context) ([]string, error) {
	switch o.how {
	case "many folders":
		return slices.Repeat([]string{"/a"}, 17), nil
	case "long folder":
		return []string{"/" + strings.Repeat("a", 4096)}, nil
	case "relative folder":
		return []string{"a"}, nil
	}
	return o.Fake.Stores(ctx)
}

func (o *odd) Watch(ctx context.Context) (<-chan struct{}, error) {
	if o.how != "floods" {
		return o.Fake.Watch(ctx)
	}
	hints := make(chan struct{})
	go func() {
		defer close(hints)
		for ctx.Err() == nil {
			select {
			case hints <- struct{}{}:
			case <-ctx.Done():
			}
		}
	}()
	return hints, nil
}

// Exec copies its input, counts its arguments on stderr, and ends with 7.
func (o *odd) Exec(ctx context.Context, id, container string, argv []string, s runtime.Streams) (int, error) {
	if id == "nobody" {
		return 0, fmt.Errorf("exec in %s: %w", id, runtime.ErrNotFound)
	}
	if s.In != nil && s.Out != nil {
		if _, err := io.Copy(s.Out, s.In); err != nil {
			return 0, err
		}
	}
	if s.Err != nil {
		fmt.Fprintf(s.Err, "%s %s %d", id, container, len(argv))
	}
	return 7, nil
}

func (o *odd) Resolve(_ context.Context, image string) (string, error) {
	if image == "huge" {
		return strings.Repeat("d", 10_000), nil
	}
	return "sha256:" + image, nil
}
