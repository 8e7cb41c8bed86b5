package fleet

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// ownState is what the member knows of its own records.
type ownState struct {
	incarnation string
	salt        string
	registered  bool          // the record with this incarnation was accepted
	epoch       uint64        // at which it was last
	wrote       time.Duration // begin of the last accepted write of the record
	joined      time.Duration // when it was first accepted in this process
	foreign     string        // why the name is not this node's; "" = it is
	again       bool          // write the record again although it is as it should be
	beatIndex   int
	beatAt      time.Duration // of the last accepted beat
	body        string        // of the status as it should be; "" = to be made anew
	same        bool          // that is the status that stands
	differs     time.Duration // since when the status differs from what was sent; 0 = it does not
	resetAsked  bool
	resetTo     string
	wait        time.Duration // boot time at which something of this is due
}

const (
	// maxTold bounds the instances in a status, which is read by every node.
	maxTold = 1000
	// maxToldEndpoints bounds their endpoints. Peers are told all directly.
	maxToldEndpoints = 1500
	// quietStatus is how long a change of status waits that nobody acts on, and
	// scarceStatus where pushes are few: it rides along with other pushes.
	quietStatus  = 5 * time.Second
	scarceStatus = 30 * time.Second
	// servingStatus is how long a change of endpoints waits for others: peers are
	// told directly, sooner.
	servingStatus = 2 * time.Second
	// settleMargin is what a start waits beyond one poll, for others who start
	// at the same time to be seen.
	settleMargin = time.Second
)

func newOwn(m *Member) ownState {
	return ownState{
		incarnation: strconv.FormatUint(m.cfg.Random(), 36),
		salt:        strconv.FormatUint(m.cfg.Random(), 36),
	}
}

// took takes in the node's own record as it stands now.
func (o *ownState) took(m *Member, rec planner.NodeRecord) {
	mine := rec.Life == m.cfg.Self.Life && rec.Key == m.cfg.Self.Key
	switch {
	case mine && rec.Incarnation == o.incarnation:
		if !o.registered {
			o.registered, o.joined = true, m.now.Boot
			m.log.Info("registered in the fleet", "epoch", rec.Epoch)
		}
		o.foreign, o.epoch = "", max(o.epoch, rec.Epoch)
		if rec.Fence != nil {
			m.log.Warn("this node was fenced: it registers anew", "epoch", rec.Epoch, "by", rec.Fence.By, "reason", rec.Fence.Reason)
		}
	case mine, rec.Epoch < max(m.memory.Epochs[m.self], m.memory.Own), o.registered && rec.Epoch <= o.epoch:
		// Of this life, but not of this process, or older than what was seen, or
		// of no higher epoch, as who takes a name over has: a process before wrote
		// it, or a backup brought it back.
		o.registered, o.foreign = false, ""
	case o.registered:
		o.foreign = "another machine or agent has taken the name of this node in the fleet: it runs what it has and starts nothing; stop one of the two, or give this node another name"
		m.log.Error("name taken over by another life", "epoch", rec.Epoch, "machine", rec.Life.Machine)
	case rec.Key == m.cfg.Self.Key, rec.Fence != nil, rec.Retired, m.followed.Nodes[m.self].Key == m.cfg.Self.Key:
		o.foreign = "" // an earlier life of this node, or of one that is gone
	default:
		o.foreign = "the name of this node belongs to another machine of the fleet, which was not fenced: give this node another name, or its key in the node's manifest"
		m.log.Error("name belongs to another machine", "machine", rec.Life.Machine)
	}
}

// reset forgets the registration: after a reset of the floor it is made anew,
// above every epoch this node remembers. Others do the same, and are waited for
// before services are placed whose documents were lost.
func (o *ownState) reset(m *Member) {
	o.registered, o.again, o.body, m.watchlist = false, true, "", nil
	m.view.Settled = planner.Never
}

// Incarnation names this process in the node's record.
func (m *Member) Incarnation() string { return m.own.incarnation }

// mine reports whether the record shows this life, so that its leases count.
func (m *Member) mine() bool {
	rec := m.view.Nodes[m.self].Record
	return m.own.foreign == "" && rec.Life == m.cfg.Self.Life && rec.Key == m.cfg.Self.Key
}

