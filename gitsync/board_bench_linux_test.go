package gitsync_test

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
)

func usage(b *testing.B, who int) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(who, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkSwap is one change of one record, by a board and by the git
// program, of a repository with 100 others over HTTP. own-cpu-ms is of this
// process (the board, and the HTTP half of the test's server), children-cpu-ms
// of git's processes: of the server, and with git push of the client, too.
func BenchmarkSwap(b *testing.B) {
	for _, client := range []string{"board", "git push"} {
		b.Run(client, func(b *testing.B) {
			_, repo, cfg := boardServer(b, gitsynctest.Options{})
			fill(b, repo, 100)
			push := byBoard(b, cfg)
			if err := push(nil, gitsynctest.NewRecord("a", 0)); err != nil {
				b.Fatal(err)
			}
			if client == "git push" {
				push = byGit(b, cfg.URL, b.N)
			}
			own, children := usage(b, unix.RUSAGE_SELF), usage(b, unix.RUSAGE_CHILDREN)
			b.ResetTimer()
			for i := range b.N {
				if err := push(gitsynctest.NewRecord("a", i), gitsynctest.NewRecord("a", i+1)); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 / float64(b.N) }
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "swaps/s")
			b.ReportMetric(ms(usage(b, unix.RUSAGE_SELF)-own), "own-cpu-ms/op")
			b.ReportMetric(ms(usage(b, unix.RUSAGE_CHILDREN)-children), "children-cpu-ms/op")
		})
	}
}
