package bench

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/gitsync"
)

const (
	manifests = 10_000
	local     = 20 // of them run on this node
	commits   = 12
	quiet     = 2 * time.Second // after which a commit has no consequences left
)

// BenchmarkOneFileCommit10000 is the processor time the agent spends on a
// commit that changes one of 10,000 manifests, of which 20 run here, beside
// that of fetching it alone.
func BenchmarkOneFileCommit10000(b *testing.B) {
	f, img := fleet(b, devfleet.Options{LocalPath: true})
	files := map[string]string{"fleet.yaml": fleetYAML}
	for i := range manifests {
		files[path(i)] = manifest(i, img.pinned(), "0")
	}
	hash, _ := commit(b, f, files)
	alone, err := gitsync.Open(gitsync.Config{URL: f.Repo.Dir, Branch: "main", Dir: filepath.Join(f.Dir, "alone")})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = alone.Close() }()
	fetchCPU(b, alone)
	if err := f.StartAgent(); err != nil {
		b.Fatal(err)
	}
	settle(b, f, hash)
	kinds := []struct {
		name string
		file int // whose service runs here if it is below local
	}{{"elsewhere", manifests - 1}, {"here", 0}}
	used, fetch := map[string][]time.Duration{}, []time.Duration{}
	for n := range commits {
		for _, kind := range kinds {
			next, err := f.Stage(map[string]string{path(kind.file): manifest(kind.file, img.pinned(), strconv.Itoa(n+1))}, "bench")
			if err != nil {
				b.Fatal(err)
			}
			time.Sleep(quiet) // lets the agent come to rest: this is what is measured from
			before := cpu(b, f.AgentPID())
			if _, err := f.Publish(next); err != nil {
				b.Fatal(err)
			}
			time.Sleep(quiet)
			used[kind.name] = append(used[kind.name], cpu(b, f.AgentPID())-before)
			settle(b, f, next)
			fetch = append(fetch, fetchCPU(b, alone))
		}
	}
	b.ReportMetric(ms(median(fetch)), "fetch-ms")
	for _, kind := range kinds {
		beyond := median(used[kind.name]) - median(fetch)
		b.ReportMetric(ms(beyond), kind.name+"-beyond-ms")
		table.add("one-file commit among 10,000, service runs "+kind.name, "agent CPU "+spread(used[kind.name]),
			fmt.Sprintf("fetch alone %s: %.0f ms beyond", spread(fetch), ms(beyond)), "≤ 100 ms beyond")
	}
	b.ReportMetric(0, "ns/op")
}

func path(i int) string { return fmt.Sprintf("team%03d/s%05d.yaml", i/100, i) }

// manifest is a service that runs here only if it is among the first.
func manifest(i int, image, version string) string {
	m := service(fmt.Sprintf("s%05d", i), image, 1, version)
	if i >= local {
		m = strings.Replace(m, "spec:\n", "spec:\n  nodeSelector: {orpheus/node: another}\n", 1)
	}
	return m
}

// fetchCPU is the processor time of one look in this process; that of git is
// not in it, as it is not in the agent's.
func fetchCPU(b *testing.B, repo *gitsync.Repository) time.Duration {
	b.Helper()
	before := ownCPU(b)
	if _, err := repo.Fetch(b.Context()); err != nil {
		b.Fatal(err)
	}
	return ownCPU(b) - before
}

func ownCPU(b *testing.B) time.Duration {
	b.Helper()
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}
