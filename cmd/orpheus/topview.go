package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/orpheus-cd/orpheus/cmd/internal/terminal"
)

const (
	// nearLimit is from what share of its limit on memory is worth a word.
	nearLimit = 0.9
	// nearFull is from what share of a node's capacity on what is asked is.
	nearFull = 0.9
	// maxTopRows is how many rows a screen has that nobody asked for all of.
	maxTopRows = 30
	// maxTopNodes is how many nodes stand above services.
	maxTopNodes = 8
	// barColumns is how wide bars in tables are, where there is room for any.
	barColumns, barRoom = 8, 100
)

// drawTop draws the nodes, and services or instances.
func drawTop(s *screen, r *topReport, instances, nodesOnly bool) {
	defer drawUnreached(s, r.NotReached)
	if !r.Measured {
		s.labelled("RECORDS", plain, strings.TrimPrefix(r.Records, "records "))
		s.prose("          ", plain, plain, "What is used only agents know: run this on a node. This is what is asked for.")
		s.blank()
	}
	if nodesOnly {
		drawTopNodes(s, r, maxTopRows)
		return
	}
	drawTopNodes(s, r, maxTopNodes)
	s.blank()
	rows := r.Services
	if instances {
		rows = r.Instances
	}
	if len(rows) == 0 {
		s.prose("", plain, plain, "Nothing runs.")
		return
	}
	drawTopRows(s, rows, instances, len(r.Nodes) > 1)
}

// drawTopNodes draws how full nodes are.
func drawTopNodes(s *screen, r *topReport, most int) {
	t := table{
		titles: []string{"NODE", "CPU", "MEMORY", "ASKED CPU", "%", "ASKED MEMORY", "%", "MACHINE", "SLOTS", ""},
		spare:  []int{7, 8}, whole: []int{1, 2, 3, 4, 5, 6, 7, 8},
	}
	rows, hidden := someRows(s, r.Nodes, most)
	for _, n := range rows {
		machine := ""
		if n.MachineTotal > 0 {
			machine = fmt.Sprintf("%s of %s", bytesShort(n.MachineMemory), bytesShort(n.MachineTotal))
		}
		c := shareColour(n.Asked.CPUMillis, n.Capacity.CPUMillis)
		m := shareColour(n.Asked.MemoryBytes, n.Capacity.MemoryBytes)
		t.add("", plain, cell{string(n.Node), plain}, cell{millis(n.CPU), plain}, cell{memory(n.Memory), plain},
			cell{amountOf(n.Asked.CPUMillis, n.Capacity.CPUMillis, cpuShort), c}, cell{shareOf(s, n.Asked.CPUMillis, n.Capacity.CPUMillis), c},
			cell{amountOf(n.Asked.MemoryBytes, n.Capacity.MemoryBytes, bytesShort), m}, cell{shareOf(s, n.Asked.MemoryBytes, n.Capacity.MemoryBytes), m},
			cell{machine, plain}, cell{strconv.Itoa(n.Slots), plain})
	}
	t.draw(s)
	drawHidden(s, hidden)
}

