package bench

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/runtime/containerd"
	"github.com/orpheus-cd/orpheus/runtime/network"
)

const (
	onePairs  = 12
	manyPairs = 4
	many      = 50
	parallel  = 8 // the agent's own bound on starts
)

// BenchmarkCommitToRunning1 is the time from the branch's move to the new
// container's run, for one service whose environment the commit changes, by
// digest and by tag, in turns with the same container started raw.
func BenchmarkCommitToRunning1(b *testing.B) {
	f, img := fleet(b, devfleet.Options{LocalPath: true})
	p := newPeer(b, f, img)
	images := map[string]string{"digest": img.pinned(), "tag": img.tag}
	files := map[string]string{"fleet.yaml": fleetYAML}
	for by, ref := range images {
		files[by+".yaml"] = service("by-"+by, ref, 1, "0")
	}
	hash, _ := commit(b, f, files)
	if err := f.StartAgent(); err != nil {
		b.Fatal(err)
	}
	settle(b, f, hash)
	took := map[string][]time.Duration{}
	for n := range onePairs + 1 {
		turns := []string{"raw", "digest", "tag"}
		for k := range turns {
			by := turns[(n+k)%len(turns)]
			var d time.Duration
			if by == "raw" {
				d = p.raw(b, 1, 1)
			} else {
				file := map[string]string{by + ".yaml": service("by-"+by, images[by], 1, strconv.Itoa(n+1))}
				hash, at := commit(b, f, file)
				d = p.started(b, containerd.DefaultNamespace, 1, at)
				settle(b, f, hash)
			}
			if n > 0 { // the first turn warms all sides up
				took[by] = append(took[by], d)
			}
		}
	}
	for _, by := range []string{"digest", "tag"} {
		b.ReportMetric(ms(median(took[by])), by+"-ms")
		b.ReportMetric(ratio(took[by], took["raw"]), by+"/raw")
		table.add("commit → 1 service running, by "+by, spread(took[by]),
			fmt.Sprintf("raw %s: %.2f ×", spread(took["raw"]), ratio(took[by], took["raw"])), "≤ 1.5 ×")
	}
	b.ReportMetric(ms(median(took["raw"])), "raw-ms")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkCommitToRunning50 is the same for one commit that gives 50 services
// a replica each: from the branch's move to the run of the last.
func BenchmarkCommitToRunning50(b *testing.B) {
	f, img := fleet(b, devfleet.Options{LocalPath: true})
	p := newPeer(b, f, img)
	images := map[string]string{"digest": img.pinned(), "tag": img.tag}
	hash, _ := commit(b, f, services(images["tag"], 1, "first"))
	if err := f.StartAgent(); err != nil {
		b.Fatal(err)
	}
	settle(b, f, hash)
	took := map[string][]time.Duration{}
	for n := range manyPairs {
		turns := []string{"raw", "digest", "tag"}
		for k := range turns {
			by := turns[(n+k)%len(turns)]
			if by == "raw" {
				took[by] = append(took[by], p.raw(b, many, parallel))
				continue
			}
			hash, _ := commit(b, f, services(images[by], 0, strconv.Itoa(n)))
			settle(b, f, hash)
			awaitNoLinks(b)
			hash, at := commit(b, f, services(images[by], 1, strconv.Itoa(n)))
			took[by] = append(took[by], p.started(b, containerd.DefaultNamespace, many, at))
			settle(b, f, hash)
		}
		hash, _ := commit(b, f, services(images["tag"], 0, "none"))
		settle(b, f, hash)
		awaitNoLinks(b)
	}
	for _, by := range []string{"digest", "tag"} {
		b.ReportMetric(ms(median(took[by])), by+"-ms")
		b.ReportMetric(ratio(took[by], took["raw"]), by+"/raw")
		table.add(fmt.Sprintf("commit → %d services running, by %s", many, by), spread(took[by]),
			fmt.Sprintf("raw, %d at once, %s: %.2f ×", parallel, spread(took["raw"]), ratio(took[by], took["raw"])), "≤ 1.3 ×")
	}
	b.ReportMetric(ms(median(took["raw"])), "raw-ms")
	b.ReportMetric(0, "ns/op")
}

// awaitNoLinks waits until the last instance's link is gone: the kernel takes
// its time over them, and a turn is not to pay for the one before.
func awaitNoLinks(b *testing.B) {
	b.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		links, err := net.Interfaces()
		if err != nil {
			b.Fatal(err)
		}
		ours := func(l net.Interface) bool {
			return strings.HasPrefix(l.Name, "orph") && l.Name != network.DefaultBridge
		}
		if !slices.ContainsFunc(links, ours) {
			return
		}
		if time.Now().After(deadline) {
			b.Fatal("links of ended instances stay")
		}
	}
}

// services is the fleet with its 50 services in a file each.
func services(image string, replicas int, version string) map[string]string {
	files := map[string]string{"fleet.yaml": fleetYAML}
	for i := range many {
		files[fmt.Sprintf("s%02d.yaml", i)] = service(fmt.Sprintf("s%02d", i), image, replicas, version)
	}
	return files
}
