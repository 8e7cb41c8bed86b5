package notify

import (
	"fmt"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

func TestJudge(t *testing.T) {
	for name, row := range map[string]struct {
		facts Facts
		want  Verdict
	}{
		"all done":    {facts(commitA, service("db", rev1, Done), web(rev1, Done)), Verdict{Success, "2 services rolled out"}},
		"one service": {facts(commitA, web(rev1, Done)), Verdict{Success, "1 service rolled out"}},
		"nothing":     {facts(commitA), Verdict{Success, "0 services rolled out"}},
		"some done":   {facts(commitA, service("db", rev1, Done), web(rev1, Rolling)), Verdict{Pending, "1 of 2 services rolled out"}},
		"one waits": {facts(commitA, service("db", rev1, Paused), web(rev1, Rolling)),
			Verdict{Pending, "0 of 2 services rolled out; waiting for approval: db"}},
		"a deletion waits": {facts(commitA, web(rev1, Done), func(f *Facts) { f.Waits = "db runs on until Prune-Approved: aaaa" }),
			Verdict{Pending, "db runs on until Prune-Approved: aaaa"}},
		// Whatever else is on its way.
		"blocked":   {facts(commitA, service("db", rev1, Rolling), web(rev2, Blocked, because("never ready"))), Verdict{Failure, "web is blocked: never ready"}},
		"returning": {facts(commitA, web(rev2, Blocked, because("never ready"), back(rev1))), Verdict{Failure, "web is blocked, returns to " + rev1.Short() + ": never ready"}},
		"reverted": {facts(commitA, service("db", rev2, Blocked), web(rev2, Reverted, because("never ready"), back(rev1)), service("api", rev2, Blocked)),
			Verdict{Failure, "db is blocked (and 2 more): "}},
		"reverted alone": {facts(commitA, web(rev2, Reverted, because("never ready"), back(rev1))), Verdict{Failure, "web is blocked, reverted to " + rev1.Short() + ": never ready"}},
		// The commit is asked about, not the alphabet.
		"the one that the commit changed": {facts(commitB, service("db", rev2, Blocked, because("no disk"), from(commitA)), service("queue", rev1, Rolling, failing("queue-0 on n1: exits")),
			web(rev2, Reverted, because("never ready"), back(rev1), from(commitB)), service("wiki", rev2, Blocked, from(commitB))),
			Verdict{Failure, "web is blocked, reverted to " + rev1.Short() + " (and 3 more): never ready"}},
		// There is nothing to go back to, and somebody has to know it.
		"a first release": {facts(commitA, web(rev1, Done), service("db", rev1, Rolling, failing("db-0 on n2: did not become ready within 12s"))),
			Verdict{Failure, "db fails, is tried further: db-0 on n2: did not become ready within 12s"}},
		"before any slot has it": {facts(commitA, service("db", rev1, Waiting, failing("db-0 on n2: it kept failing there"))),
			Verdict{Failure, "db fails, is tried further: db-0 on n2: it kept failing there"}},
		"faults": {facts(commitA, faulty("web.yaml:3: spec: no image", "b"), func(f *Facts) { f.FaultCount = 5 }), Verdict{Failure, "manifest faults: web.yaml:3: spec: no image; b (and 3 more)"}},
	} {
		if got := judge(row.facts); got != row.want {
			t.Errorf("%s: %+v, want %+v", name, got, row.want)
		}
	}
}

// TestFollow: which commits have which status as commits come.
func TestFollow(t *testing.T) {
	for name, row := range map[string]struct {
		facts []Facts
		want  []string
	}{
		"one": {[]Facts{facts(commitA, web(rev1, Rolling))}, []string{"aaaaaaaa pending: 0 of 1 service rolled out"}},
		"one that ended before the next came": {[]Facts{facts(commitA, web(rev1, Done)), facts(commitB, web(rev2, Rolling))},
			[]string{"aaaaaaaa success: 1 service rolled out", "bbbbbbbb pending: 0 of 1 service rolled out"}},
		"one that did not": {[]Facts{facts(commitA, web(rev1, Rolling)), facts(commitB, web(rev2, Rolling))},
			[]string{"aaaaaaaa success: superseded by bbbbbbbb", "bbbbbbbb pending: 0 of 1 service rolled out"}},
		"the first that came after it is named": {[]Facts{facts(commitA, web(rev1, Rolling)), facts(commitB, web(rev2, Rolling)), facts(commitC, web(rev2, Rolling))},
			[]string{"aaaaaaaa success: superseded by bbbbbbbb", "bbbbbbbb success: superseded by cccccccc", "cccccccc pending: 0 of 1 service rolled out"}},
		"one that failed has failed": {[]Facts{facts(commitA, web(rev1, Blocked, because("never ready"))), facts(commitB, web(rev2, Done))},
			[]string{"aaaaaaaa failure: web is blocked: never ready", "bbbbbbbb success: 1 service rolled out"}},
		"a first release that comes through after all": {[]Facts{facts(commitA, web(rev1, Rolling, failing("exits"))), facts(commitA, web(rev1, Rolling)), facts(commitA, web(rev1, Done))},
			[]string{"aaaaaaaa success: 1 service rolled out"}},
		"one that does not": {[]Facts{facts(commitA, web(rev1, Rolling, failing("exits"))), facts(commitB, web(rev2, Done))},
			[]string{"aaaaaaaa failure: web fails, is tried further: exits", "bbbbbbbb success: 1 service rolled out"}},
		"one that was rolled out stays so": {[]Facts{facts(commitA, web(rev1, Done)), facts(commitA, web(rev1, Rolling))},
			[]string{"aaaaaaaa success: 1 service rolled out"}},
		"one that is refused": {[]Facts{facts(commitA, web(rev1, Done)), refused(facts(commitA, web(rev1, Done)), commitB, "no fleet.yaml")},
			[]string{"bbbbbbbb failure: refused: no fleet.yaml", "aaaaaaaa success: 1 service rolled out"}},
		"the first of all": {[]Facts{facts(""), refused(facts(""), commitA, "no fleet.yaml")}, []string{"aaaaaaaa failure: refused: no fleet.yaml"}},
		"and then taken after all": {[]Facts{refused(facts(commitA, web(rev1, Done)), commitB, "rewritten"), facts(commitB, web(rev1, Done))},
			[]string{"aaaaaaaa success: 1 service rolled out", "bbbbbbbb success: 1 service rolled out"}},
		"back to one that was superseded": {[]Facts{facts(commitA, web(rev1, Rolling)), facts(commitB, web(rev2, Done)), facts(commitA, web(rev1, Rolling))},
			[]string{"bbbbbbbb success: 1 service rolled out", "aaaaaaaa pending: 0 of 1 service rolled out"}},
		"nothing while nothing can be read": {[]Facts{facts(commitA, web(rev1, Done)), stale(facts(commitB, web(rev2, Done)))},
			[]string{"aaaaaaaa success: 1 service rolled out"}},
	} {
		var entries []entry
		for _, f := range row.facts {
			entries = follow(entries, f)
		}
		var got []string
		for _, e := range entries {
			got = append(got, fmt.Sprintf("%s %s: %s", planner.Commit{Hash: e.Commit}.Short(), e.Want.State, e.Want.Text))
		}
		if fmt.Sprint(got) != fmt.Sprint(row.want) {
			t.Errorf("%s: %q, want %q", name, got, row.want)
		}
	}
	var entries []entry
	for k := range 100 {
		entries = follow(entries, facts(fmt.Sprintf("%040d", k)))
	}
	if len(entries) != maxEntries || entries[maxEntries-1].Commit != fmt.Sprintf("%040d", 99) {
		t.Errorf("%d entries are kept", len(entries))
	}
}
