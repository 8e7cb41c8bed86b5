package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/agent/fleet"
	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// Fleet is what makes a node one of a fleet: it agrees with others on leases
// instead of granting them to itself.
type Fleet struct {
	// Member is what the node says of itself and how records are signed.
	// Random, Relate, Memory and Log are the agent's.
	Member fleet.Config
	// Open connects to the records; place is what fleet.yaml says of them, nil
	// = nothing. It is called again when that changes.
	Open func(place *planner.RecordsPlace) (Board, error)
	// Peers is the node's part in watching others; nil = it has none.
	Peers Peers
	// Hint asks the Source for a look now.
	Hint func()
	// Relate says how a commit stands to another, from the clone.
	Relate func(commit, followed string) planner.Relation
	Random func() uint64
}

// Board is where the records are.
type Board interface {
	gitsync.Board
	// Probe finds out what the server can do; scratch names a record that
	// nobody else uses.
	Probe(ctx context.Context, scratch string) (gitsync.Abilities, error)
	// URL names the repository without credentials.
	URL() string
	Close() error
}

// Peers watches other nodes and is watched by them.
type Peers interface {
	Run(ctx context.Context) error
	Watch(peers []fleet.Peer, known map[string]planner.NodeName)
	Say(suspects []planner.NodeName, blind bool)
	Poke(nodes []fleet.Peer)
	Sightings() <-chan fleet.Sighting
	Pokes() <-chan planner.NodeName
	Probed() <-chan planner.NodeName
	// Problem says why other nodes cannot reach this one; "" = they can.
	Problem() string
}

// membership is the agent's part in the fleet. It belongs to the loop.
type membership struct {
	cfg    *Fleet
	member *fleet.Member
	memory string // path of the member's memory

	place   *planner.RecordsPlace // of board
	board   Board                 // nil = not opened yet
	able    bool                  // what the board can do is known
	server  *server               // of the last probe
	probing bool
	retryAt time.Duration

	begun    time.Duration // boot time of this process's start
	unsaved  bool          // the memory could not be written
	next     time.Duration // of the member
	refused  map[planner.RevisionKey]string
	volumes  []planner.SlotID
	standing planner.Standing // that is acted on
	watching *fleet.Watchlist // that peers were last told
	said     string           // to them, to tell changes
	rate     rate
}

// memoryFile is the file of the member's memory.
type memoryFile struct {
	fleet.Memory
	Server *server `json:"server,omitempty"`
}

// server is what a probe found out about the records' server. A probe pushes,
// so it is not repeated at every start.
type server struct {
	URL    string            `json:"url"`
	Able   gitsync.Abilities `json:"able"`
	Probed time.Time         `json:"probed"`
}

const (
	memoryPath = "membership.json"
	probeAgain = 24 * time.Hour
	// firstLook is how long a start waits for the records before it begins what
	// the last process ran: by now it may run elsewhere.
	firstLook    = 5 * time.Second
	boardTimeout = 30 * time.Second
	boardRetry   = 5 * time.Second
)

// newMembership reads what the last process knew of the fleet. A memory that
// cannot be read is set aside: what was seen before is then not known, which
// costs the alarm about a restored server, nothing else.
func newMembership(cfg *Fleet, a *Agent) *membership {
	ms := &membership{cfg: cfg, memory: filepath.Join(a.cfg.StateDir, memoryPath), refused: map[planner.RevisionKey]string{}}
	c := cfg.Member
	c.Random, c.Relate, c.Log = cfg.Random, cfg.Relate, a.log
	data, err := readBounded(ms.memory, maxState)
	var file memoryFile
	if err == nil {
		err = json.Unmarshal(data, &file)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		file = memoryFile{}
		a.problem("membership", setAside(ms.memory, err))
	}
	c.Memory, ms.server = file.Memory, file.Server
	now := a.cfg.Clock()
	ms.member, ms.begun = fleet.New(c, now), now.Boot
	return ms
}

