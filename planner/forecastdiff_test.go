package planner

import (
	"strings"
	"testing"
)

// TestCompare: a rollout of two slots on two nodes, and what came instead. Values
// of the document are separated by bars, the first is as it was before.
func TestCompare(t *testing.T) {
	const before = "0:a1@n1 1:a2@n2"
	planned := before + " | 0:a1@n1 0:b3@n1 1:a2@n2 | 0:b3@n1 1:a2@n2 1:b4@n2 | 0:b3@n1 1:b4@n2"
	tests := []struct {
		name, came string
		superseded bool
		state      OutcomeState
		done       int
		differs    string
	}{
		{"as planned", planned, false, OutcomeMet, 4, ""},
		// Tokens are nobody's promise, nor is it what goes into one write.
		{"other tokens", before + " | 0:a1@n1 0:b7@n1 1:a2@n2 | 0:b7@n1 1:a2@n2 1:b9@n2 | 0:b7@n1 1:b9@n2", false, OutcomeMet, 4, ""},
		{"one by one", before + " | 0:a1@n1 0:b3@n1 1:a2@n2 | 0:b3@n1 1:a2@n2 | 0:b3@n1 1:a2@n2 1:b4@n2 | 0:b3@n1 1:b4@n2", false, OutcomeMet, 4, ""},
		{"all at once", before + " | 0:b3@n1 1:b4@n2", false, OutcomeMet, 4, ""},
		{"nothing yet", before, false, OutcomeUnderWay, 0, ""},
		{"half", before + " | 0:a1@n1 0:b3@n1 1:a2@n2 | 0:b3@n1 1:a2@n2", false, OutcomeUnderWay, 2, ""},
		{"half, then another commit", before + " | 0:a1@n1 0:b3@n1 1:a2@n2 | 0:b3@n1 1:a2@n2", true, OutcomeSuperseded, 2, ""},
		{"all, then another commit", planned, true, OutcomeMet, 4, ""},
		{"the other slot first", before + " | 0:a1@n1 1:a2@n2 1:b3@n2 | 0:a1@n1 0:b4@n1 1:b3@n2 | 0:b4@n1 1:b3@n2", false, OutcomeDiffers, 4,
			"web-0 had its turn after web-1 had its turn, which was to come later"},
		{"another node", before + " | 0:a1@n1 0:b3@n2 1:a2@n2 | 0:b3@n2 1:a2@n2 1:b4@n2 | 0:b3@n2 1:b4@n2", false, OutcomeDiffers, 3,
			"web-0 was to be given to n1 at B, and was given to n2 at B"},
		{"another revision", before + " | 0:a1@n1 0:c3@n1 1:a2@n2", false, OutcomeDiffers, 0, "web-0 was to be given to n1 at B, and was given to n1 at C"},
		{"one slot more", planned + " | 0:b3@n1 1:b4@n2 2:b5@n2", false, OutcomeDiffers, 4, "web-2 was given to n2 at B, which was not planned"},
		{"given again", planned + " | 0:b5@n1 1:b4@n2", false, OutcomeDiffers, 4,
			"web-0 was given to n1 at B, which was not planned; web-0 ended on n1 at B, which was not planned"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var f Forecast
			for i, doc := range documentsOf(t, planned) {
				if i > 0 {
					f.Decisions = append(f.Decisions, Foreseen{Decision: Decision{Doc: doc, Old: documentsOf(t, planned)[i-1]}, Turn: i})
				}
			}
			got := f.Compare(map[ServiceID]Came{web: {Docs: documentsOf(t, tt.came), Superseded: tt.superseded}})
			said := strings.NewReplacer("B", RevisionOf(revs["b"]).Short(), "C", RevisionOf(revs["c"]).Short()).Replace(tt.differs)
			if len(got) != 1 || got[0].State != tt.state || got[0].Planned != 4 || got[0].Done != tt.done || strings.Join(got[0].Differs, "; ") != said {
				t.Errorf("%+v", got)
			}
		})
	}
}

func documentsOf(t *testing.T, text string) (docs []LeaseDoc) {
	for value := range strings.SplitSeq(text, "|") {
		docs = append(docs, parseFleetLeases(t, value, parseNodes(t, "n1 n2", map[NodeName]NodeSpec{})))
	}
	return docs
}

// TestCompareSteps: steps have their place between the turns of slots, a person who
// approves ends what is compared, and a revision that is blocked was not planned.
func TestCompareSteps(t *testing.T) {
	docs := documentsOf(t, "0:a1@n1 1:a2@n2 | 0:a1@n1 0:b3@n1 1:a2@n2 | 0:b3@n1 1:a2@n2 | 0:b3@n1 1:a2@n2 1:b4@n2")
	docs[2].Step, docs[3].Step = 1, 1
	f := Forecast{}
	for i := 1; i < len(docs); i++ {
		f.Decisions = append(f.Decisions, Foreseen{Decision: Decision{Doc: docs[i], Old: docs[i-1]}, Turn: i})
	}
	compare := func(docs ...LeaseDoc) Outcome { return f.Compare(map[ServiceID]Came{web: {Docs: docs}})[0] }
	if got := compare(docs...); got.State != OutcomeMet || got.Approval {
		t.Errorf("%+v", got)
	}
	early := docs[3]
	early.Step = 0
	if got := compare(docs[0], docs[1], early, docs[3]); got.State != OutcomeDiffers || !strings.Contains(got.Differs[0], "step 1 was done after web-1 had its turn") {
		t.Errorf("%+v", got)
	}
	blocked := docs[2]
	blocked.Blocked, blocked.BlockedWhy = []Revision{RevisionOf(revs["b"])}, "web-0 on n1: exited\x1b[31m"
	if got := compare(docs[0], docs[1], blocked); got.State != OutcomeDiffers || !strings.Contains(got.Differs[0], "is blocked: web-0 on n1: exited") || strings.Contains(got.Differs[0], "\x1b") {
		t.Errorf("%+v", got)
	}
	f.Decisions[2].Approved = true
	if got := compare(docs[:3]...); got.State != OutcomeMet || !got.Approval {
		t.Errorf("%+v", got)
	}
	if got := (Forecast{}).Compare(map[ServiceID]Came{web: {Docs: docs[:1]}}); len(got) != 0 {
		t.Errorf("nothing was planned and nothing came: %+v", got)
	}
}
