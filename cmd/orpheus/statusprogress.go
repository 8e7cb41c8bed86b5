package main

import (
	"fmt"
	"strings"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/terminal"
	"github.com/orpheus-cd/orpheus/planner"
)

// progressColumns is how wide the bar of one thing is.
const progressColumns = 24

// barred is how far something has come: a bar on a terminal, and a percentage.
func barred(s *screen, done, total int64) string {
	text := fmt.Sprintf("%d %%", terminal.Percent(done, total))
	if s.width == 0 {
		return text
	}
	return terminal.Bar(done, total, min(progressColumns, max(8, s.width/4))) + " " + text
}

// describePull is how far the pull of an image has come.
func describePull(s *screen, p api.Pull) string {
	from := ""
	if p.From != "" {
		from = " from " + p.From
	}
	if p.Total <= 0 {
		if p.Done <= 0 {
			return p.Image + ": begins" + from
		}
		return fmt.Sprintf("%s: %s%s", p.Image, planner.Size(uint64(p.Done)), from)
	}
	return fmt.Sprintf("%s %s of %s: %s%s", barred(s, p.Done, p.Total), planner.Size(uint64(max(0, p.Done))), planner.Size(uint64(p.Total)), p.Image, from)
}

// inMotion reports whether slots are on their way to a revision.
func inMotion(r *api.Rollout) bool {
	if r == nil || r.Replicas == 0 || !begun(r) {
		return false
	}
	switch r.State {
	case planner.RolloutRolling, planner.RolloutPaused, planner.RolloutWaiting, planner.RolloutReverting:
		return true
	}
	return false
}

// describeProgress is how far a rollout has come: slots that are available at the
// new revision, those that have it, and steps; "" = it is not under way.
func describeProgress(s *screen, r *api.Rollout) string {
	if !inMotion(r) {
		return ""
	}
	parts := []string{barred(s, int64(r.Done), int64(r.Replicas))}
	if s.width > 0 {
		parts[0] = terminal.Steps(r.Done, r.Updated, r.Replicas, min(progressColumns, max(8, s.width/4)))
	}
	parts = append(parts, fmt.Sprintf("%d available at it, %d have it, of %d", r.Done, r.Updated, r.Replicas))
	if r.Steps > 0 {
		parts = append(parts, fmt.Sprintf("step %d of %d", r.Step, r.Steps))
	}
	return parts[0] + " " + strings.Join(parts[1:], "; ")
}

// withBar adds a bar to the mark of a rollout that is under way, where there is
// room.
func withBar(s *screen, r *api.Rollout, mark string) string {
	if s.width < barRoom || !inMotion(r) {
		return mark
	}
	return mark + " " + terminal.Steps(r.Done, r.Updated, r.Replicas, barColumns)
}