// target is the record as it should be, and whether another life or a backup
// makes its epoch a new one.
func (m *Member) target() (rec planner.NodeRecord, raised bool) {
	before := m.view.Nodes[m.self].Record
	rec = m.cfg.Self
	rec.Format, rec.Reads = planner.FormatNode, [2]int{planner.MinFormat, planner.MaxFormat}
	rec.Incarnation, rec.Salt = m.own.incarnation, m.own.salt
	rec.Epoch, rec.Since = max(before.Epoch, 1), max(before.Since, 1)
	rec.Former, rec.Unknown = before.Former, before.Unknown
	rec.Drivers, rec.Volumes = m.report.Drivers, m.report.Volumes
	if before.Key != "" && before.Key != rec.Key && !slices.Contains(rec.Former, before.Key) {
		const kept = 8
		rec.Former = append([]string{before.Key}, rec.Former[:min(len(rec.Former), kept-1)]...)
	}
	remembered := max(m.memory.Epochs[m.self], m.memory.Own, m.claimed())
	if before.Epoch > 0 && (before.Life != rec.Life || before.Key != rec.Key) || remembered > before.Epoch {
		rec.Epoch = max(before.Epoch, remembered) + 1
		rec.Since = rec.Epoch
		raised = true
	}
	return rec, raised
}

// claimed is the epoch of this node's record where a fence in it cannot be
// verified, because the fencer's record is lost: the node registers above it
// all the same. 0 = that is not so.
func (m *Member) claimed() uint64 {
	e := m.entries[planner.NodeRef(m.self)]
	if e == nil || !e.stranger {
		return 0
	}
	msg, err := planner.ParseMessage(e.record.Message)
	if err != nil || len(msg.Parts) == 0 {
		return 0
	}
	rec, err := planner.ParseNodeRecord(msg.Parts[0].Body)
	if err != nil {
		return 0
	}
	if key, err := m.signer(planner.NodeRef(m.self), msg.Parts[0]); err != nil || key != m.cfg.Self.Key {
		return 0
	}
	return rec.Epoch + 1 // a fence raises it by one
}

// ownRecord is the record to be written now, if any.
func (m *Member) ownRecord() (rec planner.NodeRecord, raised, due bool) {
	if m.own.foreign != "" || len(m.alarm) > 0 {
		return rec, false, false
	}
	e := m.entries[planner.NodeRef(m.self)]
	before := m.view.Nodes[m.self].Record
	rec, raised = m.target()
	if e == nil || e.hash == "" || e.bad != "" || raised || before.Fence != nil || m.own.again {
		return rec, raised, true
	}
	same := before
	same.Epoch, same.Since = rec.Epoch, rec.Since
	return rec, false, !reflect.DeepEqual(normal(same), normal(rec))
}

// normal makes empty and missing the same.
func normal(r planner.NodeRecord) planner.NodeRecord {
	if len(r.Labels) == 0 {
		r.Labels = nil
	}
	if len(r.Taints) == 0 {
		r.Taints = nil
	}
	if len(r.Drivers) == 0 {
		r.Drivers = nil
	}
	if len(r.Volumes) == 0 {
		r.Volumes = nil
	}
	if len(r.Former) == 0 {
		r.Former = nil
	}
	return r
}

// subject of the own record, for the log that people read.
func (m *Member) recordSubject(rec planner.NodeRecord) string {
	before := m.view.Nodes[m.self].Record
	switch {
	case before.Epoch == 0:
		return fmt.Sprintf("%s joins the fleet", m.self)
	case before.Fence != nil:
		return fmt.Sprintf("%s is back after the fence by %s (epoch %d)", m.self, before.Fence.By, rec.Epoch)
	case rec.Epoch > before.Epoch:
		return fmt.Sprintf("%s starts a new life (epoch %d)", m.self, rec.Epoch)
	case before.Incarnation != rec.Incarnation:
		return fmt.Sprintf("%s: agent started", m.self)
	case m.own.again:
		return fmt.Sprintf("%s: asserts its record", m.self)
	}
	return fmt.Sprintf("%s: changed", m.self)
}

// ownStatus is the status as it should be.
func (m *Member) ownStatus() planner.NodeStatus {
	before := m.view.Nodes[m.self].Status
	told := m.report.Instances
	if len(told) > maxTold { // those that leases cover first: a record has a limit
		told = slices.Clone(told)
		slices.SortStableFunc(told, func(a, b planner.InstanceStatus) int { return cmp.Compare(min(b.Token, 1), min(a.Token, 1)) })
		told = told[:maxTold]
	}
	told, serving := boundEndpoints(told, m.report.Serving)
	return planner.NodeStatus{
		Format: planner.FormatStatus, Node: m.self, Incarnation: m.own.incarnation,
		Applied: m.report.Applied, Rejected: m.report.Rejected, Instances: told,
		Refusals: m.report.Refusals, Images: m.report.Images, Pressure: m.report.Pressure, Failing: m.report.Failing,
		Ended: before.Ended, Serving: serving, Unknown: before.Unknown,
	}
}

// boundEndpoints leaves out the endpoints beyond what a status has room for; it
// then does not tell which change of them it has.
func boundEndpoints(told []planner.InstanceStatus, serving uint64) ([]planner.InstanceStatus, uint64) {
	n := 0
	for k, i := range told {
		if n += len(i.Endpoints); n <= maxToldEndpoints {
			continue
		}
		told = slices.Clone(told)
		for j := range told[k:] {
			told[k+j].Endpoints = nil
		}
		return told, 0
	}
	return told, serving
}

