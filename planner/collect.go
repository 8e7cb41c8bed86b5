package planner

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// KeptRevisions is how many revisions of a service a node keeps the images of,
// the newest included, so that it can go back without a registry. Revisions in a
// row of the same images count once: a restart does not push out what one may
// want back.
const KeptRevisions = 5

// StoredImage is an image on a node, as far as it matters who needs it.
type StoredImage struct {
	Name   string // by which its driver removes it
	Digest string
	// Used is when something was last made from it, or when it was fetched.
	Used time.Time
	// InUse is set where the driver knows of a use: nothing else counts then.
	InUse bool
}

// RanRevision is a revision of a service that a node ran, with the digests of
// its images.
type RanRevision struct {
	Revision Revision          `json:"revision"`
	Images   map[string]string `json:"images,omitempty"`
	Used     time.Time         `json:"used"` // when it was last seen to be there
}

// Need says what images are kept for.
type Need struct {
	// Now holds the digests that are in force, or run, or are about to.
	Now map[string]bool
	// Here holds what services of this node ran, newest first: the images of the
	// first KeptRevisions revisions stay. Gone is the same of services that have
	// left the node: theirs go, after all others.
	Here, Gone map[ServiceID][]RanRevision
}

// Collectable lists the images that may go, those first that are missed least:
// what no service wants back any more before the last revisions of services
// that are gone, and of each the longest unused.
func Collectable(images []StoredImage, need Need) []StoredImage {
	stay, late, used := map[string]bool{}, map[string]bool{}, map[string]time.Time{}
	mark := func(ran map[ServiceID][]RanRevision, into map[string]bool) {
		for _, revisions := range ran {
			counted := 0
			for k, r := range revisions {
				if k == 0 || !maps.Equal(r.Images, revisions[k-1].Images) {
					counted++
				}
				for _, digest := range r.Images {
					into[digest] = into[digest] || counted <= KeptRevisions
					if used[digest].Before(r.Used) {
						used[digest] = r.Used
					}
				}
			}
		}
	}
	mark(need.Here, stay)
	mark(need.Gone, late)
	var out []StoredImage
	for _, i := range images {
		if i.InUse || i.Digest == "" || need.Now[i.Digest] || stay[i.Digest] {
			continue
		}
		if i.Used.Before(used[i.Digest]) {
			i.Used = used[i.Digest]
		}
		out = append(out, i)
	}
	slices.SortFunc(out, func(a, b StoredImage) int {
		if late[a.Digest] != late[b.Digest] {
			if late[b.Digest] {
				return -1
			}
			return 1
		}
		return cmp.Or(a.Used.Compare(b.Used), strings.Compare(a.Name, b.Name))
	})
	return out
}
