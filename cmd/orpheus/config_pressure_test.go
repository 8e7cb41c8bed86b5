//go:build linux

package main

import (
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

func TestPressureMarks(t *testing.T) {
	defaults := planner.DefaultPressureLimits()
	for _, row := range []struct {
		what   string
		given  pressureConfig
		want   planner.Marks // of the disk
		faults []string
	}{
		{"nothing is given", pressureConfig{}, defaults[planner.ResourceDisk], nil},
		{"shares of what is used", pressureConfig{Disk: storeMarks{"70%", "60%", "90%"}},
			planner.Marks{CollectAt: planner.Mark{Used: 70}, CollectTo: planner.Mark{Used: 60}, RefuseAt: planner.Mark{Used: 90}}, nil},
		{"amounts that are left", pressureConfig{Disk: storeMarks{"20Gi", "30Gi", "5Gi"}},
			planner.Marks{CollectAt: planner.Mark{Free: 20 << 30}, CollectTo: planner.Mark{Free: 30 << 30}, RefuseAt: planner.Mark{Free: 5 << 30}}, nil},
		{"never", pressureConfig{Disk: storeMarks{CollectAt: "none", RefuseAt: "none"}},
			planner.Marks{CollectTo: planner.Mark{Used: 80}}, nil},
		{"neither share nor amount", pressureConfig{Disk: storeMarks{RefuseAt: "much"}, Memory: marks{"0"}, PIDs: marks{"101%"}}, planner.Marks{},
			[]string{"pressure.disk.refuseAt", "pressure.memory.refuseAt", "pressure.pids.refuseAt"}},
		{"collecting would never end", pressureConfig{Disk: storeMarks{CollectTo: "85%"}}, planner.Marks{}, []string{"collectTo must leave more free"}},
		{"share and amount", pressureConfig{Inodes: storeMarks{CollectAt: "10k"}}, planner.Marks{}, []string{"pressure.inodes: collectAt and collectTo"}},
		{"work is refused before there is an attempt to make room", pressureConfig{Disk: storeMarks{RefuseAt: "84%"}}, planner.Marks{},
			[]string{"pressure.disk: refuseAt must not come before"}},
	} {
		limits, faults := row.given.limits()
		if len(faults) == 0 && limits[planner.ResourceDisk] != row.want {
			t.Errorf("%s: %+v, not %+v", row.what, limits[planner.ResourceDisk], row.want)
		}
		if len(faults) != len(row.faults) {
			t.Errorf("%s: faults %v", row.what, faults)
			continue
		}
		for k, part := range row.faults {
			if !strings.Contains(faults[k].Error(), part) {
				t.Errorf("%s: %q does not say %q", row.what, faults[k], part)
			}
		}
	}
}
