package terminal

import "strings"

// Bar draws how far something has come in n columns: done of total, in eighths of
// a column. A total of 0 is not known, and drawn as nothing done.
func Bar(done, total int64, n int) string {
	const eighths = 8
	filled := int(Share(done, total) * float64(n*eighths))
	if n <= 0 {
		return ""
	}
	bar := strings.Repeat("█", filled/eighths)
	if part := filled % eighths; part > 0 {
		bar += string([]rune(" ▏▎▍▌▋▊▉")[part])
	}
	return bar + strings.Repeat("░", n-len([]rune(bar)))
}

// Steps draws in n columns of how many of total things are done and how many more
// have begun.
func Steps(done, begun, total, n int) string {
	if total <= 0 || n <= 0 {
		return ""
	}
	columns := func(of int) int { return min(max(of, 0), total) * n / total }
	full := columns(done)
	part := max(full, columns(max(done, begun)))
	return strings.Repeat("█", full) + strings.Repeat("▒", part-full) + strings.Repeat("░", n-part)
}

// Percent is the share of total that is done, rounded down: 100 only if nothing
// is missing.
func Percent(done, total int64) int { return int(Share(done, total) * 100) }

// Share is Percent as a fraction of 1.
func Share(done, total int64) float64 {
	if total <= 0 || done <= 0 {
		return 0
	}
	return float64(min(done, total)) / float64(total)
}
