package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

const (
	// What nodes and their writers say of themselves is cut for the screen.
	maxShownWord   = 60
	maxShownReason = 300
	// maxShownBad is how many records that are not verified a view lists.
	maxShownBad = 10
)

// drawNodes draws the table of all nodes.
func drawNodes(s *screen, r nodesReport) {
	r.verdict().draw(s)
	s.blank()
	t := table{titles: []string{"NODE", "STATE", "EPOCH", "SLOTS", "COMMIT", "VERSION", "ADDRESS", "CAPACITY", "NOTE"}, spare: []int{7, 6, 5, 2}}
	commit := r.usualCommit()
	listed, rest := worthListing(s, r.Nodes, func(n nodeReport) bool { return n.well() && n.Applied == commit })
	for _, n := range listed {
		note, c := nodeRemark(n)
		cells := []cell{{string(n.Name), plain}, {nodeState(n), stateColour(n)}, {}, {}, {}, {}, {}, {}}
		if n.State != nodeNotVerified {
			cells[2].text = strconv.FormatUint(n.Epoch, 10)
			cells[3] = cell{fmt.Sprintf("%d/%d", n.Ready, n.Leases), slotsColour(n)}
			cells[4].text = planner.Commit{Hash: n.Applied}.Short()
			cells[5].text = planner.OneLine(n.Version, maxShownWord)
			cells[6].text = planner.OneLine(n.Address, maxShownWord)
			cells[7].text = describeCapacity(n.Capacity)
		}
		t.add(note, c, cells...)
	}
	t.draw(s)
	rest.draw(s, "node", "live and well at "+planner.Commit{Hash: commit}.Short())
	drawBadRecords(s, r.NotVerified)
}

// well reports whether there is nothing to say of a node but that it is there.
func (n nodeReport) well() bool {
	remark, _ := nodeRemark(n)
	return n.State == nodeLive && remark == "" && !n.Drain && !n.Cordon && n.Ready == n.Leases
}

// usualCommit is what most live nodes follow.
func (r nodesReport) usualCommit() string {
	of := map[string]int{}
	usual := ""
	for _, n := range r.Nodes {
		if n.State == nodeLive && n.Applied != "" {
			of[n.Applied]++
			if k := of[n.Applied]; k > of[usual] || k == of[usual] && n.Applied < usual {
				usual = n.Applied
			}
		}
	}
	return usual
}

// verdict is how the nodes of a fleet stand.
func (r nodesReport) verdict() *verdict {
	v := &verdict{}
	live, ready, leases := 0, 0, 0
	var fenced, failing, silent, drained []string
	for _, n := range r.Nodes {
		switch {
		case n.State == nodeFenced:
			fenced = append(fenced, string(n.Name))
		case n.State == nodeNotVerified:
			silent = append(silent, string(n.Name))
		case n.State == nodeLive && (n.Failing != "" || len(n.Pressure) > 0 || n.Rejected != nil || n.StatusProblem != ""):
			failing = append(failing, string(n.Name))
		case n.State == nodeLive && (n.Drain || n.Cordon):
			drained = append(drained, string(n.Name))
		}
		if n.State == nodeLive {
			live++
		}
		ready, leases = ready+n.Ready, leases+n.Leases
	}
	for _, of := range []struct {
		names      []string
		what, todo string
	}{
		{fenced, "fenced", "see whether it is up and reaches the fleet's Git repository; one that left for good: remove its manifest and its record"},
		{silent, "not verified", "see why below: its record counts for nothing"},
		{failing, "in trouble", "orpheus nodes NODE, and \"orpheus doctor\" on it"},
	} {
		if len(of.names) > 0 {
			v.add(of.todo, "%s %s (%s)", count(len(of.names), "node"), of.what, someOf(of.names))
		}
	}
	if n := len(r.NotVerified); n > 0 {
		v.add("see what is not verified below", "%s not verified", count(n, "record"))
	}
	if len(drained) > 0 {
		v.say = append(v.say, fmt.Sprintf("%s drained or cordoned (%s)", count(len(drained), "node"), someOf(drained)))
	}
	if ready < leases {
		v.busy = append(v.busy, fmt.Sprintf("%d of %s ready", ready, count(leases, "slot")))
	} else {
		v.say = append(v.say, fmt.Sprintf("%d of %s ready", ready, count(leases, "slot")))
	}
	v.say = append(v.say, fmt.Sprintf("%d of %s live", live, count(len(r.Nodes), "node")))
	return v
}

func drawBadRecords(s *screen, bad []badRecord) {
	if len(bad) == 0 {
		return
	}
	s.blank()
	for _, b := range bad[:min(len(bad), maxShownBad)] {
		s.prose("", plain, red, string(b.Record)+" is not verified: "+planner.OneLine(b.Reason, maxShownReason))
	}
	if n := len(bad) - maxShownBad; n > 0 {
		s.prose("", plain, red, fmt.Sprintf("and %s more", count(n, "record")))
	}
}

// nodeState is a node's state in a word or two.
func nodeState(n nodeReport) string {
	switch {
	case n.State == nodeRetired:
	case n.State != nodeLive && n.Abandoned:
		return n.State + ", given up"
	case n.Drain:
		return n.State + ", drained"
	case n.Cordon:
		return n.State + ", cordoned"
	}
	return n.State
}

