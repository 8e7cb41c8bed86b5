package bench

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
)

// rest is how long the agent is watched while nothing happens.
const rest = 65 * time.Second

// BenchmarkAtRest is what the agent takes while 50 containers run and nobody
// commits anything, in the process that started them: memory and processor.
func BenchmarkAtRest(b *testing.B) {
	for _, v := range []struct {
		name string
		opts devfleet.Options
	}{
		{"local repository", devfleet.Options{LocalPath: true}},
		{"https repository", devfleet.Options{Git: gitsynctest.Options{TLS: true}}},
	} {
		b.Run(v.name, func(b *testing.B) { atRest(b, v.name, v.opts) })
	}
}

func atRest(b *testing.B, name string, opts devfleet.Options) {
	f, img := fleet(b, opts)
	hash, _ := commit(b, f, services(img.tag, 1, "rest"))
	if err := f.StartAgent(); err != nil {
		b.Fatal(err)
	}
	settle(b, f, hash)
	pid := f.AgentPID()
	fresh := memory(b, pid)
	begin, before, children := time.Now(), cpu(b, pid), childrenCPU(b, pid)
	time.Sleep(rest)
	took := time.Since(begin)
	share := 100 * float64(cpu(b, pid)-before) / float64(took)
	git := 100 * float64(childrenCPU(b, pid)-children) / float64(took)
	after := memory(b, pid)
	info, err := os.Stat(orpheus)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(mib(after["Rss"]), "RSS-MiB")
	b.ReportMetric(mib(after["Pss"]), "PSS-MiB")
	b.ReportMetric(share, "CPU-%")
	b.ReportMetric(git, "git-CPU-%")
	b.ReportMetric(0, "ns/op")
	table.add("at rest, 50 containers, "+name+": memory", fmt.Sprintf("RSS %.1f MiB, PSS %.1f", mib(after["Rss"]), mib(after["Pss"])),
		fmt.Sprintf("RSS %.1f right after the starts; anonymous %.1f", mib(fresh["Rss"]), mib(after["Anonymous"])), "≤ 40 MiB")
	table.add("at rest, 50 containers, "+name+": CPU", fmt.Sprintf("%.2f %% of a core", share),
		fmt.Sprintf("its git children %.2f %%, over %.0f s", git, took.Seconds()), "≤ 0.5 %")
	if opts.LocalPath {
		table.add("binary", fmt.Sprintf("%.1f MB", float64(info.Size())/1e6), "", "≤ 60 MB")
	}
}
