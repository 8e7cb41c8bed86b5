package planner

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCollectable(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 11, 22, 3, minute, 0, 0, time.UTC) }
	ran := func(digests ...string) []RanRevision { // newest first, a minute between them
		var out []RanRevision
		for k, d := range digests {
			out = append(out, RanRevision{Revision: Revision(fmt.Sprint("r", k)), Images: map[string]string{"app": d}, Used: at(30 - k)})
		}
		return out
	}
	web, old := ServiceID{Name: "web"}, ServiceID{Name: "old"}
	here := func(r []RanRevision) map[ServiceID][]RanRevision { return map[ServiceID][]RanRevision{web: r} }
	images := func(digests string) (out []StoredImage) {
		for k, d := range strings.Fields(digests) {
			d, used := strings.CutSuffix(d, "*")
			out = append(out, StoredImage{Name: "app@" + d, Digest: d, Used: at(k), InUse: used})
		}
		return out
	}
	for _, row := range []struct {
		name   string
		images string // in the order in which they were fetched; * = in use
		need   Need
		want   string
	}{
		{"nobody needs any", "a b c", Need{}, "a b c"},
		{"what is in use stays, whatever else is known", "a* b", Need{}, "b"},
		{"what is in force stays", "a b", Need{Now: map[string]bool{"a": true}}, "b"},
		{"the last five stay", "a b c d e f g", Need{Here: here(ran("g", "f", "e", "d", "c", "b", "a"))}, "a b"},
		{"five with images of their own", "a b c d e f", Need{Here: here(ran("f", "f", "e", "e", "d", "c", "b", "a"))}, "a"},
		{"an older one of the same image as a newer", "a b", Need{Here: here(ran("b", "b", "b", "b", "b", "b", "a"))}, ""},
		{"longest unused first, not longest fetched", "a b c d e f g h", Need{Here: here(ran("h", "g", "f", "e", "d", "a", "b"))}, "c b a"},
		{"those of services that are gone go last", "a b c", Need{Gone: map[ServiceID][]RanRevision{old: {{Images: map[string]string{"x": "a"}}}}}, "b c a"},
		{"one that also a service has that is here stays", "a", Need{Here: here(ran("a")), Gone: map[ServiceID][]RanRevision{old: ran("a")}}, ""},
		{"one without a digest is none we know", "", Need{}, ""},
	} {
		var got []string
		for _, i := range Collectable(images(row.images), row.need) {
			got = append(got, i.Digest)
		}
		if text := strings.Join(got, " "); text != row.want {
			t.Errorf("%s: %q, not %q", row.name, text, row.want)
		}
	}
	if got := Collectable([]StoredImage{{Name: "?"}}, Need{}); len(got) > 0 {
		t.Errorf("an image without a digest may go: %v", got)
	}
}

// TestCollectableSparesWhatIsNeeded: whatever is listed, what runs, what is in
// force and the last five revisions of each service stay; all else goes, and
// the order does not depend on that of the listing.
func TestCollectableSparesWhatIsNeeded(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 4))
		digest := func() string { return fmt.Sprintf("sha256:%02d", r.IntN(40)) }
		need := Need{Now: map[string]bool{}, Here: map[ServiceID][]RanRevision{}, Gone: map[ServiceID][]RanRevision{}}
		spared := map[string]bool{}
		for range r.IntN(4) {
			d := digest()
			need.Now[d], spared[d] = true, true
		}
		for s := range r.IntN(5) {
			var ran []RanRevision
			for k := range r.IntN(12) {
				rev := RanRevision{Revision: Revision(fmt.Sprint(k)), Images: map[string]string{}, Used: time.Unix(int64(r.IntN(1000)), 0)}
				for c := range r.IntN(3) {
					rev.Images[fmt.Sprint(c)] = digest()
				}
				ran = append(ran, rev)
			}
			id := ServiceID{Name: fmt.Sprint(s)}
			if r.IntN(3) == 0 {
				need.Gone[id] = ran
				continue
			}
			need.Here[id] = ran
			for _, rev := range ran[:min(len(ran), KeptRevisions)] {
				for _, d := range rev.Images {
					spared[d] = true
				}
			}
		}
		var images []StoredImage
		for k := range r.IntN(30) {
			images = append(images, StoredImage{Name: fmt.Sprint("image", k), Digest: digest(), Used: time.Unix(int64(r.IntN(1000)), 0), InUse: r.IntN(5) == 0})
		}
		got := Collectable(images, need)
		for _, i := range got {
			if i.InUse || spared[i.Digest] {
				t.Fatalf("seed %d: %+v may go although it is needed", seed, i)
			}
		}
		r.Shuffle(len(images), func(a, b int) { images[a], images[b] = images[b], images[a] })
		if again := Collectable(images, need); !slices.Equal(got, again) {
			t.Fatalf("seed %d: the order of the listing shows:\n%v\n%v", seed, got, again)
		}
	}
}