// statusDue reports whether the status is to be written, and with what haste:
// what others decide on at once, the rest when it has waited.
func (m *Member) statusDue() (st planner.NodeStatus, due, urgent bool) {
	st = m.ownStatus()
	e := m.entries[planner.StatusRef(m.self)]
	before := m.view.Nodes[m.self].Status
	if m.own.body == "" {
		m.own.body = st.Body()
		m.own.same = m.own.body == before.Body()
	}
	if e != nil && e.hash != "" && e.bad == "" && m.own.same {
		m.own.differs = 0
		return st, false, false
	}
	if m.own.differs == 0 {
		m.own.differs = m.now.Boot
	}
	quiet := quietStatus
	if m.view.Few > 0 {
		quiet = scarceStatus
	}
	urgent = before.Incarnation != st.Incarnation || matters(before, st)
	if urgent {
		return st, true, true
	}
	if !reflect.DeepEqual(endpoints(before), endpoints(st)) {
		quiet, urgent = servingStatus, true
	}
	m.own.wait = soonest(m.own.wait, m.own.differs+quiet, m.now.Boot)
	return st, m.now.Boot >= m.own.differs+quiet, urgent
}

// endpoints are the instances that take connections by a status.
func endpoints(st planner.NodeStatus) []planner.ServingInstance {
	var out []planner.ServingInstance
	for _, i := range st.Instances {
		if len(i.Endpoints) > 0 {
			out = append(out, planner.ServingInstance{Slot: i.Slot, Revision: i.Revision, Endpoints: i.Endpoints})
		}
	}
	return out
}

// matters reports whether coordinators decide by what changed.
func matters(a, b planner.NodeStatus) bool {
	if !reflect.DeepEqual(a.Refusals, b.Refusals) || !reflect.DeepEqual(a.Images, b.Images) || !slices.Equal(a.Pressure, b.Pressure) ||
		!slices.Equal(a.Ended, b.Ended) || (a.Failing == "") != (b.Failing == "") {
		return true
	}
	return !maps.Equal(facts(a), facts(b))
}

// fact is what coordinators decide by of one instance, but for what has time
// (InstanceStatus.Steady).
type fact struct {
	slot                       planner.SlotID
	token                      uint64
	ready, available, prepared bool
	failing, lapsed, hasRun    bool
}

func facts(st planner.NodeStatus) map[fact]bool {
	out := map[fact]bool{}
	for _, i := range st.Instances {
		f := fact{slot: i.Slot, token: i.Token}
		none := f
		f.ready, f.available, f.prepared = i.Phase == planner.PhaseReady, i.Available, i.Prepared
		f.failing, f.lapsed = i.Failing, i.Lapsed
		hook := slices.Contains(planner.HookKinds, planner.HookKind(i.Slot.Name))
		f.hasRun = i.Phase == planner.PhaseSucceeded || hook && i.Phase == planner.PhaseFailed
		if f != none {
			out[f] = true
		}
	}
	return out
}

// soonest is the earlier of two instants that lie ahead; one that has passed
// counts as none.
func soonest(a, b, now time.Duration) time.Duration {
	switch {
	case a <= now:
		return b
	case b <= now:
		return a
	}
	return min(a, b)
}

// beatDue reports whether a beat is to be written now: an answer to a value
// that is not of the own ring, or because peers cannot reach this node. The
// record comes first where somebody else's value stands (design L3).
func (m *Member) beatDue() (due, recordFirst bool) {
	n := m.view.Nodes[m.self]
	if !m.own.registered || n.Record.Fence != nil || m.own.foreign != "" {
		return false, false
	}
	switch n.BeatsKind {
	case planner.BeatRing:
		if !planner.OwesBeats(m.view, m.probed, m.now) {
			return false, false
		}
		at := m.own.beatAt + m.view.Beat
		if m.own.beatAt == 0 || m.now.Boot >= at {
			return true, false
		}
		m.own.wait = soonest(m.own.wait, at, m.now.Boot)
		return false, false
	case planner.BeatChallenge, planner.BeatMissing:
		return true, false
	}
	if m.own.wrote >= n.BeatsSince {
		return true, false
	}
	return false, true
}

// nextBeat is the next value of the own ring.
func (m *Member) nextBeat() planner.Record {
	ring := m.ringOf(m.self)
	if at, ok := ring.Index(m.view.Nodes[m.self].Beats); ok {
		return ring.At(at + 1)
	}
	return ring.At(m.own.beatIndex)
}

// Foreign says why this node has no part in the fleet although it can read
// and write the records: somebody else has its name; "" = nobody has.
func (m *Member) Foreign() string { return m.own.foreign }
