package fleettest

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// story plays a scenario: a text of one command a line. What it expects is a
// line of the trace, given by words of it in their order, or the truth about
// what serves. Empty lines and lines that begin with # are left out.
//
//	seed N                      (first) the world's seed
//	nodes N [silent]            N machines boot within a second; silent: without peers
//	fleet [fast] [github]       what fleet.yaml says from the next commit on
//	service NAME [replicas=N] [kind=plain|single|volumed|everynode] [version=V] [cpu=M] and how it is
//	        placed and rolled out: [on=KEY:VALUE] [spread=KEY] [order=stopFirst] [surge=A] [unavailable=A] [steps=A:PAUSE,A:approve] [revert=no]
//	        [minready=D] [deadline=D] [failures=N] [after=SERVICE] [pre=V] [post=V]
//	release NAME V              another version of it · promote NAME
//	many N                      N services of one replica each
//	delete NAME · drain NODE · undrain NODE · cordon NODE · taint NODE KEY · label NODE KEY=VALUE
//	commit WORDS                makes a commit and pushes it
//	run DURATION
//	off|on|kill|start|pause|resume NODE    machine, agent
//	cut NODE git|peers|both · heal NODE · git down|up
//	backup · restore · reset NODE
//	expect DURATION WORDS       a line with these words comes within that time
//	serves SERVICE N DURATION   within that time N instances of it are ready
//	always SERVICE N DURATION   for that time at least N instances of it are ready
//	never WORDS                 no line since the last mark has these words
//	mark                        what follows counts from here
//	converged                   one lease, one ready instance per slot, nothing else runs
//	pushes N · reads N          no minute since the mark had more pushes, no second more requests
//	quiet DURATION              so long nothing is pushed
//	objects N                   since the mark at most N objects were added
//	lost PERCENT                since the mark less of the changes were lost
type story struct {
	c      *chaos
	from   int // of the trace: the mark
	at     time.Duration
	told   func(format string, args ...any)
	pushes []time.Duration
	reads  []time.Duration

	objects, changes, lost int
}

// Play runs a scenario; told gets what was measured.
func Play(text string, told func(format string, args ...any)) ([]string, error) {
	s := &story{told: told}
	for n, line := range strings.Split(text, "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if s.c == nil && words[0] != "seed" {
			return nil, fmt.Errorf("line %d: the first command is seed", n+1)
		}
		err := s.do(words[0], words[1:])
		if err == nil && s.c.broken != nil {
			err = s.c.broken
		}
		if err != nil {
			s.c.explain()
			return s.c.Trace(), fmt.Errorf("line %d: %s: %w", n+1, strings.TrimSpace(line), err)
		}
	}
	return s.c.Trace(), nil
}

func (s *story) mark() {
	s.from, s.at = len(s.c.trace.lines), s.c.now
	s.objects, s.changes, s.lost = s.c.memory.Counts().Objects, s.c.witness.changes, s.c.witness.lost
}

// do carries out one command.
func (s *story) do(command string, args []string) error {
	need := map[string]int{"seed": 1, "nodes": 1, "service": 1, "release": 2, "promote": 1, "always": 3, "many": 1, "delete": 1, "drain": 1, "undrain": 1, "cordon": 1, "taint": 2, "label": 2, "run": 1,
		"off": 1, "on": 1, "kill": 1, "start": 1, "pause": 1, "resume": 1, "cut": 2, "heal": 1, "git": 1, "reset": 1,
		"expect": 2, "serves": 3, "never": 1, "pushes": 1, "reads": 1, "quiet": 1, "objects": 1, "lost": 1}[command]
	if len(args) < need {
		return fmt.Errorf("needs %d arguments", need)
	}
	c := s.c
	switch command {
	case "seed":
		n, err := strconv.ParseUint(args[0], 10, 64)
		w := New(Options{Seed: n, Traced: true})
		s.c = &chaos{World: w, stranger: w.newKey()}
		w.asked = func(push bool) {
			if push {
				s.pushes = append(s.pushes, w.now)
			} else {
				s.reads = append(s.reads, w.now)
			}
		}
		return err
	case "nodes":
		n, err := strconv.Atoi(args[0])
		c.Nodes(n, time.Second)
		if len(args) > 1 {
			for _, m := range c.machines {
				m.address = ""
			}
		}
		return err
	case "fleet":
		c.wanted.fleet = planner.Fleet{FastFailover: slices.Contains(args, "fast")}
		if slices.Contains(args, "github") {
			c.wanted.fleet.Budgets = planner.GitHubBudgets
		}
	case "service":
		return s.service(args)
	case "release":
		return s.release(args[0], args[1])
	case "promote":
		svc := c.wanted.services[planner.ServiceID{Namespace: planner.DefaultNamespace, Name: args[0]}]
		svc.Update.Promoted = string(svc.Revision)
		c.Want(svc)
	case "many":
		n, err := strconv.Atoi(args[0])
		for k := range n {
			c.Want(service(fmt.Sprintf("m%d", k), plain, 1, "1", 100))
		}
		return err
	case "delete":
		delete(c.wanted.services, planner.ServiceID{Namespace: planner.DefaultNamespace, Name: args[0]})
	case "drain":
		name := planner.NodeName(args[0])
		c.wanted.nodes[name] = planner.NodeSpec{Name: name, File: "nodes/" + args[0] + ".yaml", Drain: true}
	case "undrain":
		delete(c.wanted.nodes, planner.NodeName(args[0]))
	case "cordon", "taint", "label":
		s.node(command, planner.NodeName(args[0]), args[1:])
	case "commit":
		c.Commit(strings.Join(args, " "))
	case "run":
		d, err := time.ParseDuration(args[0])
		c.Run(c.now + d)
		return err
	case "mark":
		s.mark()
	case "git":
		c.serverUp = args[0] == "up"
		c.say("", "git is %s", args[0])
	case "backup":
		c.backup, c.backupTip = c.memory.Snapshot(), c.history.tip
	case "restore":
		c.say("", "the server is restored from a backup")
		c.memory.Restore(c.backup)
		c.memory.SetTip(planner.Hash(c.history.tip.hash)) // only the records were
		c.restores++
		c.witness.restored()
	default:
		if s.machine(command, args) {
			return nil
		}
		return s.check(command, args)
	}
	return nil
}

