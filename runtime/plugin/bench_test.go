//go:build linux

package plugin_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// BenchmarkCall is what a call costs beyond the driver's own work, and what
// the plugin weighs.
func BenchmarkCall(b *testing.B) {
	c := config(b, "fake")
	d := open(b, c)
	process := pid(b, d, c)
	for b.Loop() {
		if _, err := d.Info(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	for line := range strings.Lines(string(must(os.ReadFile(fmt.Sprintf("/proc/%d/status", process))))) {
		var kib float64
		if n, _ := fmt.Sscanf(line, "VmRSS: %f", &kib); n == 1 {
			b.ReportMetric(kib/1024, "plugin-MiB-RSS")
		}
	}
}

// BenchmarkReattach is what it takes to find the plugin again: mostly the
// checksum of what it executes.
func BenchmarkReattach(b *testing.B) {
	c := config(b, "fake")
	pid(b, open(b, c), c)
	for b.Loop() {
		d := open(b, c)
		if _, err := d.Info(b.Context()); err != nil {
			b.Fatal(err)
		}
		d.Close()
	}
}
