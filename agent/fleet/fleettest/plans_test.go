package fleettest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

const race = "race"

// commits are made one after the other on one fleet of three nodes.
var commits = []struct {
	name     string
	commands []string
	// want is what is planned of leases, by service; "" = it need not be said, and
	// race = nodes have no room for all that changes at once, and the plan says so.
	want string
}{
	{"a new service", []string{"service web replicas=3"}, "web 3"},
	{"nothing", nil, ""},
	{"a new image", []string{"release web 2"}, "web 6"},
	{"more slots", []string{"service web replicas=5 version=2"}, "web 2"},
	{"fewer slots", []string{"service web replicas=2 version=2"}, "web 3"},
	{"a revert", []string{"release web 1"}, "web 4"},
	{"one that keeps data", []string{"service db kind=volumed replicas=2"}, "db 2"},
	{"a release of it, stop-first", []string{"release db 2"}, "db 4"},
	{"one on every node", []string{"service each kind=everynode"}, "each 3"},
	{"a release of it", []string{"release each 2"}, "each 6"},
	{"several at once", []string{"release web 3", "release each 3", "service api replicas=4 after=web"}, "api 4, each 6, web 4"},
	{"a drain", []string{"drain n2"}, ""},
	{"and back", []string{"undrain n2"}, ""},
	{"wider", []string{"service api replicas=9 version=1 surge=3"}, "api 5"},
	{"wide release", []string{"service api replicas=9 version=2 surge=3"}, "api 18"},
	{"half may be away", []string{"service api replicas=9 version=3 surge=0 unavailable=50%"}, "api 18"},
	{"stop-first by order", []string{"service api replicas=4 version=4 order=stopFirst"}, "api 13"},
	{"steps with pauses", []string{"service api replicas=4 version=5 steps=1:10s,50%:20s"}, "api 8"},
	{"steps that wait for a person", []string{"service api replicas=4 version=6 steps=1:approve,3:5s"}, "api 2"},
	{"who lets them go on", []string{"promote api"}, "api 6"},
	{"hooks", []string{"service job replicas=2 pre=1 post=1"}, "job 6"},
	{"hooks again", []string{"service job replicas=2 version=2 pre=1 post=1"}, "job 8"},
	{"labels", []string{"label n1 zone=a", "label n2 zone=b", "label n3 zone=b"}, ""},
	{"a selector", []string{"service job replicas=2 version=2 pre=1 post=1 on=zone:b"}, ""},
	{"another selector", []string{"service job replicas=2 version=2 pre=1 post=1 on=zone:a"}, "job 4"},
	{"spread", []string{"service far replicas=4 spread=zone"}, "far 4"},
	{"what does not fit", []string{"service big replicas=4 cpu=2500"}, "big 3"},
	{"what fits again", []string{"service big replicas=2 cpu=1500"}, "big 5"},
	{"a deletion", []string{"delete far"}, "far 4"},
	{"a rename", []string{"delete big", "service large replicas=2 cpu=1500"}, "big 2, large 2"},
	{"a deletion with data, which waits", []string{"delete db"}, ""},
	{"a cordon and more slots", []string{"cordon n3", "service web replicas=6 version=3"}, "web 4"},
	{"a taint", []string{"delete each", "taint n1 gone"}, ""},
	{"all good again", []string{"undrain n1", "undrain n3"}, ""},
	{"to nothing", []string{"service web replicas=0 version=3"}, "web 6"},
	{"and back at another version", []string{"service web replicas=3 version=4"}, "web 3"},
	{"minReadySeconds", []string{"service web replicas=3 version=5 minready=15s"}, "web 6"},
	{"a chain", []string{"release web 6", "service mid replicas=2 after=web", "service end replicas=2 after=mid"}, "end 2, mid 2, web 6"},
	{"a chain that changes", []string{"release web 7", "service mid replicas=2 version=2 after=web", "service end replicas=2 version=2 after=mid"}, "end 4, mid 4, web 6"},
	{"one writer on its node's network", []string{"service host kind=single replicas=3"}, "host 3"},
	{"a release of it and a drain", []string{"service host kind=single replicas=3 version=2", "drain n1"}, ""},
	{"back, and another node drained", []string{"undrain n1", "drain n3"}, race},
	{"everything anew while a node drains", []string{"undrain n3", "drain n2", "release web 8", "release api 7", "release mid 3", "release end 3", "release host 3", "release large 2"}, race},
	{"all nodes back, many new ones", []string{"undrain n2", "many 12"}, race},
	{"room for one goes to another", []string{"delete large", "service tall replicas=3 cpu=2000"}, ""},
	{"everything anew", []string{"release web 9", "release api 8", "release mid 4", "release end 4", "release host 4", "release tall 2", "release job 3"}, race},
	{"a release and a selector", []string{"label n1 zone=a", "label n2 zone=b", "service tall replicas=2 cpu=1000 version=3 on=zone:b"}, ""},
}

// TestPlansComeTrue: what a forecast says of a commit is what then happens, for
// many commits on one fleet, under different timing.
func TestPlansComeTrue(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			p, err := NewPlans(seed+1, 3)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range commits {
				forecast, outcomes, err := p.Commit(c.name, c.commands)
				if err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
				var counts []string
				for _, o := range outcomes {
					counts = append(counts, fmt.Sprint(o.Service, " ", o.Planned))
					if open := c.want == race && o.State == planner.OutcomeOpen; o.State != planner.OutcomeMet && !open {
						t.Errorf("%s: %s %s (%d of %d): %v", c.name, o.Service, o.State, o.Done, o.Planned, o.Differs)
					}
				}
				if got := strings.Join(counts, ", "); c.want != "" && c.want != race && got != c.want || forecast.Cut {
					t.Errorf("%s: %s leases planned, want %s; waits: %v", c.name, got, c.want, forecast.Waiting)
				}
			}
		})
	}
}