// machine carries out a command about one machine; false = it is none.
func (s *story) machine(command string, args []string) bool {
	if len(args) == 0 {
		return false
	}
	k := slices.IndexFunc(s.c.machines, func(m *machine) bool { return string(m.called) == args[0] })
	if k < 0 {
		return false
	}
	c, m := s.c, s.c.machines[k]
	switch command {
	case "off":
		m.off()
	case "on":
		c.boot(m)
	case "kill":
		m.killAgent()
	case "start":
		m.startAgent()
	case "pause":
		m.pause(true)
	case "resume":
		m.resume()
	case "cut":
		m.cutGit = m.cutGit || args[1] != "peers"
		m.cutPeers = m.cutPeers || args[1] != "git"
		c.say(m.called, "is cut from %s", args[1])
		c.linksMoved()
	case "heal":
		m.cutGit, m.cutPeers = false, false
		c.say(m.called, "is reached again")
		c.linksMoved()
	case "reset":
		m.proc.deliver(func() {
			if err := m.proc.member.ResetFloor("", m.proc.now()); err != nil {
				c.fail("reset: %v", err)
			}
		})
	default:
		return false
	}
	return true
}

// check compares the world with what is expected.
func (s *story) check(command string, args []string) error {
	c := s.c
	switch command {
	case "expect":
		return s.await(args[0], func() bool { return s.has(args[1:]) }, "comes")
	case "serves":
		n, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		return s.await(args[2], func() bool { return c.serving(args[0]) == n }, "serve")
	case "always":
		return s.always(args[0], args[1], args[2])
	case "never":
		if s.has(args) {
			return fmt.Errorf("it happened")
		}
	case "converged":
		c.checkConverged()
	case "pushes":
		return s.most(s.pushes, time.Minute, args[0])
	case "reads":
		return s.most(s.reads, time.Second, args[0])
	case "quiet":
		d, err := time.ParseDuration(args[0])
		if err != nil {
			return err
		}
		before := len(s.pushes)
		c.Run(c.now + d)
		if n := len(s.pushes) - before; n > 0 {
			return fmt.Errorf("%d pushes", n)
		}
	case "objects":
		n, err := strconv.Atoi(args[0])
		if added := c.memory.Counts().Objects - s.objects; err == nil && added > n {
			return fmt.Errorf("%d objects were added", added)
		}
		return err
	case "lost":
		percent, err := strconv.ParseFloat(args[0], 64)
		lost, won := c.witness.lost-s.lost, c.witness.changes-s.changes
		share := 100 * float64(lost) / float64(max(1, lost+won))
		s.told("%d of %d changes lost: %.1f %%", lost, lost+won, share)
		if share >= percent {
			return fmt.Errorf("%.1f %% of the changes were lost", share)
		}
		return err
	default:
		return fmt.Errorf("unknown command, or no such machine")
	}
	return nil
}

// await lets time pass until something holds.
func (s *story) await(within string, holds func() bool, what string) error {
	d, err := time.ParseDuration(within)
	if err != nil {
		return err
	}
	begin := s.c.now
	for !holds() {
		if s.c.now-begin >= d || s.c.broken != nil {
			return fmt.Errorf("not within %s", within)
		}
		s.c.Run(s.c.now + 50*time.Millisecond)
	}
	s.told("%s after %.1f s (%.1f s since the mark)", what, (s.c.now - begin).Seconds(), (s.c.now - s.at).Seconds())
	return nil
}

// always holds that so many instances serve for a time.
func (s *story) always(name, least, length string) error {
	d, err := time.ParseDuration(length)
	n, err2 := strconv.Atoi(least)
	if err = cmp.Or(err, err2); err != nil {
		return err
	}
	for until := s.c.now + d; s.c.now < until; s.c.Run(s.c.now + 50*time.Millisecond) {
		if have := s.c.serving(name); have < n {
			return fmt.Errorf("only %d", have)
		}
	}
	return nil
}

// has reports whether a line since the mark has the words in their order.
func (s *story) has(words []string) bool {
	return slices.ContainsFunc(s.c.trace.lines[s.from:], func(line string) bool {
		for _, word := range words {
			_, rest, found := strings.Cut(line, word)
			if !found {
				return false
			}
			line = rest
		}
		return true
	})
}

// serving counts the ready instances of a service.
func (w *World) serving(name string) int {
	n := 0
	for _, m := range w.machines {
		if !m.up {
			continue
		}
		for _, i := range m.instances {
			if i.Slot.Service.Name == name && i.isReady(w.now) {
				n++
			}
		}
	}
	return n
}

// most holds that no window since the mark has more than so many.
func (s *story) most(times []time.Duration, window time.Duration, limit string) error {
	n, err := strconv.Atoi(limit)
	if err != nil {
		return err
	}
	worst := 0
	for k, t := range times {
		if t < s.at {
			continue
		}
		in := 0
		for _, o := range times[k:] {
			if o < t+window {
				in++
			}
		}
		worst = max(worst, in)
	}
	s.told("at most %d in %v", worst, window)
	if worst > n {
		return fmt.Errorf("%d in %v", worst, window)
	}
	return nil
}