// drawTopRows draws services or instances.
func drawTopRows(s *screen, rows []topRow, instances, where bool) {
	first := "SERVICE"
	if instances {
		first = "INSTANCE"
	}
	t := table{
		titles: []string{first, "CPU", "ASKED CPU", "CPU LIMIT", "MEMORY", "ASKED MEM", "MEM LIMIT", "PIDS", "RESTARTS", "SLOTS", "NODE", "NOTE"},
		spare:  []int{3, 2, 9, 7, 10, 8, 5, 6},
		whole:  []int{1, 2, 3, 4, 5, 6, 7, 8, 9},
	}
	shown, hidden := someRows(s, rows, maxTopRows)
	for _, row := range shown {
		name, slots, node := row.Service, strconv.Itoa(row.Slots), ""
		if instances {
			name, slots = row.Instance, ""
			if where {
				node = string(row.Node)
			}
		}
		note, c := row.Note, yellow
		limit := row.Limits.MemoryBytes
		if row.Memory != nil && limit > 0 && terminal.Share(*row.Memory, limit) >= nearLimit {
			note, c = fmt.Sprintf("uses %d %% of the memory it may use: above that it is killed", terminal.Percent(*row.Memory, limit)), red
		}
		restarts := cell{strconv.Itoa(row.Restarts), plain}
		if row.Restarts > 0 {
			restarts.colour = yellow
		}
		t.add(note, c, cell{name, plain},
			cell{millis(row.CPU), plain}, cell{cpuShort(row.Asked.CPUMillis), dim}, cell{cpuShort(row.Limits.CPUMillis), dim},
			cell{memory(row.Memory), plain}, cell{bytesShort(row.Asked.MemoryBytes), dim}, cell{limitOf(s, row.Memory, limit), dim},
			cell{counted(row.PIDs), plain}, restarts, cell{slots, plain}, cell{node, plain})
	}
	t.draw(s)
	drawHidden(s, hidden)
}

// someRows leaves the first of the rows, unless all were asked for.
func someRows(s *screen, rows []topRow, most int) (shown []topRow, hidden int) {
	if s.all || len(rows) <= most {
		return rows, 0
	}
	return rows[:most], len(rows) - most
}

func drawHidden(s *screen, n int) {
	if n > 0 {
		s.prose("", plain, dim, fmt.Sprintf("and %d more: --all lists them, --sort says which come first", n))
	}
}

// amountOf is an amount, and of what.
func amountOf(n, all int64, text func(int64) string) string {
	if all <= 0 {
		return zero(text(n))
	}
	return zero(text(n)) + " of " + text(all)
}

// shareOf is how much of all an amount is; "" = all is not known.
func shareOf(s *screen, n, all int64) string {
	if all <= 0 {
		return ""
	}
	share := fmt.Sprintf("%3d", terminal.Percent(n, all))
	if s.width >= barRoom {
		share += " " + terminal.Bar(n, all, barColumns)
	}
	return share
}

// limitOf is a limit, with a bar of how much of it is used.
func limitOf(s *screen, used *int64, limit int64) string {
	text := bytesShort(limit)
	if used != nil && limit > 0 && s.width >= barRoom {
		text += " " + terminal.Bar(*used, limit, barColumns)
	}
	return text
}

func zero(text string) string {
	if text == "" {
		return "0"
	}
	return text
}

func shareColour(n, all int64) colour {
	if all > 0 && terminal.Share(n, all) >= nearFull {
		return yellow
	}
	return plain
}

// millis is CPU that was measured; "" = it was not.
func millis(n *int64) string {
	if n == nil {
		return ""
	}
	return zero(cpuShort(*n))
}

func memory(n *int64) string {
	if n == nil {
		return ""
	}
	return zero(bytesShort(*n))
}

func counted(n *int64) string {
	if n == nil {
		return ""
	}
	return strconv.FormatInt(*n, 10)
}

// cpuShort is CPU as manifests write it: 250m, 2, 1.5; "" = none.
func cpuShort(n int64) string {
	switch {
	case n <= 0:
		return ""
	case n < 1000:
		return strconv.FormatInt(n, 10) + "m"
	}
	return strconv.FormatFloat(float64(n)/1000, 'f', -1, 64)
}

// bytesShort is an amount of bytes with three digits or so, as manifests write it;
// "" = none.
func bytesShort(n int64) string {
	if n <= 0 {
		return ""
	}
	amount, unit := float64(n), 0
	units := []string{"B", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"}
	for amount >= 1024 && unit < len(units)-1 {
		amount, unit = amount/1024, unit+1
	}
	if amount < 10 && unit > 0 {
		return strings.TrimSuffix(strconv.FormatFloat(amount, 'f', 1, 64), ".0") + units[unit]
	}
	return strconv.FormatFloat(amount, 'f', 0, 64) + units[unit]
}
