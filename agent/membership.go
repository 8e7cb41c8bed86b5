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
	Hint   func()
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
	// Announce says which instances of this node take connections, to these
	// peers, until each has acknowledged it.
	Announce(a planner.Announcement, to []fleet.Peer)
	Announcements() <-chan fleet.Announced
	// Applied acknowledges an announcement: connections are led by it here.
	Applied(node planner.NodeName, incarnation string, serving uint64)
	// Awaited lists the peers that are worth waiting for until they lead
	// connections by what was announced as this number. Acknowledgements tells
	// that there may be fewer.
	Awaited(serving uint64) []planner.NodeName
	Acknowledgements() <-chan struct{}
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
	frozen   time.Duration // boot time since which the fleet is ahead of the source; 0 = it is not
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
	c.Random, c.Log = cfg.Random, a.log
	c.Relate = func(commit, followed string) planner.Relation {
		relation, _ := a.cfg.Relate(commit, followed) // unknown with an error
		return relation
	}
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
	a.hearPeers(ctx)
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
		a.announce()
	}
	a.polling.Store(int64(a.sourceInterval()))
	view := ms.member.View()
	var alarm error
	if view.Alarm != "" {
		alarm = errors.New(view.Alarm)
	}
	a.problem("records", alarm)
	a.noticeFrozen(now)
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
	s, known := a.serviceOf(key)
	d := a.drivers[s.Template.DriverName()]
	var resolver runtime.Resolver
	if d != nil {
		resolver, _ = d.driver.(runtime.Resolver)
	}
	if !known || resolver == nil || len(planner.Admit(a.cfg.Policy, s)) > 0 {
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
