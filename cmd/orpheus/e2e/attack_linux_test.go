package e2e

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/gitsync/trust"
	"github.com/orpheus-cd/orpheus/planner"
)

// hostileRecords: whatever somebody who may write refs puts among the
// records of a living fleet, nothing that runs is touched, it is told, and the
// next commit is rolled out.
func hostileRecords(t *testing.T) {
	f := newFleet(t, devfleet.ClusterOptions{Driver: planner.DriverProcess, Nodes: 4})
	second := f.Nodes[3]
	second.Configure("node: {name: node-1}\n")
	hash := f.commit("first version", map[string]string{"fleet.yaml": fleetYAML, "calm.yaml": f.manifest(spec{name: "calm", replicas: 3})})
	for _, n := range f.Nodes[:3] {
		f.must(n.StartAgent())
	}
	f.settles("first version", hash, map[string]int{"calm": 3})
	hash = f.commit("second version", map[string]string{"web.yaml": f.manifest(spec{name: "web", replicas: 3})})
	f.settles("second version", hash, map[string]int{"web": 3, "calm": 3})
	h := &hostile{fleet: f, before: f.places(), epochs: f.epochs(f.Nodes[0])}

	// In this order: each leaves the fleet as it found it.
	t.Run("TestAttack33Forged", func(t *testing.T) { h.forged(t) })
	t.Run("TestAttack33Garbled", func(t *testing.T) { h.garbled(t) })
	t.Run("TestAttack38Flood", func(t *testing.T) { h.flood(t) })
	t.Run("TestAttack38Collision", func(t *testing.T) { h.collision(t) })
	t.Run("TestAttack36LostReplies", func(t *testing.T) { h.lostReplies(t) })
	t.Run("SecondMachine", func(t *testing.T) { h.secondMachine(t, second) })
}

// hostile is somebody who may write every ref, in a fleet that must not mind.
type hostile struct {
	*fleet
	before places
	epochs map[string]uint64
}

// harmless demands for a while of three polls that nothing changes.
func (h *hostile) harmless(t *testing.T, what string) {
	t.Helper()
	h.t = t
	h.keeps(what, 3500*time.Millisecond, h.before, h.epochs)
}

