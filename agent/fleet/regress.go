package fleet

import (
	"fmt"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// checkRegress compares what stands now with the highest ever seen. Anything
// lower or missing means that the server was restored from a backup: nothing
// is decided, written or ended until a person resets the floor (design L12).
func (m *Member) checkRegress() {
	var back []string
	fleet := m.view.Fleet
	broken := m.entries[planner.FleetRef] != nil && m.entries[planner.FleetRef].bad != "" // it is put right
	if fleet.Generation < m.memory.Generation && !broken {
		back = append(back, fmt.Sprintf("fleet: generation %d, was %d", fleet.Generation, m.memory.Generation))
	}
	if fleet.Tokens < m.memory.FleetTokens && !broken {
		back = append(back, fmt.Sprintf("fleet: tokens %d, were %d", fleet.Tokens, m.memory.FleetTokens))
	}
	for node, epoch := range m.memory.Epochs {
		e := m.entries[planner.NodeRef(node)]
		switch {
		case e == nil || e.hash == "":
			back = append(back, fmt.Sprintf("%s: missing", planner.NodeRef(node)))
		case m.view.Nodes[node].Record.Epoch < epoch && e.bad == "":
			back = append(back, fmt.Sprintf("%s: epoch %d, was %d", planner.NodeRef(node), m.view.Nodes[node].Record.Epoch, epoch))
		}
	}
	for _, t := range slices.Clone(m.memory.Tokens) {
		doc, ok := m.view.Docs[t.Service]
		switch {
		case !ok && fleet.Tokens >= t.Tokens:
			m.memory.forgetTokens(t.Service) // deleted, and its tokens are below the floor
			m.unsaved = true
		case !ok:
			back = append(back, fmt.Sprintf("%s: missing", planner.LeasesRef(t.Service, 0)))
		case doc.Doc.Tokens < t.Tokens && doc.Broken == "":
			back = append(back, fmt.Sprintf("%s: tokens %d, were %d", planner.LeasesRef(t.Service, 0), doc.Doc.Tokens, t.Tokens))
		}
	}
	slices.Sort(back)
	if slices.Equal(back, m.alarm) {
		return
	}
	m.alarm = back
	m.dirty = true
	m.view.Alarm = ""
	if len(back) == 0 {
		m.log.Info("records are as they should be again")
		return
	}
	const shown = 5
	text := strings.Join(back[:min(shown, len(back))], "; ")
	if n := len(back) - shown; n > 0 {
		text += fmt.Sprintf("; and %d more", n)
	}
	m.view.Alarm = "records went back (" + text + "): the Git server was restored from a backup, or somebody changed its refs. " +
		"Nothing is decided or stopped until a person says: orpheus floor reset"
	m.log.Error("records went back: nothing is decided or stopped until the floor is reset", "records", back)
}

// adoptGeneration takes a deliberate reset for what it is: what was the
// highest before does not count any more, and the floor is the one given.
func (m *Member) adoptGeneration(rec planner.FleetRecord) {
	if rec.Generation > m.memory.Generation {
		if m.whole || len(m.memory.Epochs) > 0 {
			m.log.Warn("floor was reset", "generation", rec.Generation, "by", rec.By, "floor", rec.Floor)
		}
		m.memory.Generation, m.memory.Floor = rec.Generation, rec.Floor
		m.memory.Tokens, m.memory.FleetTokens = nil, 0
		m.rememberOwn()
		m.memory.Epochs = map[planner.NodeName]uint64{}
		for name, n := range m.view.Nodes {
			if e := m.entries[planner.NodeRef(name)]; e == nil || e.hash == "" {
				delete(m.view.Nodes, name) // lost for good: it registers anew
				continue
			}
			m.memory.Epochs[name] = n.Record.Epoch
		}
		for id, doc := range m.view.Docs {
			m.memory.seenTokens(id, doc.Doc.Tokens)
		}
		m.own.reset(m)
		m.unsaved = true
	}
	if rec.Generation == m.memory.Generation && rec.Tokens > m.memory.FleetTokens {
		m.memory.FleetTokens, m.unsaved = rec.Tokens, true
	}
}

// rememberOwn notes the highest epoch of this node that the fleet has ever
// seen. A reset forgets what was highest, but not that: this node registers
// above it, or leases that the backup brought back would count beside those
// given since.
func (m *Member) rememberOwn() {
	own := max(m.memory.Own, m.memory.Epochs[m.self])
	for _, doc := range m.view.Docs {
		for _, l := range doc.Doc.Leases {
			if l.Node == m.self {
				own = max(own, l.Epoch)
			}
		}
	}
	m.memory.Own = own
}

// ResetFloor is a person's word that the records are to be taken as they are
// now and that the branch goes on from commit ("" = the one that is followed).
// The next push writes it; the error says why it cannot.
func (m *Member) ResetFloor(commit string, now planner.Time) error {
	m.now = now
	switch {
	case !m.whole:
		return fmt.Errorf("the records were not read yet: %s", m.look.err)
	case m.own.foreign != "":
		return fmt.Errorf("this node may not write: %s", m.own.foreign)
	}
	if commit == "" {
		commit = m.followed.Commit.Hash
	}
	m.own.resetTo, m.own.resetAsked = commit, true
	m.dirty = true
	return nil
}

// floorReset is the record that carries out a reset: one generation up, and no
// token below any that this node has ever seen is given again.
func (m *Member) floorReset() planner.FleetRecord {
	rec := m.fleetRecord()
	rec.Floor = m.own.resetTo
	rec.Generation = max(rec.Generation, m.memory.Generation) + 1
	rec.Tokens = m.highestToken()
	return rec
}

// highestToken is the highest this node has ever seen given, or be the floor.
func (m *Member) highestToken() uint64 {
	highest := max(m.view.Fleet.Tokens, m.memory.FleetTokens)
	for _, t := range m.memory.Tokens {
		highest = max(highest, t.Tokens)
	}
	for _, doc := range m.view.Docs {
		highest = max(highest, doc.Doc.Tokens)
	}
	return highest
}
