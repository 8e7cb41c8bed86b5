//go:build linux

package containerd

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/containerd/containerdtest"
	"github.com/orpheus-cd/orpheus/runtime/containerd/imagetest"
	"github.com/orpheus-cd/orpheus/runtime/runtimetest"
)

// patience is how long a test waits for what must happen.
const patience = 60 * time.Second

// bench is what all tests of the package share: a containerd, a registry, an
// image of our payload. It is made by the first test that asks for it.
type bench struct {
	dir      string
	server   *containerdtest.Server
	registry *imagetest.Registry
	payload  string // the program's file
	image    string // reference of the image
	digest   string
	client   *client.Client
}

var shared struct {
	once  sync.Once
	bench *bench
	err   error
}

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		childMain()
		return
	}
	code := m.Run()
	if b := shared.bench; b != nil {
		b.registry.Stop()
		_ = b.client.Close()
		if err := b.server.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "stop containerd:", err)
			code = 1
		}
		_ = detectCgroups().remove(testCgroup())
		_ = os.RemoveAll(b.dir)
	}
	_ = runtimetest.RemovePayload()
	os.Exit(code)
}

func testBench(t testing.TB) *bench {
	t.Helper()
	if why := containerdtest.Missing(); why != "" {
		t.Skip("not run: " + why)
	}
	shared.once.Do(func() { shared.bench, shared.err = newBench() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.bench
}

func newBench() (*bench, error) {
	dir, err := os.MkdirTemp("", "octd")
	if err != nil {
		return nil, err
	}
	b := &bench{dir: dir}
	if b.server, err = containerdtest.Start(filepath.Join(dir, "d"), containerdtest.Options{Binary: os.Getenv("ORPHEUS_TEST_CONTAINERD")}); err != nil {
		return nil, err
	}
	if b.registry, err = imagetest.StartRegistry(imagetest.RegistryOptions{}); err != nil {
		return nil, err
	}
	if b.payload, err = imagetest.BuildPayload(context.Background(), dir); err != nil {
		return nil, err
	}
	img, err := imagetest.Build(imagetest.Options{Binary: b.payload})
	if err != nil {
		return nil, err
	}
	if b.image, b.digest, err = b.registry.Push("payload:1", img); err != nil {
		return nil, err
	}
	b.client, err = client.New(b.server.Address, client.WithTimeout(time.Second))
	return b, err
}

func testCgroup() string { return fmt.Sprintf("/orpheus-test-%d", os.Getpid()) }

// config of a driver on the bench's server.
func (b *bench) config() Config {
	return Config{
		Address: b.server.Address, Namespace: DefaultNamespace, StateDir: filepath.Join(b.dir, "state"), Cgroup: testCgroup(),
		Executable: b.payload, // we may be linked with libraries
		Log:        slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
}

func (b *bench) driver(t testing.TB, change ...func(*Config)) *Driver {
	t.Helper()
	cfg := b.config()
	for _, c := range change {
		c(&cfg)
	}
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// ctx is a context for using the bench's client.
func (b *bench) ctx() context.Context {
	return namespaces.WithNamespace(context.Background(), DefaultNamespace)
}

var serial atomic.Int64

// workload is one instance with one container that runs the payload.
func (b *bench) workload(t testing.TB, args ...string) runtime.Workload {
	t.Helper()
	id := fmt.Sprintf("t-%x-%d", os.Getpid(), serial.Add(1))
	return runtime.Workload{
		ID: id, Slot: planner.SlotID{Service: planner.ServiceID{Namespace: "default", Name: "web"}, Name: "0"},
		Node: "node-1", Epoch: 2, Token: 3, Revision: "r1-abc", Grace: 5 * time.Second,
		Containers: []runtime.Container{{
			Name: "main", Image: b.image, Digest: b.digest, Args: args,
			LogPath: filepath.Join(t.TempDir(), id+".log"),
		}},
	}
}

// start prepares and starts a workload, and removes it after the test.
func start(t testing.TB, d *Driver, w runtime.Workload) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := d.Remove(ctx, w.ID); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	if _, err := d.Prepare(t.Context(), w, nil); err != nil {
		t.Fatal(err)
	}
	if err := d.Start(t.Context(), w); err != nil {
		t.Fatal(err)
	}
}

// find is the instance as the driver lists it; nil if it does not.
func find(t testing.TB, d *Driver, id string) *planner.Instance {
	t.Helper()
	instances, err := d.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range instances {
		if in.ID == id {
			return &in
		}
	}
	return nil
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so after %s: %s", patience, what)
		}
	}
}

// logHas waits until the log of a workload's container holds the text, and
// returns the whole log.
func logHas(t testing.TB, w runtime.Workload, text string) string {
	t.Helper()
	var log []byte
	eventually(t, fmt.Sprintf("log of %s holds %q", w.ID, text), func() bool {
		log, _ = os.ReadFile(w.Containers[0].LogPath)
		return strings.Contains(string(log), text)
	})
	return string(log)
}

// everything lists all there is on the bench's server and of it on the
// machine: containers, processes, root filesystems, leases, partial downloads,
// shims, mounts, cgroups. Images and their layers are not in it.
func (b *bench) everything(t testing.TB) []string {
	t.Helper()
	ctx := b.ctx()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	var all []string
	containers, err := b.client.ContainerService().List(ctx)
	must(err)
	for _, c := range containers {
		all = append(all, "container "+c.ID)
	}
	processes, err := b.client.TaskService().List(ctx, &tasks.ListTasksRequest{})
	must(err)
	for _, p := range processes.Tasks {
		all = append(all, "process "+p.ID)
	}
	must(b.client.SnapshotService(DefaultSnapshotter).Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		if i.Kind != snapshots.KindCommitted {
			all = append(all, "snapshot "+i.Name)
		}
		return nil
	}))
	leases, err := b.client.LeasesService().List(ctx)
	must(err)
	for _, l := range leases {
		all = append(all, "lease "+l.ID)
	}
	partial, err := b.client.ContentStore().ListStatuses(ctx)
	must(err)
	for _, p := range partial {
		all = append(all, "partial download "+p.Ref)
	}
	for _, pid := range b.server.Shims() {
		all = append(all, fmt.Sprintf("shim %d", pid))
	}
	for _, m := range b.server.Mounts() {
		all = append(all, "mount "+m)
	}
	for name := range detectCgroups().children(b.config().cgroup()) {
		all = append(all, "cgroup "+name)
	}
	_ = filepath.WalkDir(filepath.Join(b.dir, "state", "exec"), func(p string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			all = append(all, "pipe "+p)
		}
		return nil
	})
	slices.Sort(all)
	return all
}

// settled lists everything as soon as it is as wanted, or what there is after a
// while: containerd and the kernel let go of some things only a moment later.
func (b *bench) settled(t testing.TB, want []string) []string {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		have := b.everything(t)
		if slices.Equal(have, want) || time.Now().After(deadline) {
			return have
		}
	}
}

// leavesNothing fails the test if there is more at its end than there was at
// its begin.
func (b *bench) leavesNothing(t testing.TB) {
	t.Helper()
	before := b.everything(t)
	t.Cleanup(func() {
		if after := b.settled(t, before); !slices.Equal(before, after) {
			t.Errorf("left behind:\nbefore %q\nafter  %q", before, after)
		}
	})
}