// watchPeers runs the node's peers and turns what they say into messages.
func (a *Agent) watchPeers(ctx context.Context) {
	p := a.fleet.cfg.Peers
	if p == nil {
		return
	}
	a.work(func() {
		if err := p.Run(ctx); err != nil && ctx.Err() == nil {
			a.post(func() { a.problem("peers", err) })
		}
	})
	a.work(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case s := <-p.Sightings():
				a.post(func() { a.fleet.member.Heard(s, a.cfg.Clock()) })
			case <-p.Pokes():
				a.post(func() {
					a.fleet.member.Poked(a.cfg.Clock())
					a.fleet.cfg.Hint()
				})
			case <-p.Probed():
				a.post(func() { a.fleet.member.Probed(a.cfg.Clock()) })
			}
		}
	})
}

// takePart brings this node's part in the fleet up to date: it tells the
// member how its instances fare, does what the member asks for, and takes over
// the leases that stand. Nothing of it blocks but writing to disk.
func (a *Agent) takePart(ctx context.Context, all []planner.Instance) {
	ms := a.fleet
	a.openBoard(ctx)
	now := a.cfg.Clock()
	ms.member.Report(a.tellFleet(all), now)
	if ms.board != nil && ms.able {
		a.step(ctx, now)
	}
	if !ms.unsaved {
		a.adoptStanding(all)
	}
	if p := ms.cfg.Peers; p != nil {
		a.tellPeers(p)
	}
	a.polling.Store(int64(a.sourceInterval()))
	view := ms.member.View()
	var alarm error
	if view.Alarm != "" {
		alarm = errors.New(view.Alarm)
	}
	a.problem("records", alarm)
	if p := ms.cfg.Peers; p != nil {
		var port error
		if why := p.Problem(); why != "" {
			port = errors.New(why)
		}
		a.problem("peer port", port)
	}
	var denied error
	if why := ms.member.Denied(); why != "" {
		denied = errors.New("the Git server refuses the records of this node: " + why)
	}
	a.problem("pushes", denied)
	var foreign error
	if why := ms.member.Foreign(); why != "" {
		foreign = errors.New(why)
	}
	a.problem("name", foreign)
}

// step asks the member what to do and does it.
func (a *Agent) step(ctx context.Context, now planner.Time) {
	ms := a.fleet
	todo := ms.member.Step(now)
	ms.next = todo.Next
	ms.unsaved = ms.unsaved || todo.Save
	push := todo.Push
	if ms.unsaved {
		if err := a.saveMemory(); err != nil {
			a.notPushed(push, err, now)
			push = nil
			a.problem("membership", fmt.Errorf("%w: nothing is agreed with the fleet until it can be written", err))
			ms.next = min(ms.next, now.Boot+time.Second)
		} else {
			ms.unsaved = false
			a.problem("membership", nil)
		}
	}
	board := ms.board
	if todo.List {
		a.ask(ctx, func(ctx context.Context) func(planner.Time) {
			list, err := board.List(ctx)
			return func(now planner.Time) { a.listedRecords(list, err, now) }
		})
	}
	if len(todo.Read) > 0 {
		a.ask(ctx, func(ctx context.Context) func(planner.Time) {
			reading, err := board.Read(ctx, todo.Read)
			return func(now planner.Time) { ms.member.Read(reading, err, now) }
		})
	}
	if push != nil {
		a.ask(ctx, func(ctx context.Context) func(planner.Time) {
			results, err := board.Swap(ctx, *push)
			return func(now planner.Time) { ms.member.Pushed(results, err, now) }
		})
	}
	for _, commit := range todo.Specs {
		a.learn(ctx, commit)
	}
	for _, key := range todo.Resolve {
		a.resolve(ctx, key)
	}
	if len(todo.Poke) > 0 && ms.cfg.Peers != nil {
		ms.cfg.Peers.Poke(todo.Poke)
	}
	if todo.Fetch {
		ms.cfg.Hint()
	}
}

// notPushed tells the member that a push was never sent.
func (a *Agent) notPushed(push *gitsync.Push, err error, now planner.Time) {
	if push == nil {
		return
	}
	results := make([]gitsync.Result, len(push.Changes))
	for i := range results {
		results[i] = gitsync.Result{Outcome: gitsync.Lost, Reason: "it was not sent"}
	}
	a.fleet.member.Pushed(results, err, now)
}

