package planner

import (
	"fmt"
	"testing"
)

// BenchmarkForesee is what a forecast costs for 1,000 services of three slots on
// 50 nodes, of which a commit changes some.
func BenchmarkForesee(b *testing.B) {
	for _, changes := range []int{0, 1, 20, 300, 1000} {
		b.Run(fmt.Sprint(changes), func(b *testing.B) {
			f, v := restingOn(50)
			f.Commit = Commit{Hash: hash("next")}
			n := 0
			for _, id := range v.documents()[:changes] {
				s := f.Services[id]
				s.Template = asking(plain("next"))
				s.Revision = RevisionOf(s.Template)
				f.Services[id] = s
				n++
			}
			b.ReportAllocs()
			for b.Loop() {
				out := Foresee(f, v)
				if out.Cut || len(out.Unplaced) > 0 || len(out.Decisions) < 3*n {
					b.Fatalf("%d decisions, %v", len(out.Decisions), out.Waiting)
				}
			}
		})
	}
}
