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