// ask runs a request to the board on a worker and hands its outcome to the
// member on the loop.
func (a *Agent) ask(ctx context.Context, request func(context.Context) func(planner.Time)) {
	a.work(func() {
		bounded, cancel := context.WithTimeout(ctx, boardTimeout)
		tell := request(bounded)
		cancel()
		if ctx.Err() == nil {
			a.post(func() { tell(a.cfg.Clock()) })
		}
	})
}

// listedRecords takes in a listing. Where it shows the branch too, a new tip
// saves the source its own look.
func (a *Agent) listedRecords(list gitsync.Listing, err error, now planner.Time) {
	ms := a.fleet
	ms.member.Listed(list, err, now)
	src := a.source.look
	if err == nil && list.Tip != "" && string(list.Tip) != src.Commit.Hash || (err == nil) != (src.Err == nil) {
		ms.cfg.Hint()
	}
}

// early reports whether nothing is started yet: the records are about to tell
// what of the last process's work is still this node's.
func (a *Agent) early() bool {
	if a.fleet == nil || a.fleet.member.Whole() {
		return false
	}
	failed, _ := a.fleet.member.Look()
	return failed == "" && a.cfg.Clock().Boot < a.fleet.begun+firstLook
}

// openBoard connects to the records once a commit says where they are, and
// finds out what their server can do.
func (a *Agent) openBoard(ctx context.Context) {
	ms := a.fleet
	f := a.state.followed
	now := a.cfg.Clock().Boot
	if f.Commit.Hash == "" || ms.probing || ms.retryAt > now {
		return
	}
	if ms.board != nil && !samePlace(ms.place, f.Fleet.Records) {
		a.log.Warn("records have moved: they are read from their new place", "url", ms.board.URL())
		left := ms.board
		a.work(func() { _ = left.Close() }) // connections only
		ms.board, ms.able = nil, false
	}
	if ms.board == nil {
		board, err := ms.cfg.Open(f.Fleet.Records)
		a.problem("records' repository", err)
		if err != nil {
			ms.retryAt = now + boardRetry
			return
		}
		ms.board, ms.place = board, f.Fleet.Records
	}
	if ms.able {
		return
	}
	if s := ms.server; s != nil && s.URL == ms.board.URL() {
		if age := a.cfg.Clock().Wall.Sub(s.Probed); age >= 0 && age < probeAgain {
			ms.able = true
			ms.member.Able(s.Able)
			return
		}
	}
	ms.probing = true
	board := ms.board
	a.ask(ctx, func(ctx context.Context) func(planner.Time) {
		able, err := board.Probe(ctx, string(a.cfg.Node.Name))
		return func(now planner.Time) { a.probed(board, able, err, now) }
	})
}

func samePlace(a, b *planner.RecordsPlace) bool {
	return a == b || a != nil && b != nil && *a == *b
}

func (a *Agent) probed(board Board, able gitsync.Abilities, err error, now planner.Time) {
	ms := a.fleet
	ms.probing = false
	if err == nil && !able.Compares {
		err = errors.New("its server changes refs without comparing their old value: no leases can be agreed on there; use another server for the records")
	}
	a.problem("records' repository", err)
	if err != nil || ms.board != board {
		ms.retryAt = now.Boot + boardRetry
		return
	}
	ms.able, ms.unsaved = true, true
	ms.server = &server{URL: board.URL(), Able: able, Probed: now.Wall}
	ms.member.Able(able)
	a.log.Info("records can be written", "url", board.URL(), "atomic", able.Atomic, "v2", able.V2)
}

func (a *Agent) saveMemory() error {
	data, err := json.Marshal(memoryFile{Memory: a.fleet.member.Memory(), Server: a.fleet.server})
	if err != nil {
		return fmt.Errorf("encode membership: %w", err)
	}
	if err := os.MkdirAll(a.cfg.StateDir, stateMode); err != nil {
		return fmt.Errorf("write membership: %w", err)
	}
	if err := writeDurably(a.fleet.memory, data); err != nil {
		return fmt.Errorf("write membership: %w", err)
	}
	return nil
}

