package main

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/agent"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// room looks at what the agent would be short of, by the marks of its
// configuration.
func (n *nodeExam) room(ctx context.Context) (level, string, string) {
	limits, _ := n.config.Pressure.limits() // validated
	readings := agent.SystemReadings(n.config.cgroups()...)(append(n.stores(ctx), agent.Folder{Path: n.config.StateDir}))
	if short := planner.Assess(nil, readings, limits, 0); len(short) > 0 {
		texts := make([]string, len(short))
		for k, s := range short {
			texts[k] = s.String()
		}
		return levelFail, strings.Join(texts, "; ") + ": this node takes no new work",
			"make room, or change pressure in the agent's configuration"
	}
	var full []string
	for _, r := range readings {
		if limits.Collects(r) {
			full = append(full, planner.Shortage{Reading: r}.String())
		}
	}
	if len(full) > 0 {
		return levelWarn, strings.Join(full, "; ") + ": images that nobody needs are removed", ""
	}
	return levelOK, "disk, inodes, memory and process ids are enough to take new work", ""
}

// stores are the folders that drivers keep images in; those of a driver that
// does not answer, which another check tells, are left out.
func (n *nodeExam) stores(ctx context.Context) []agent.Folder {
	dir, err := os.MkdirTemp("", "orpheus-doctor-")
	if err != nil {
		return nil
	}
	defer os.RemoveAll(dir)
	nodes := node{config: n.config, log: slog.New(slog.DiscardHandler), drivers: map[string]runtime.Driver{}}
	nodes.config.StateDir, nodes.config.RunDir = dir, dir
	if nodes.addDrivers() != nil {
		return nil
	}
	var out []agent.Folder
	for _, name := range slices.Sorted(maps.Keys(nodes.drivers)) {
		s, ok := nodes.drivers[name].(runtime.Storer)
		_, keeps := nodes.drivers[name].(runtime.ImageKeeper)
		if ok && keeps { // to ask a plugin would start a second process of it
			paths, _ := s.Stores(ctx)
			for _, path := range paths {
				out = append(out, agent.Folder{Path: path, Images: true})
			}
		}
		if c, ok := nodes.drivers[name].(io.Closer); ok {
			_ = c.Close() // it was only asked
		}
	}
	return out
}