func stateColour(n nodeReport) colour {
	switch {
	case n.State == nodeNotVerified:
		return red
	case n.State == nodeRetired:
		return dim
	case n.State == nodeFenced || n.Drain || n.Cordon:
		return yellow
	}
	return green
}

func slotsColour(n nodeReport) colour {
	if n.Ready < n.Leases {
		return yellow
	}
	return plain
}

// nodeRemark is the one thing to know of a node beyond its columns.
func nodeRemark(n nodeReport) (text string, c colour) {
	short := func(s string) string { return planner.OneLine(s, maxShownReason) }
	switch {
	case n.State == nodeNotVerified:
		return short(n.Reason), red
	case n.State == nodeFenced:
		return short(fmt.Sprintf("by %s: %s", n.By, n.Reason)), yellow
	case n.State == nodeRetired:
		return "", plain
	case n.Abandoned:
		return "it is back, though its manifest has abandoned: true: remove that, or its data is given up when it is lost again", yellow
	case n.StatusProblem != "":
		return short(n.StatusProblem), yellow
	case n.Rejected != nil:
		return short("does not follow " + planner.Commit{Hash: n.Rejected.Commit}.Short() + ": " + n.Rejected.Reason), red
	case n.Failing != "":
		return short("gets no new work: " + n.Failing), red
	case len(n.Pressure) > 0:
		return short("short of " + strings.Join(n.Pressure, ", ")), yellow
	case len(n.Refusals) > 0:
		return "refuses " + count(len(n.Refusals), "revision"), yellow
	}
	return "", plain
}

// describeCapacity is the room of a node, of which zero fields are unknown.
func describeCapacity(r planner.ResourceList) string {
	var parts []string
	if r.CPUMillis > 0 {
		parts = append(parts, strconv.FormatFloat(float64(r.CPUMillis)/1000, 'f', -1, 64)+" cpu")
	}
	if r.MemoryBytes > 0 {
		parts = append(parts, fmt.Sprintf("%.1f GiB", float64(r.MemoryBytes)/(1<<30)))
	}
	return strings.Join(parts, ", ")
}

// drawNodeRecord draws all that one node says.
func drawNodeRecord(s *screen, n nodeReport, now time.Time) {
	word := func(text string) string { return planner.OneLine(text, maxShownReason) }
	label := func(name, text string) {
		if text != "" {
			s.labelled(name, plain, word(text))
		}
	}
	s.labelled("NODE", bold, string(n.Name))
	remark, c := nodeRemark(n)
	s.labelled("STATE", stateColour(n), nodeState(n))
	if remark != "" {
		s.prose("          ", plain, c, remark)
	}
	if n.State == nodeNotVerified {
		return
	}
	label("EPOCH", strconv.FormatUint(n.Epoch, 10))
	label("SLOTS", fmt.Sprintf("%d of %d ready", n.Ready, n.Leases))
	label("COMMIT", planner.Commit{Hash: n.Applied}.Short())
	label("VERSION", n.Version)
	label("ADDRESS", n.Address)
	label("SYSTEM", strings.Trim(n.OS+"/"+n.Arch, "/"))
	label("CAPACITY", describeCapacity(n.Capacity))
	label("DRIVERS", strings.Join(n.Drivers, ", "))
	for i, key := range slices.Sorted(maps.Keys(n.Labels)) {
		s.labelled(first(i, "LABELS"), plain, word(key+"="+n.Labels[key]))
	}
	for i, t := range n.Taints {
		s.labelled(first(i, "TAINTS"), plain, word(t.Key+"="+t.Value+":"+t.Effect))
	}
	for i, v := range n.Volumes {
		s.labelled(first(i, "VOLUMES"), plain, word(v.String()))
	}
	label("WRITTEN", written("record", n.Written, now)+written(", status", n.StatusWritten, now))
	drawReported(s, n)
}

// first is a label for the first of several lines.
func first(i int, label string) string {
	if i > 0 {
		return ""
	}
	return label
}

func written(what string, at, now time.Time) string {
	if at.IsZero() {
		return ""
	}
	return what + " " + age(now.Sub(at)) + " ago"
}

// drawReported draws the instances and refusals in a node's status.
func drawReported(s *screen, n nodeReport) {
	if len(n.Instances) > 0 {
		s.blank()
		t := table{titles: []string{"SLOT", "PHASE", "RESTARTS", "REVISION", "REASON"}, spare: []int{3, 2}}
		for _, i := range n.Instances {
			c := phaseColour(i.Phase)
			t.add(planner.OneLine(i.Reason, maxShownReason), noteColour(c),
				cell{i.Slot.String(), plain}, cell{planner.OneLine(string(i.Phase), maxShownWord), c},
				cell{strconv.Itoa(i.Restarts), plain}, cell{planner.OneLine(string(i.Revision.Short()), maxShownWord), plain})
		}
		t.draw(s)
	}
	if len(n.Refusals) > 0 {
		s.blank()
		t := table{titles: []string{"REFUSES", "REVISION", "REASON"}}
		for _, r := range n.Refusals {
			t.add(planner.OneLine(r.Reason, maxShownReason), yellow,
				cell{r.Service.String(), plain}, cell{planner.OneLine(string(r.Revision.Short()), maxShownWord), plain})
		}
		t.draw(s)
	}
}