// tellPeers keeps the node's peers up to date.
func (a *Agent) tellPeers(p Peers) {
	ms := a.fleet
	if w := ms.member.Peers(); w != ms.watching {
		ms.watching = w
		p.Watch(w.Probe, w.Known)
	}
	suspects, blind := ms.member.Suspected(), ms.member.Blind()
	if said := fmt.Sprint(suspects, blind); said != ms.said {
		ms.said = said
		p.Say(suspects, blind)
	}
}

// resolve asks the registry for the digests of a revision's images, on behalf
// of the whole fleet.
func (a *Agent) resolve(ctx context.Context, key planner.RevisionKey) {
	tell := func(digests map[string]string, err error) {
		a.post(func() { a.fleet.member.Resolved(key, digests, err, a.cfg.Clock()) })
	}
	s := a.state.followed.Services[key.Service]
	d := a.drivers[s.Template.DriverName()]
	var resolver runtime.Resolver
	if d != nil {
		resolver, _ = d.driver.(runtime.Resolver)
	}
	if s.Revision != key.Revision || resolver == nil || len(planner.Admit(a.cfg.Policy, s)) > 0 {
		a.work(func() { tell(nil, errors.New("this node cannot ask the registry")) })
		return
	}
	refs := s.Template.Images()
	a.work(func() {
		bounded, cancel := context.WithTimeout(ctx, boardTimeout)
		defer cancel()
		digests := map[string]string{}
		for _, ref := range refs {
			digest, err := resolver.Resolve(bounded, ref)
			if err != nil {
				tell(nil, err)
				return
			}
			digests[ref] = digest
		}
		tell(digests, nil)
	})
}

// learn reads the services of an older commit, whose revisions are still
// leased somewhere.
func (a *Agent) learn(ctx context.Context, commit string) {
	a.work(func() {
		bounded, cancel := context.WithTimeout(ctx, boardTimeout)
		defer cancel()
		loaded, err := a.cfg.Source.Load(bounded, planner.Commit{Hash: commit}, "")
		if err != nil {
			a.log.Warn("older commit cannot be read: its revisions are taken for ones that may not run side by side", "commit", commit, "err", err)
			return
		}
		a.post(func() { a.fleet.member.Learned(loaded.Desired.Services, a.cfg.Clock()) })
	})
}

// adoptStanding makes the leases that stand for this node the ones it works
// by, once they are on disk.
func (a *Agent) adoptStanding(all []planner.Instance) {
	ms := a.fleet
	standing := ms.member.Standing()
	a.unwritten = false
	var docs []planner.LeaseDoc
	for _, id := range sortedServices(standing.Docs) {
		if doc := standing.Docs[id]; !sameDuties(doc, a.state.docs[id]) {
			docs = append(docs, doc)
		}
	}
	for _, id := range sortedServices(a.state.docs) {
		if _, stands := standing.Docs[id]; !stands {
			docs = append(docs, planner.LeaseDoc{Service: id})
		}
	}
	if len(docs) > 0 || a.unsaved || a.lacksSpec() {
		next := a.state.with(docs)
		for _, doc := range next.docs {
			for _, l := range doc.Leases {
				if spec, ok := ms.member.Spec(l.Revision); ok {
					next.specs[l.Revision] = spec
				}
			}
		}
		for id, doc := range next.docs {
			if len(doc.Leases) == 0 {
				delete(next.docs, id)
			}
		}
		if err := next.save(filepath.Join(a.cfg.StateDir, statePath), true); err != nil {
			a.problem("state", fmt.Errorf("%w: nothing new is started or stopped until it can be written", err))
			a.unwritten = true
			return
		}
		a.problem("state", nil)
		a.state, a.unsaved = next, false
	}
	ms.standing = standing
	a.want(a.waitingRevisions())
}

