package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// table gathers what the benchmarks found, to be printed when all have run.
var table report

type report struct{ rows [][]string }

// add appends a row: what was measured, the figure, what it is compared with,
// and the target.
func (r *report) add(what, figure, beside, target string) {
	r.rows = append(r.rows, []string{what, figure, beside, target})
}

func (r *report) print(w io.Writer) {
	if len(r.rows) == 0 {
		return
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range slices.Concat([][]string{{"MEASURED", "ORPHEUS", "BESIDE", "TARGET"}}, r.rows) {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	_ = t.Flush() // a summary on standard output: nobody to tell
}

// median of durations; 0 of none.
func median(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// spread is "median ms (least to most)".
func spread(all []time.Duration) string {
	return fmt.Sprintf("%.0f ms (%.0f to %.0f)", ms(median(all)), ms(slices.Min(all)), ms(slices.Max(all)))
}

func ratio(a, b []time.Duration) float64 { return float64(median(a)) / float64(median(b)) }