// write gives a ref a commit of the empty tree, with a text.
func (h *hostile) write(t *testing.T, ref planner.Ref, text string) (hash string) {
	t.Helper()
	tree, err := h.Repo.Git("", "mktree")
	if err == nil {
		hash, err = h.Repo.Git(text, "commit-tree", tree)
	}
	if err == nil {
		_, err = h.Repo.Git("", "update-ref", prefix+string(ref), hash)
	}
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

// told waits until a node has said in its log that a value is not accepted. The
// others may see only what it put in its place.
func (h *hostile) told(t *testing.T, ref planner.Ref, hash string) {
	t.Helper()
	h.t = t
	h.await(string(ref)+" is refused", patience, func([]*api.Status) string {
		for _, n := range h.Nodes[:3] {
			for line := range strings.Lines(n.AgentLog(1 << 20)) {
				if containsAll(line, "is not accepted", "ref="+string(ref), hash[:8]) {
					return ""
				}
			}
		}
		return "nobody says so"
	})
}

// forged tells of records that look right and are not from whom they say.
func (h *hostile) forged(t *testing.T) {
	h.t = t
	stranger, err := trust.LoadOrCreateKey(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	web := planner.LeasesRef(planner.ServiceID{Namespace: "default", Name: "web"}, 0)
	for _, row := range []struct {
		name string
		ref  planner.Ref
		part func(planner.Part) planner.Part
	}{
		{"all leases of a service to one node, not signed", web, func(p planner.Part) planner.Part {
			p.Body = strings.NewReplacer(`"node-2"`, `"node-1"`, `"node-3"`, `"node-1"`).Replace(p.Body)
			p.Signature = ""
			return p
		}},
		{"the same under the old signature", web, func(p planner.Part) planner.Part {
			p.Body = strings.NewReplacer(`"node-2"`, `"node-1"`, `"node-3"`, `"node-1"`).Replace(p.Body)
			return p
		}},
		{"the same, signed by nobody's key", web, func(p planner.Part) planner.Part {
			p.Body = strings.NewReplacer(`"node-2"`, `"node-1"`, `"node-3"`, `"node-1"`).Replace(p.Body)
			p.Signature, err = stranger.Sign(web, p.Body)
			return p
		}},
		{"another epoch of a node, which would end all its leases", planner.NodeRef("node-2"), func(p planner.Part) planner.Part {
			p.Body = strings.Replace(p.Body, `"epoch": 1`, `"epoch": 9`, 1)
			return p
		}},
		{"the record of a node, signed by nobody's key", planner.NodeRef("node-3"), func(p planner.Part) planner.Part {
			p.Signature, err = stranger.Sign(planner.NodeRef("node-3"), p.Body)
			return p
		}},
		{"a status without a signature", planner.StatusRef("node-2"), func(p planner.Part) planner.Part {
			p.Signature = ""
			return p
		}},
		{"the floor, signed by nobody's key", planner.FleetRef, func(p planner.Part) planner.Part {
			p.Body = planner.FleetRecord{Format: planner.FormatFleet, Generation: 7, By: "node-1"}.Body()
			p.Signature, err = stranger.Sign(planner.FleetRef, p.Body)
			return p
		}},
	} {
		from := row.ref
		if from == planner.FleetRef { // it need not be there yet
			from = web
		}
		m := h.record(from)
		m.Subject, m.Parts[0] = row.name, row.part(m.Parts[0])
		if err != nil {
			t.Fatal(err)
		}
		h.told(t, row.ref, h.write(t, row.ref, m.String()))
	}
	h.harmless(t, "forged records")
}

// garbled tells of records that are none.
func (h *hostile) garbled(t *testing.T) {
	bomb := "x\n\n{" + strings.Repeat(`"x":[`, 200_000) + "\n"
	big := "x\n\n{\"pad\": \"" + strings.Repeat("x", 1<<20) + "\"}\n"
	web := planner.LeasesRef(planner.ServiceID{Namespace: "default", Name: "web"}, 0)
	calm := planner.LeasesRef(planner.ServiceID{Namespace: "default", Name: "calm"}, 0)
	for _, row := range []struct {
		ref  planner.Ref
		text string
	}{
		{web, "no record\n"},
		{calm, bomb},
		{planner.NodeRef("node-2"), big},
		{planner.NodeRef("node-1"), "\x1b[31mred\n"},
		{planner.StatusRef("node-3"), big},
		{planner.BeatsRef("node-3"), bomb},
		{planner.FleetRef, bomb},
		{planner.NodeRef("ghost"), "boo\n\n{}\n"},
	} {
		h.told(t, row.ref, h.write(t, row.ref, row.text))
	}
	blob, err := h.Repo.Git("no commit", "hash-object", "-w", "--stdin")
	if err == nil {
		_, err = h.Repo.Git("", "update-ref", prefix+string(calm), blob)
	}
	if err != nil {
		t.Fatal(err)
	}
	h.told(t, calm, blob)
	h.harmless(t, "garbled records")
	out, _ := h.orpheus("status", "--socket", h.Nodes[0].Socket())
	contains(t, "orpheus status", out, "record not accepted", "nodes/ghost")
	if strings.Contains(out, "\x1b") {
		t.Errorf("orpheus status repeats what acts on a terminal: %q", out)
	}
	if _, err := h.Repo.Git("", "update-ref", "-d", prefix+"nodes/ghost"); err != nil {
		t.Fatal(err)
	}
	h.healed(t)
}

// healed waits until those whose records were overwritten have put them right:
// the nodes theirs at once, a lease document its coordinator after a minute.
func (h *hostile) healed(t *testing.T) {
	t.Helper()
	h.t = t
	h.await("the records are put right", 2*patience, func(all []*api.Status) string {
		for _, st := range all[:3] {
			if st == nil {
				return "an agent does not answer"
			}
			if len(st.Fleet.BadRecords) > 0 {
				return fmt.Sprintf("%s: %q", st.Node, st.Fleet.BadRecords)
			}
		}
		return ""
	})
	h.harmless(t, "records were put right")
}

// flood tells of ten thousand refs that are no records, and of a thousand that
// could be leases.
func (h *hostile) flood(t *testing.T) {
	h.t = t
	junk := h.write(t, "junk/0", "junk\n")
	var b strings.Builder
	for k := range 10_000 {
		fmt.Fprintf(&b, "create %sjunk/of/%d %s\n", prefix, k, junk)
	}
	for k := range 1000 {
		fmt.Fprintf(&b, "create %sleases/junk/s%d %s\n", prefix, k, junk)
	}
	before := memory(t, h.Nodes[0].AgentPID())
	h.must(ignoreOutput(h.Repo.Git(b.String(), "update-ref", "--stdin")))
	h.await("the flood is seen", patience, func(all []*api.Status) string {
		for _, st := range all[:3] {
			if st == nil || st.Fleet.Ignored < 10_000 || len(st.Fleet.BadRecords) == 0 {
				return "not by all"
			}
		}
		return ""
	})
	h.harmless(t, "a flood")
	after := memory(t, h.Nodes[0].AgentPID())
	t.Logf("11,001 junk refs: the agent's memory goes from %d to %d MiB", before>>20, after>>20)
	if after > before+96<<20 {
		t.Errorf("the agent's memory went from %d to %d MiB", before>>20, after>>20)
	}
	out, _ := h.orpheus("status", "--socket", h.Nodes[0].Socket())
	contains(t, "orpheus status", out, "ignored", "not accepted")
	if len(out) > 64<<10 {
		t.Errorf("orpheus status has %d bytes", len(out))
	}
	log, err := os.Stat(h.Nodes[0].LogFile())
	h.must(err)
	if log.Size() > 4<<20 {
		t.Errorf("the log has %d bytes", log.Size())
	}
	began := time.Now()
	hash := h.commit("amid a flood", map[string]string{"more.yaml": h.manifest(spec{name: "more", replicas: 3})})
	h.rolledOut(hash, map[string]int{"web": 3, "calm": 3, "more": 3})
	t.Logf("amid 11,001 junk refs a commit is rolled out after %s", time.Since(began).Round(100*time.Millisecond))
	h.must(ignoreOutput(h.Repo.Git(strings.ReplaceAll(b.String(), "create", "delete")+"delete "+prefix+"junk/0\n", "update-ref", "--stdin")))
	hash = h.commit("the flood is over", map[string]string{"more.yaml": gitsynctest.Delete})
	h.rolledOut(hash, map[string]int{"web": 3, "calm": 3})
}

// rolledOut waits until a commit is.
func (h *hostile) rolledOut(hash string, slots map[string]int) {
	h.t.Helper()
	h.settles(hash[:8], hash, slots)
}

// collision puts a folder where a document would be.
func (h *hostile) collision(t *testing.T) {
	h.t = t
	in := "leases/default/late/x"
	h.write(t, planner.Ref(in), "in the way\n")
	hash := h.commit("late and later", map[string]string{
		"late.yaml":  h.manifest(spec{name: "late", replicas: 2}),
		"later.yaml": h.manifest(spec{name: "later", replicas: 2}),
	})
	slots := map[string]int{"web": 3, "calm": 3, "later": 2}
	h.rolledOut(hash, slots)
	h.spared(t, "a name is taken", slots)
	reports := ""
	for _, n := range h.Nodes[:3] {
		out, _ := h.orpheus("status", "--socket", n.Socket())
		reports += out + n.AgentLog(200)
	}
	contains(t, "status or log", reports, "late")
	h.must(ignoreOutput(h.Repo.Git("", "update-ref", "-d", prefix+in)))
	slots["late"] = 2
	h.rolledOut(hash, slots)
	hash = h.commit("late and later go", map[string]string{"late.yaml": gitsynctest.Delete, "later.yaml": gitsynctest.Delete})
	h.rolledOut(hash, map[string]int{"web": 3, "calm": 3})
}

// spared demands for a while that what was there is not touched, beside services
// that came since.
func (h *hostile) spared(t *testing.T, what string, slots map[string]int) {
	t.Helper()
	h.t = t
	h.watch(what, 3*time.Second, func(all []*api.Status) string {
		now := placesOf(all)
		if changed := h.before.changed(now); changed != "" {
			return changed
		}
		return now.exactly(slots)
	})
}

// lostReplies has the server carry out what it is told, and answer no push.
func (h *hostile) lostReplies(t *testing.T) {
	h.t = t
	h.Git.SetFault(gitsynctest.OnPush(gitsynctest.LoseReply()))
	hash := h.commit("into silence", map[string]string{"more.yaml": h.manifest(spec{name: "more", replicas: 4})})
	slots := map[string]int{"web": 3, "calm": 3, "more": 4}
	h.watch("no push is answered", 8*time.Second, func(all []*api.Status) string {
		now := placesOf(all)
		for slot, at := range now {
			if len(at) > 1 {
				return fmt.Sprintf("%s runs twice: %+v", slot, at)
			}
		}
		return h.before.changed(now)
	})
	unknown := uint64(0)
	for _, n := range h.Nodes[:3] {
		unknown += h.status(n).Fleet.Requests.Unknown
	}
	if unknown == 0 {
		t.Error("nobody missed an answer: this proves nothing")
	}
	h.Git.SetFault(nil)
	h.rolledOut(hash, slots)
	for _, doc := range h.log(prefix + "leases/default/more") {
		given := map[string]int{}
		for _, l := range doc.Leases {
			given[l.Slot]++
		}
		for slot, n := range given {
			if n > 1 {
				t.Errorf("slot %s was leased %d times in one document", slot, n)
			}
		}
	}
	hash = h.commit("heard again", map[string]string{"more.yaml": gitsynctest.Delete})
	h.rolledOut(hash, map[string]int{"web": 3, "calm": 3})
}

// TestAttack39ServerThatDoesNotCompare: no leases are agreed on there, and it
// is said.
func TestAttack39ServerThatDoesNotCompare(t *testing.T) {
	t.Parallel()
	f := newFleet(t, devfleet.ClusterOptions{Driver: planner.DriverProcess, Nodes: 2, Loopback: true})
	f.Git.SetFault(gitsynctest.OnPush(gitsynctest.IgnoreOld(f.Repo)))
	f.commit("first version", map[string]string{"fleet.yaml": fleetYAML, "web.yaml": f.manifest(spec{name: "web"})})
	f.must(f.StartAgents())
	f.await("it is said", patience, func(all []*api.Status) string {
		for k, st := range all {
			if st == nil || !strings.Contains(strings.Join(st.Problems, "\n"), "without comparing") {
				return "not by " + f.Nodes[k].Name
			}
		}
		return ""
	})
	f.watch("nothing is placed", 4*time.Second, func(all []*api.Status) string {
		if now := placesOf(all); len(now) > 0 {
			return fmt.Sprint(now)
		}
		return ""
	})
	if refs := f.refs(); len(refs) > 0 {
		t.Errorf("records were written: %v", refs)
	}
}

// secondMachine starts another machine under the name of one.
func (h *hostile) secondMachine(t *testing.T, n *devfleet.Node) {
	h.t = t
	h.must(n.StartAgent())
	h.await("the second of a name is not let in", patience, func(all []*api.Status) string {
		st := all[3]
		if st == nil || !strings.Contains(strings.Join(st.Problems, "\n"), "name") {
			return "it does not say so"
		}
		if st.Fleet.Registered {
			return "it is registered"
		}
		return ""
	})
	h.keeps3(t, "a second machine has the name of a node")
	if st := h.status(n); len(st.Services) > 0 {
		t.Errorf("the second machine has services: %+v", st.Services)
	}
	out, _ := h.orpheus("status", "--socket", n.Socket())
	contains(t, "orpheus status", out, "another", "name")
}

// keeps3 demands of the first three nodes what keeps demands of all.
func (h *hostile) keeps3(t *testing.T, what string) {
	t.Helper()
	h.watch(what, 5*time.Second, func(all []*api.Status) string {
		for name, epoch := range h.epochs {
			if is := nodeOf(all[0], name); is.State != "live" || is.Epoch != epoch {
				return fmt.Sprintf("%s is %s, epoch %d: %s", name, is.State, is.Epoch, is.Reason)
			}
		}
		return h.before.changed(placesOf(all))
	})
}

func ignoreOutput(_ string, err error) error { return err }

// memory is what a process holds in memory.
func memory(t *testing.T, pid int) int {
	t.Helper()
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) == 3 && fields[0] == "VmRSS:" {
			kib, err := strconv.Atoi(fields[1])
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("the kernel does not tell")
	return 0
}
