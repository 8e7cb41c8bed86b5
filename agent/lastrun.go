package agent

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

const (
	lastLines    = 10      // of a log that a status shows
	maxLastLine  = 300     // bytes of each
	maxLastBytes = 8 << 10 // of the log that are read for them
)

// remember reads the last lines a container wrote before its instance ended,
// on a worker; they stand in the status until it is ready again.
func (a *Agent) remember(i planner.Instance, t *track) {
	container := planner.MainContainer
	if spec := a.state.specs[i.Revision]; len(spec.Containers) > 0 {
		container = spec.Containers[0].Name
	}
	if i.Exit != nil && i.Exit.Container != "" {
		container = i.Exit.Container
	}
	if !slices.ContainsFunc(i.Containers, func(c planner.ContainerState) bool { return c.Name == container }) {
		return
	}
	path := filepath.Join(logDir(a.cfg.StateDir, i.Slot), container+".log")
	a.work(func() {
		lines := lastLinesOf(path)
		a.post(func() { t.lastLog = lines })
	})
}

// lastLinesOf reads the last lines of a log, made fit to be shown. No log is no line.
func lastLinesOf(path string) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	from := max(0, info.Size()-maxLastBytes)
	data, err := io.ReadAll(io.NewSectionReader(f, from, maxLastBytes))
	if err != nil {
		return nil
	}
	text := strings.TrimRight(string(data), "\r\n")
	if from > 0 {
		// The first line is cut off, but for one that is longer than all we read.
		if _, whole, more := strings.Cut(text, "\n"); more {
			text = whole
		}
	}
	if text == "" {
		return nil
	}
	lines := strings.Split(text, "\n")
	lines = slices.Clone(lines[max(0, len(lines)-lastLines):])
	for k, line := range lines {
		lines[k] = planner.OneLine(strings.TrimRight(line, "\r"), maxLastLine)
	}
	return lines
}
