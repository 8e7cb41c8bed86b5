package network

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/containerd/go-cni"
	"golang.org/x/sys/unix"
)

// cniPlugins is where Debian's containernetworking-plugins are, and where most
// others put them.
var cniPlugins = []string{"/usr/lib/cni", "/opt/cni/bin"}

// BenchmarkAttachBesideCNI attaches in turns by this package and by go-cni with
// the plugins bridge and host-local, each from nothing to a namespace with an
// address and a way out. It spares CNI what makes it slower: loopback, the
// masquerade rule, ports. Ours has all that, IPv6 and the files with names.
func BenchmarkAttachBesideCNI(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root: makes network namespaces")
	}
	for _, name := range []string{"bridge", "host-local"} {
		if !slices.ContainsFunc(cniPlugins, func(dir string) bool { _, err := os.Stat(filepath.Join(dir, name)); return err == nil }) {
			b.Skipf("needs CNI's plugin %s in one of %v (package containernetworking-plugins)", name, cniPlugins)
		}
	}
	// libcni keeps its results in /var/lib/cni.
	must(b, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	must(b, unix.Mount("tmpfs", "/var/lib", "tmpfs", 0, ""))
	defer func() { must(b, unix.Unmount("/var/lib", unix.MNT_DETACH)) }()
	dir := b.TempDir()
	conf := fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "beside", "plugins": [{
		"type": "bridge", "bridge": "cni0", "isDefaultGateway": true, "hairpinMode": true,
		"ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.88.0.0/16"}]]}}]}`, filepath.Join(dir, "ipam"))
	theirs, err := cni.New(cni.WithPluginDir(cniPlugins), cni.WithPluginConfDir(dir), cni.WithInterfacePrefix("eth"), cni.WithConfListBytes([]byte(conf)))
	must(b, err)
	ctx := context.Background()
	n := newNetwork(b, testConfig(b.TempDir()))
	attach(b, n, "first")
	defer func() {
		must(b, n.Sweep(ctx, nil))
		must(b, n.Teardown(ctx))
	}()

	var times [4][]time.Duration
	timed := func(what int, f func()) {
		start := time.Now()
		f()
		times[what] = append(times[what], time.Since(start))
	}
	for k := range b.N {
		id := fmt.Sprint("web-", k)
		netns := filepath.Join(dir, id)
		timed(0, func() { attach(b, n, id) })
		timed(1, func() {
			must(b, inNewNamespace(func() error { return pinNamespace(netns) }))
			_, err := theirs.Setup(ctx, id, netns)
			must(b, err)
		})
		timed(2, func() { must(b, n.Detach(ctx, id)) })
		timed(3, func() {
			must(b, theirs.Remove(ctx, id, netns))
			must(b, unpinNamespace(netns))
		})
	}
	for what, name := range []string{"attach", "go-cni-attach", "detach", "go-cni-detach"} {
		slices.Sort(times[what])
		b.ReportMetric(float64(times[what][b.N/2].Microseconds())/1000, "ms/"+name)
	}
	b.ReportMetric(0, "ns/op") // of all four together: no figure
}