// lacksSpec reports whether the template of a leased revision has become known.
func (a *Agent) lacksSpec() bool {
	for _, doc := range a.state.docs {
		for _, l := range doc.Leases {
			if _, here := a.state.specs[l.Revision]; here {
				continue
			}
			if _, known := a.fleet.member.Spec(l.Revision); known {
				return true
			}
		}
	}
	return false
}

// sameDuties reports whether two documents ask the same of this node.
func sameDuties(a, b planner.LeaseDoc) bool {
	if a.Commit != b.Commit || !slices.Equal(a.Leases, b.Leases) {
		return false
	}
	for _, l := range a.Leases {
		if fmt.Sprint(a.Images[l.Revision]) != fmt.Sprint(b.Images[l.Revision]) {
			return false
		}
	}
	return true
}

// waitingRevisions lists the revisions whose images are made ready although
// their instance cannot start yet: its predecessor has to stop first, and
// should do so only for something that can take its place.
func (a *Agent) waitingRevisions() []planner.RevisionKey {
	var keys []planner.RevisionKey
	for _, id := range sortedServices(a.state.docs) {
		leases := a.state.docs[id].Leases
		for k, l := range leases {
			waits := a.fleet.standing.Behind[planner.LeaseKey{Service: id, Token: l.Token}] != "" ||
				slices.ContainsFunc(leases[:k], func(o planner.Lease) bool { return o.Slot == l.Slot })
			if waits && a.state.followed.Services[id].Revision == l.Revision {
				keys = append(keys, planner.RevisionKey{Service: id, Revision: l.Revision})
			}
		}
	}
	return slices.Compact(keys)
}

// ResetFloor is a person's word that the records are as they should be; see
// fleet.Member. It may be called from any goroutine.
func (a *Agent) ResetFloor(ctx context.Context, commit string) error {
	if a.fleet == nil {
		return errors.New("this node takes no part in a fleet (coordination: none)")
	}
	answer := make(chan error, 1)
	select {
	case a.mailbox <- func() { answer <- a.fleet.member.ResetFloor(commit, a.cfg.Clock()) }:
	case <-a.ended:
		return errors.New("the agent has ended")
	case <-ctx.Done():
		return errors.New("the agent's loop does not answer")
	}
	select {
	case err := <-answer:
		return err
	case <-a.ended:
		return errors.New("the agent has ended")
	case <-ctx.Done():
		return errors.New("the agent's loop does not answer")
	}
}

// floorRetry is how often a commit below the floor is judged again: a person
// may reset the floor.
const floorRetry = 10 * time.Second

// belowFloor says why a commit may not be followed although it is the tip of
// the branch: it does not come after what the fleet has followed already
// (design L6).
func (a *Agent) belowFloor(commit planner.Commit) string {
	if a.fleet == nil {
		return ""
	}
	for _, floor := range a.fleet.member.Floors() {
		switch a.fleet.cfg.Relate(floor, commit.Hash) {
		case planner.RelationSame, planner.RelationAncestor:
			continue
		}
		short := planner.Commit{Hash: floor}.Short()
		return fmt.Sprintf("it does not come after commit %s, which the fleet has followed: the branch was set back or rewritten. "+
			"Bring %s back into its history (git revert undoes a commit without that), or, if it is meant so: orpheus floor reset %s",
			short, short, commit.Short())
	}
	return ""
}

// watchVolumes lists the node's local volumes now and then: the slots they
// belong to are bound to this node.
func (a *Agent) watchVolumes(ctx context.Context) {
	a.work(func() {
		for {
			bounded, cancel := context.WithTimeout(ctx, listTimeout)
			local, err := a.cfg.Volumes.Local(bounded)
			cancel()
			a.post(func() {
				a.problem("local volumes", err)
				if err == nil {
					a.fleet.volumes = slotsOf(local)
				}
			})
			if !pause(ctx, time.Minute) {
				return
			}
		}
	})
}

func slotsOf(local []runtime.LocalVolume) []planner.SlotID {
	var slots []planner.SlotID
	for _, v := range local {
		slots = append(slots, v.Slot)
	}
	slices.SortFunc(slots, planner.SlotID.Compare)
	return slices.Compact(slots)
}
