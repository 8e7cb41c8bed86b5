//go:build !linux

package main

import (
	"context"
	goruntime "runtime"
	"time"
)

func init() {
	platformChecks = append(platformChecks, func(*env) []check {
		return []check{{"system", func(context.Context) (level, string, string) {
			return levelWarn, "agents run on Linux only, this is " + goruntime.GOOS, "use this machine for validate, render, nodes, history and drain"
		}}}
	})
}

func checkClockSync(now time.Time) (level, string, string) {
	return levelOK, now.UTC().Format(time.RFC3339), ""
}
