package planner

import "testing"

// TestFewerSlots: what is available of slots that a service does not have any more
// ends once one that it has is available.
func TestFewerSlots(t *testing.T) {
	tests := []struct {
		name string
		rolloutCase
		after string // "=" = nothing is decided
	}{
		{"fewer slots", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "a", before: "0:a1@n1+ 1:a2@n1+"}}, "0:a1@n1"},
		{"fewer slots, those that stay are down", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 1, target: "a", before: "0:a1@n1 1:a2@n1+ 2:a3@n1"}}, "0:a1@n1 1:a2@n1"},
		{"fewer slots, single writers", rolloutCase{fleetCase: fleetCase{nodes: "n1 n2", replicas: 1, target: "H", before: "0:H1@n1 1:H2@n2+"}}, "0:H1@n1"},
		{"no slots", rolloutCase{fleetCase: fleetCase{nodes: "n1", replicas: 0, target: "a", before: "0:a1@n1+ 1:a2@n1+"}}, ""},
		{"other nodes", rolloutCase{fleetCase: fleetCase{nodes: "n1:zone=a n2:zone=b", each: true, target: "a", before: "n1:a1@n1+"}, change: func(s *Service, _ *DocView, _ *View) {
			s.NodeSelector = map[string]string{"zone": "b"}
		}}, "n1:a1@n1 n2:a2@n2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, v := tt.build(t)
			got := settled(t, f, v)
			if got == nil != (tt.after == "=") || got != nil && showFleetLeases(got.Leases) != tt.after {
				t.Errorf("%v, want %q", got, tt.after)
			}
		})
	}
}

// TestMadeAgain: a service that was deleted begins anew when it is made again:
// what was blocked of it is tried.
func TestMadeAgain(t *testing.T) {
	for _, before := range []string{"0:a1@n1+", ""} {
		s := service(web, 1, plainB)
		f, v := fleetCase{nodes: "n1", before: "-" + before}.build(t)
		d := v.Docs[web]
		d.Doc.Format, d.Doc.Service, d.Doc.Tokens = FormatLeases, web, 2
		d.Doc.Blocked, d.Doc.BlockedWhy, d.Doc.BlockedAt, d.Doc.BlockedManifest = []Revision{s.Revision}, "it failed", hash("b"), s.Fingerprint()
		d.Doc.LastGood, d.Doc.Step = RevisionOf(plainA), 1
		d.Doc.Hooks = []HookRun{{Kind: HookPreRollout, Revision: s.Revision, Token: 2, Failed: "exited with code 1"}}
		v.Docs[web] = d
		got := settled(t, f, v)
		if got == nil || len(got.Blocked)+len(got.Leases)+len(got.Hooks) > 0 || got.BlockedWhy+got.BlockedAt+got.BlockedManifest+string(got.LastGood) != "" {
			t.Errorf("before %q, deleted: %+v", before, got)
		}
		f.Services[web], f.Gone = s, nil
		if again := settled(t, f, v); again == nil || showFleetLeases(again.Leases) != "0:b3@n1" {
			t.Errorf("before %q, made again: %+v", before, again)
		}

		alone := Alone{Node: here, Docs: map[ServiceID]LeaseDoc{web: d.Doc}, Specs: v.Specs, Prepared: map[RevisionKey]bool{{web, s.Revision}: true}}
		gone := CoordinateAlone(Followed{Commit: Commit{Hash: hash("c")}}, alone)
		if len(gone.Docs) != 1 || len(gone.Docs[0].Blocked)+len(gone.Docs[0].Leases) > 0 {
			t.Fatalf("before %q, deleted on a node alone: %+v", before, gone.Docs)
		}
		alone.Docs[web] = gone.Docs[0]
		made := CoordinateAlone(Followed{Commit: Commit{Hash: hash("d")}, Services: map[ServiceID]Service{web: s}}, alone)
		if len(made.Docs) != 1 || showLeases(made.Docs[0].Leases) != "0:b3" {
			t.Errorf("before %q, made again on a node alone: %+v", before, made.Docs)
		}
	}
}
