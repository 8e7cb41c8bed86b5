//go:build linux

package main

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/orpheus-cd/orpheus/agent"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime/containerd"
)

// pressureConfig says when the node is short of something. Each mark is a share
// that is used ("85%"), an amount that is left ("2Gi"), or "none".
type pressureConfig struct {
	Disk   storeMarks `json:"disk"`
	Inodes storeMarks `json:"inodes"`
	Memory marks      `json:"memory"`
	PIDs   marks      `json:"pids"`
}

type storeMarks struct {
	CollectAt string `json:"collectAt"`
	CollectTo string `json:"collectTo"`
	RefuseAt  string `json:"refuseAt"`
}

type marks struct {
	RefuseAt string `json:"refuseAt"`
}

// pressureFaults lists what is wrong with the marks.
func (c *config) pressureFaults() []error {
	_, faults := c.Pressure.limits()
	return faults
}

// limits are the marks, with defaults for what is not given.
func (p pressureConfig) limits() (planner.PressureLimits, []error) {
	limits := planner.DefaultPressureLimits()
	var faults []error
	for _, r := range []struct {
		resource planner.Resource
		given    storeMarks
	}{
		{planner.ResourceDisk, p.Disk}, {planner.ResourceInodes, p.Inodes},
		{planner.ResourceMemory, storeMarks{RefuseAt: p.Memory.RefuseAt}}, {planner.ResourcePIDs, storeMarks{RefuseAt: p.PIDs.RefuseAt}},
	} {
		field := "pressure." + string(r.resource)
		m := limits[r.resource]
		for _, mark := range []struct {
			name, given string
			into        *planner.Mark
		}{{"collectAt", r.given.CollectAt, &m.CollectAt}, {"collectTo", r.given.CollectTo, &m.CollectTo}, {"refuseAt", r.given.RefuseAt, &m.RefuseAt}} {
			if mark.given == "" {
				continue
			}
			var err error
			if *mark.into, err = parseMark(mark.given); err != nil {
				faults = append(faults, fmt.Errorf("%s.%s: %w", field, mark.name, err))
			}
		}
		if fault := orderFault(m); fault != "" {
			faults = append(faults, fmt.Errorf("%s: %s", field, fault))
		}
		limits[r.resource] = m
	}
	return limits, faults
}

// parseMark reads one mark.
func parseMark(text string) (planner.Mark, error) {
	if text == "none" {
		return planner.Mark{}, nil
	}
	if share, ok := strings.CutSuffix(text, "%"); ok {
		n, err := strconv.Atoi(strings.TrimSpace(share))
		if err != nil || n < 1 || n > 100 {
			return planner.Mark{}, fmt.Errorf("%q is no share of what is used; write one from 1%% to 100%%", text)
		}
		return planner.Mark{Used: n}, nil
	}
	q, err := resource.ParseQuantity(text)
	if err != nil || q.Sign() <= 0 {
		return planner.Mark{}, fmt.Errorf("%q is no mark; write what is used, such as 85%%, or what is left, such as 2Gi, or none", text)
	}
	return planner.Mark{Free: uint64(q.Value())}, nil
}

// orderFault says why the marks of a resource make no sense together.
func orderFault(m planner.Marks) string {
	beyond := func(a, b planner.Mark) bool { // both of one kind, and a is reached after b
		return a.Used > 0 && b.Used > 0 && a.Used > b.Used || a.Free > 0 && b.Free > 0 && a.Free < b.Free
	}
	switch {
	case m.CollectAt == planner.Mark{}:
		return ""
	case (m.CollectAt.Used > 0) != (m.CollectTo.Used > 0):
		return "collectAt and collectTo must both be shares, or both amounts"
	case !beyond(m.CollectAt, m.CollectTo):
		return "collectTo must leave more free than collectAt"
	case beyond(m.CollectAt, m.RefuseAt):
		return "refuseAt must not come before collectAt: images go before work is refused"
	}
	return ""
}

// pressure is what the agent watches, with the cgroups that instances are in.
func (c *config) pressure() *agent.Pressure {
	limits, _ := c.Pressure.limits() // validated
	return &agent.Pressure{Limits: limits, Read: agent.SystemReadings(c.cgroups()...)}
}

// cgroups are the parents of what runs on the node.
func (c *config) cgroups() []string {
	parents := []string{c.Process.Cgroup, c.Containerd.Cgroup}
	if c.Process.Cgroup == "" {
		parents[0] = "orpheus"
	}
	if c.Containerd.Cgroup == "" {
		parents[1] = containerd.DefaultCgroup
	}
	for k, p := range parents {
		parents[k] = path.Join("/", p)
	}
	return parents
}
