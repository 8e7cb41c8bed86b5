package manifest

import (
	"reflect"
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
		{`update: {steps: [{slots: 1}, {slots: 50%, pause: 1h30m, approve: true}, {slots: 100%, approve: false}]}`, steps(
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
		"a.yaml":     patchOf("a", `{image: "w:1", dependsOn: ["${other}"], update: {maxSurge: "${surge}", maxUnavailable: "${share}", promoted: "${rev}", steps: [{slots: "${share}", pause: "${rest}", approve: "${go}"}]}, hooks: {preRollout: {command: ["${other}"]}}}`),
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
