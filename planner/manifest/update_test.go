package manifest

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

func slots(n int) *planner.Amount                  { return &planner.Amount{Count: n} }
func percent(n int) *planner.Amount                { return &planner.Amount{Count: n, Percent: true} }
func steps(s ...planner.UpdateStep) planner.Update { return planner.Update{Steps: s} }

// What is written is what the planner gets; a default that is written down is
// as good as none.
func TestUpdate(t *testing.T) {
	const volume = `volumes: [{name: a, local: {}}], volumeMounts: [{name: a, mountPath: /a}], `
	rows := []struct {
		spec string
		want planner.Update
	}{
		{`replicas: 1`, planner.Update{}},
		{`update: {}`, planner.Update{}},
		{`update: {order: startFirst, maxSurge: 1, maxUnavailable: 0, steps: [], autoRevert: true}`, planner.Update{}},
		{`update: {maxUnavailable: 0%}`, planner.Update{}},
		{`update: {order: stopFirst, maxSurge: 0, maxUnavailable: 1}`, planner.Update{StopFirst: true}},
		{`update: {order: stopFirst, maxUnavailable: 100%}`, planner.Update{StopFirst: true, MaxUnavailable: percent(100)}},
		{`update: {maxSurge: 25%, maxUnavailable: 25%}`, planner.Update{MaxSurge: percent(25), MaxUnavailable: percent(25)}},
		{`update: {maxSurge: "25%", maxUnavailable: 2}`, planner.Update{MaxSurge: percent(25), MaxUnavailable: slots(2)}},
		{`update: {maxSurge: 1000%}`, planner.Update{MaxSurge: percent(1000)}},
		// Kubernetes refuses both at 0, not one of them.
		{`update: {maxSurge: 0}`, planner.Update{MaxSurge: slots(0)}},
		{`update: {maxSurge: 2, maxUnavailable: 0}`, planner.Update{MaxSurge: slots(2)}},
		// Where two instances cannot run at once.
		{volume + `update: {order: stopFirst}`, planner.Update{StopFirst: true}},
		{volume + `update: {maxSurge: 0, maxUnavailable: 1}`, planner.Update{MaxSurge: slots(0), MaxUnavailable: slots(1)}},
		{volume + `update: {maxUnavailable: 10%}`, planner.Update{MaxUnavailable: percent(10)}},
		{`update: {promoted: r1-0123abcd}`, planner.Update{Promoted: "r1-0123abcd"}},
		{`update: {promoted: r1-0123abcd/20}`, planner.Update{Promoted: "r1-0123abcd/20"}},
		{`update: {promoted: r1-0893337020acf1ca4c11729774f119874b1562b023b479f58bc596e06aadcfcc}`,
			planner.Update{Promoted: "r1-0893337020acf1ca4c11729774f119874b1562b023b479f58bc596e06aadcfcc"}},
		{`update: {autoRevert: false}`, planner.Update{NoRevert: true}},
		{`replicas: 4, update: {steps: [{slots: 1}, {slots: 50%, pause: 1h30m, approve: true}, {slots: 100%, approve: false}]}`, steps(
			planner.UpdateStep{Slots: *slots(1)},
			planner.UpdateStep{Slots: *percent(50), Pause: 90 * time.Minute, Approve: true},
			planner.UpdateStep{Slots: *percent(100)})},
		{`replicas: 4, update: {steps: [{slots: 10%}, {slots: 1}, {slots: 50%}, {slots: 2}, {slots: 9}]}`, steps(
			planner.UpdateStep{Slots: *percent(10)}, planner.UpdateStep{Slots: *slots(1)}, planner.UpdateStep{Slots: *percent(50)},
			planner.UpdateStep{Slots: *slots(2)}, planner.UpdateStep{Slots: *slots(9)})},
		// How many slots there are is nobody's to say here.
		{`everyNode: true, update: {steps: [{slots: 5}, {slots: 1%}]}`, steps(planner.UpdateStep{Slots: *slots(5)}, planner.UpdateStep{Slots: *percent(1)})},
		{`replicas: 0, update: {steps: [{slots: 5}, {slots: 1%}]}`, steps(planner.UpdateStep{Slots: *slots(5)}, planner.UpdateStep{Slots: *percent(1)})},
	}
	for _, row := range rows {
		d := load(t, newTree(map[string]string{"fleet.yaml": goodFleet, "a.yaml": "apiVersion: orpheus/v1\nkind: Service\n" + body(row.spec) + "\n"}))
		got := named(t, d, "a").Update
		if len(got.Steps) == 0 {
			got.Steps = nil
		}
		if !reflect.DeepEqual(got, row.want) || len(d.Faults) > 0 {
			t.Errorf("%s: %+v\n%s", row.spec, got, lines(d.Faults))
		}
	}
}

