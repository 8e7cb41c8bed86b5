package fleettest

import (
	"fmt"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// character is what the instances of a version are like. A version begins with
// it, and so does the tag of its image.
type character string

const (
	good     character = ""      // ready within two seconds
	slow     character = "slow"  // ready, but later
	wedged   character = "bad"   // lives, and is never ready
	crashing character = "crash" // exits within a second
	flashing character = "flash" // is ready for a second, then exits
	leaking  character = "leak"  // serves for a minute, then exits
	picky    character = "picky" // exits at once on one node, is good on others
)

// faulty are the characters of releases that may fail.
var faulty = []character{wedged, crashing, flashing, leaking, picky}

// version makes the next version of a character. A picky one does not like the
// node.
func (c *chaos) version(of character, node planner.NodeName) string {
	c.versions++
	if of == picky {
		return fmt.Sprintf("%s.%s.%d", picky, node, c.versions)
	}
	return fmt.Sprintf("%s%d", of, c.versions)
}

// characterOf is the character of a template.
func characterOf(t planner.Template) character {
	_, version, _ := strings.Cut(t.Containers[0].Image, ":")
	for _, of := range append([]character{slow}, faulty...) {
		if strings.HasPrefix(version, string(of)) {
			return of
		}
	}
	return good
}

// works reports whether instances of the template become ready everywhere, and
// stay so.
func works(t planner.Template) bool {
	of := characterOf(t)
	return of == good || of == slow
}

// on is what instances of the template are like on a node.
func characterOn(t planner.Template, node planner.NodeName) character {
	of := characterOf(t)
	if of != picky {
		return of
	}
	if strings.Contains(t.Containers[0].Image, ":"+string(picky)+"."+string(node)+".") {
		return crashing
	}
	return good
}

// live plans what an instance that has just started will do.
func (m *machine) live(i *instance, t planner.Template) {
	w := m.w
	of := characterOn(t, m.node)
	if t.Once {
		i.once = true
		switch of {
		case good, slow, picky:
			m.exitIn(i, w.between(time.Second, 6*time.Second), planner.Exit{})
		case wedged:
		default:
			m.exitIn(i, w.between(time.Second, 3*time.Second), planner.Exit{Code: 1})
		}
		return
	}
	switch of {
	case slow:
		i.ready = w.now + w.between(4*time.Second, 12*time.Second)
	case wedged:
	case crashing:
		m.exitIn(i, w.between(50*time.Millisecond, time.Second), planner.Exit{Code: 1})
	case flashing:
		i.ready = w.now + w.between(time.Second, 2*time.Second)
		m.exitIn(i, i.ready-w.now+w.between(500*time.Millisecond, 1500*time.Millisecond), planner.Exit{Code: 2})
	case leaking:
		i.ready = w.now + w.between(time.Second, 2*time.Second)
		m.exitIn(i, w.between(45*time.Second, 75*time.Second), planner.Exit{Code: 137, OOM: true})
	default:
		i.ready = w.now + w.between(time.Second, 2*time.Second)
	}
}

// exitIn has an instance end by itself, if it still runs then. On a machine that
// is paused it waits.
func (m *machine) exitIn(i *instance, in time.Duration, exit planner.Exit) {
	m.w.after(in, func() {
		switch {
		case m.instances[i.ID] != i || i.State != planner.StateRunning:
		case m.paused:
			m.exitIn(i, time.Second, exit)
		default:
			m.exits(i, exit)
		}
	})
}

// exits ends an instance; its agent sees that soon.
func (m *machine) exits(i *instance, exit planner.Exit) {
	m.w.witness.loses(i)
	i.worked = i.isReady(m.w.now)
	i.State, i.Exit, i.ready, i.noted = planner.StateExited, &exit, 0, false
	m.w.say(m.called, "%s exits", i.ID)
	if p := m.proc; p != nil {
		p.later(m.w.between(0, time.Second), func() { p.dirty = true })
	}
}
