package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

const (
	// maxShownNames is how many services are named in a sentence.
	maxShownNames = 5
	// staleRead is from when on the last look at the repository is worth a word.
	staleRead = time.Minute
)

// drawDeletions draws the deletions that wait for a person's word.
func drawDeletions(s *screen, waiting []api.Deletion) {
	for _, d := range waiting {
		names := d.Services[:min(len(d.Services), maxShownNames)]
		text := strings.Join(names, ", ")
		if n := d.Count - len(names); n > 0 {
			text += fmt.Sprintf(" and %d more", n)
		}
		s.labelled("DELETION", yellow, fmt.Sprintf("of %s waits for your word: %s; they run on until a commit, empty or not, has the trailer %s", count(d.Count, "service"), text, d.Approve))
	}
}

// drawNode draws the block at the top. Trouble of the repository stands here.
func drawNode(s *screen, st *api.Status, brief bool, now time.Time) {
	about := string(st.Node)
	if st.Version != "" {
		about += ", orpheus " + st.Version
	}
	s.labelled("NODE", plain, about+", up "+age(now.Sub(st.StartedAt)))
	r := st.Repository
	if r.Applied.Hash == "" {
		s.labelled("COMMIT", yellow, "none yet")
	} else {
		s.labelled("COMMIT", plain, describeCommit(r.Applied, now))
	}
	switch {
	case r.Refused != "":
		s.labelled("REFUSED", red, describeCommit(r.Seen, now))
		s.prose("          ", plain, red, r.Refused)
		if r.Applied.Hash != "" {
			s.prose("          ", plain, plain, "Nothing changed for it: the commit above stays in force.")
		}
	case r.Seen.Hash != "" && r.Seen.Hash != r.Applied.Hash:
		s.labelled("NEXT", yellow, describeCommit(r.Seen, now))
	}
	where := r.URL
	if r.Following != "" {
		where += ", " + r.Following
	}
	if r.Path != "" && r.Path != "." {
		where += " in " + r.Path
	}
	if stale := now.Sub(r.LastRead); r.Error == "" && !r.LastRead.IsZero() && stale > staleRead {
		where += ", last read " + age(stale) + " ago"
	}
	s.labelled("GIT", plain, where)
	if r.Error != "" {
		s.prose("          ", plain, red, "cannot be read since "+age(now.Sub(r.ErrorSince))+": "+r.Error)
		if r.Applied.Hash != "" || len(st.Services) > 0 {
			s.prose("          ", plain, plain, "What runs keeps running and is kept in order.")
		}
	}
	if brief {
		return
	}
	if st.Fleet != nil {
		drawMembership(s, st.Fleet, now)
	}
	drawDrivers(s, st)
}

func describeCommit(c planner.Commit, now time.Time) string {
	text := c.Short()
	if c.Subject != "" {
		text += " " + c.Subject
	}
	if !c.Time.IsZero() {
		text += " (" + age(now.Sub(c.Time)) + " ago)"
	}
	return text
}

// drawDrivers draws a line of what works, and one for each that does not.
func drawDrivers(s *screen, st *api.Status) {
	var fine []string
	for _, d := range st.Drivers {
		if d.Error == "" {
			name := strings.TrimSpace(d.Name + " " + d.Version)
			fine = append(fine, name+" ("+count(d.Instances, "instance")+")")
		}
	}
	if len(fine) > 0 {
		s.labelled("DRIVERS", plain, strings.Join(fine, ", "))
	}
	for _, d := range st.Drivers {
		if d.Error != "" {
			s.labelled("DRIVER", red, d.Name+": "+d.Error)
		}
	}
	if st.Network != nil && st.Network.Error != "" {
		s.labelled("NETWORK", red, st.Network.Error)
	}
}