func TestDeadlines(t *testing.T) {
	rows := []struct {
		spec               string
		minReady, deadline time.Duration
		reschedule         planner.Reschedule
	}{
		{`replicas: 1`, 0, 0, planner.Reschedule{}},
		{`minReadySeconds: 0, progressDeadlineSeconds: 600, reschedule: {failures: 5, withinSeconds: 300}`, 0, 0, planner.Reschedule{}},
		{`minReadySeconds: 599`, 599 * time.Second, 0, planner.Reschedule{}},
		{`minReadySeconds: 30, progressDeadlineSeconds: 31`, 30 * time.Second, 31 * time.Second, planner.Reschedule{}},
		{`progressDeadlineSeconds: 1`, 0, time.Second, planner.Reschedule{}},
		{`reschedule: {failures: 3}`, 0, 0, planner.Reschedule{Failures: 3}},
		{`reschedule: {withinSeconds: 60}`, 0, 0, planner.Reschedule{Within: time.Minute}},
		{`reschedule: {failures: 0}`, 0, 0, planner.Reschedule{Never: true}},
	}
	for _, row := range rows {
		s := serviceOf(t, body(row.spec))
		if s.MinReady != row.minReady || s.ProgressDeadline != row.deadline || s.Reschedule != row.reschedule {
			t.Errorf("%s: %s, %s, %+v", row.spec, s.MinReady, s.ProgressDeadline, s.Reschedule)
		}
	}
}

// Amounts and pauses may come from variables, of the types they can have.
func TestUpdateWithVariables(t *testing.T) {
	files := map[string]string{
		"fleet.yaml": fleetWith(`variables: {surge: 3, share: "25%", rest: 10m, go: true, rev: r1-0123abcd, other: db}`),
		"a.yaml":     patchOf("a", `{image: "w:1", replicas: 4, dependsOn: ["${other}"], update: {maxSurge: "${surge}", maxUnavailable: "${share}", promoted: "${rev}", steps: [{slots: "${share}", pause: "${rest}", approve: "${go}"}]}, hooks: {preRollout: {command: ["${other}"]}}}`),
		"db.yaml":    manifestOf("db", "db:1"),
	}
	d := load(t, newTree(files))
	want := planner.Update{MaxSurge: slots(3), MaxUnavailable: percent(25), Promoted: "r1-0123abcd",
		Steps: []planner.UpdateStep{{Slots: *percent(25), Pause: 10 * time.Minute, Approve: true}}}
	s := named(t, d, "a")
	if !reflect.DeepEqual(s.Update, want) || len(s.DependsOn) != 1 || s.DependsOn[0].Service.Name != "db" || s.Hooks[planner.HookPreRollout].Template.Containers[0].Command[0] != "db" || len(d.Faults) > 0 {
		t.Errorf("%+v\n%+v\n%s", s.Update, s, lines(d.Faults))
	}
}

// TestApprovalOfNothing: an approval that is asked for when every slot has the new
// revision is worth a warning. A pause there is not: what fails in it reverts.
func TestApprovalOfNothing(t *testing.T) {
	const warning = "spec.update.steps[%d].approve: holds back no slot: "
	for _, c := range []struct {
		spec string
		at   int // of the step that is warned of; -1 = none is
		want string
	}{
		{"replicas: 4, update: {steps: [{slots: 1, approve: true}, {slots: 50%, approve: true}]}", -1, ""},
		{"replicas: 4, update: {steps: [{slots: 1, approve: true}, {slots: 100%, pause: 10m}]}", -1, ""},
		{"replicas: 4, update: {steps: [{slots: 1}, {slots: 100%, approve: true}]}", 1, "100% is all slots, which have the new revision before anyone is asked; ask at a step that leaves slots"},
		{"replicas: 4, update: {steps: [{slots: 4, pause: 10m, approve: true}]}", 0, "4 is all of 4 slots"},
		{"replicas: 4, update: {steps: [{slots: 76%, approve: true}]}", 0, "76% is all of 4 slots"},
		{"update: {steps: [{slots: 1, approve: true}]}", 0, "1 is the only slot, which has the new revision before anyone is asked; remove it"},
		{"everyNode: true, update: {steps: [{slots: 5, approve: true}]}", -1, ""},
		{"everyNode: true, update: {steps: [{slots: 100%, approve: true}]}", 0, "100% is all slots"},
		{"replicas: 0, update: {steps: [{slots: 1, approve: true}]}", -1, ""},
		// It holds back the hook.
		{"replicas: 2, update: {steps: [{slots: 2, approve: true}]}, hooks: {postRollout: {command: [x]}}", -1, ""},
	} {
		d := load(t, newTree(map[string]string{"fleet.yaml": fleetOf("{}"), "web.yaml": "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: web}\nspec: {image: \"registry.example.com/web:1\", " + c.spec + "}\n"}))
		got := lines(d.Faults)
		if len(d.Services) != 1 || c.at < 0 && len(d.Faults) > 0 {
			t.Errorf("%s:\n%s", c.spec, got)
		}
		if c.at >= 0 && (len(d.Faults) != 1 || !d.Faults[0].Warning || !strings.Contains(got, fmt.Sprintf(warning, c.at)+c.want)) {
			t.Errorf("%s: no %q in\n%s", c.spec, c.want, got)
		}
	}
}
