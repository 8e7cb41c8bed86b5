package gitsync_test

import (
	"fmt"
	"io/fs"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
)

// cpuTime is what this process has used, and its children that have ended.
func cpuTime(b *testing.B) (sum time.Duration) {
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if err := unix.Getrusage(who, &u); err != nil {
			b.Fatal(err)
		}
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum
}

// BenchmarkOneFileCommit10000 is a commit that changes one of 10,000
// manifests, from the look to its content: Fetch, then the root, the folder
// that changed, and the file. cpu-ms counts git's processes, too, and what
// making the clone anew costs every 26 to 51 commits.
func BenchmarkOneFileCommit10000(b *testing.B) {
	repo := gitsynctest.Must(gitsynctest.NewRepo(b.TempDir() + "/fleet.git"))(b)
	gitsynctest.Must(repo.Commit(manifests(10_000), "all"))(b)
	r, err := gitsync.Open(gitsync.Config{URL: repo.Dir, Branch: "main", Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Fetch(b.Context()); err != nil {
		b.Fatal(err)
	}
	var cpu time.Duration
	for i := range b.N {
		b.StopTimer()
		content := fmt.Sprint("kind: Service # ", b.N, i)
		gitsynctest.Must(repo.Commit(map[string]string{"team050/service05000.yaml": content}, "one"))(b)
		before := cpuTime(b)
		b.StartTimer()
		c, err := r.Fetch(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		fsys, err := r.FS(c.Hash)
		if err != nil {
			b.Fatal(err)
		}
		for _, folder := range []string{".", "team050"} {
			if _, err := fs.ReadDir(fsys, folder); err != nil {
				b.Fatal(err)
			}
		}
		if data, err := fs.ReadFile(fsys, "team050/service05000.yaml"); err != nil || string(data) != content {
			b.Fatalf("%q, %v", data, err)
		}
		cpu += cpuTime(b) - before
	}
	b.ReportMetric(float64(cpu.Microseconds())/1000/float64(b.N), "cpu-ms/op")
}
