package review

import (
	"strconv"
	"strings"
)

func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}

func verb(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// Memory is an amount of memory in the largest unit of which there are at least
// ten or a whole number, rounded up.
func Memory(n int64) string {
	for _, unit := range []struct {
		size int64
		name string
	}{{1 << 40, "Ti"}, {1 << 30, "Gi"}, {1 << 20, "Mi"}, {1 << 10, "Ki"}} {
		if n >= 10*unit.size || n >= unit.size && n%unit.size == 0 {
			return strconv.FormatInt((n+unit.size-1)/unit.size, 10) + unit.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// CPU is an amount of cores.
func CPU(millis int64) string {
	if millis%1000 == 0 {
		return strconv.FormatInt(millis/1000, 10)
	}
	return strconv.FormatInt(millis, 10) + "m"
}

// list joins names, the first few of many.
func list[T ~string](names []T, most int) string {
	var b strings.Builder
	for i, n := range names {
		if i == most {
			b.WriteString(" and " + strconv.Itoa(len(names)-most) + " more")
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(n))
	}
	return b.String()
}
