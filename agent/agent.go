// Package agent is the loop of a node: look, plan, act, report.
//
// One goroutine owns everything. Looks at the repository, listings of drivers
// and finished work reach it as messages; after each it runs a pass, which
// takes no time: settle the newest commit over what is followed, decide
// leases, compare them with what the drivers list, and hand the resulting
// actions to workers, one per instance at a time. Slow things (pulls, starts,
// stops, listings) never run on the loop, so one failing slot or driver never
// holds up another.
//
// Listings are the truth. Exits, events and finished actions only make the
// agent list again; what an action did is believed when it is listed.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/agent/notify"
	"github.com/orpheus-cd/orpheus/agent/probe"
	"github.com/orpheus-cd/orpheus/agent/reach"
	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// Config is what an agent is made of. Drivers, Network and Volumes outlive it.
type Config struct {
	Node    planner.Node
	Version string
	// StateDir is the agent's own folder. It must be locked by the caller
	// (Lock): two agents on one folder would grant the same tokens.
	StateDir string
	Source   Source
	Drivers  map[string]runtime.Driver
	Network  runtime.Network // nil: instances of this node cannot have their own network
	// Balancer leads connections to instances; nil: nobody does on this node.
	// HostPorts gives instances ports for other nodes, nil: those that have their
	// own network are reached from this one only.
	Balancer  runtime.Balancer
	HostPorts runtime.HostPorts
	Names     Names // nil: nobody answers for the names of services on this node
	// Dial tries whether what is elsewhere answers; nil = over TCP.
	Dial    func(ctx context.Context, address string) (net.Conn, error)
	Volumes runtime.Volumes
	Policy  planner.Policy
	Clock   Clock // nil = SystemClock
	// Boot names this run of the machine, on whose clock boot times count; "" = as
	// the kernel does.
	Boot     string
	Log      *slog.Logger
	Metrics  *Metrics  // nil = not measured
	Fleet    *Fleet    // nil = the node grants leases to itself (coordination: none)
	Pressure *Pressure // nil = the node is never short of anything
	Floor    FloorConfig
	// Relate says how a commit stands to another, both full ids, as the Source
	// knows them. Only the loop calls it, and waits for it. With an error, which
	// says why, the answer is not known yet.
	Relate func(commit, other string) (planner.Relation, error)
	// Notify is handed what there is to tell others, after a pass and no more
	// often than once a second. It must not wait. nil = nobody is told.
	Notify func(notify.Facts)

	// Resync is how often drivers are listed without a hint; 0 = 10 s.
	Resync time.Duration
	// Starts bounds how many instances start at once; 0 = 8. Those that have
	// not started after 10 s (init containers at work) are not counted.
	Starts int
	// LogMaxBytes bounds each container's log file; 0 = 10 MiB. LogFiles older
	// ones are kept beside it; 0 = 2.
	LogMaxBytes int64
	LogFiles    int
}

func (c *Config) setDefaults() error {
	if c.Node.Name == "" || c.StateDir == "" || c.Source == nil || c.Relate == nil || len(c.Drivers) == 0 || c.Volumes == nil || c.Log == nil {
		return errors.New("agent: node name, state folder, source, relations of its commits, drivers, volumes and log are required")
	}
	if c.Clock == nil {
		c.Clock = SystemClock
	}
	if c.Boot == "" {
		c.Boot = bootID()
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics()
	}
	if c.Resync == 0 {
		c.Resync = 10 * time.Second
	}
	if c.Starts == 0 {
		c.Starts = 8
	}
	if c.LogMaxBytes == 0 {
		c.LogMaxBytes = 10 << 20
	}
	if c.LogFiles == 0 {
		c.LogFiles = 2
	}
	return nil
}

// Agent runs one node. Make it with New, run it once.
type Agent struct {
	cfg       Config
	log       *slog.Logger
	startedAt time.Time

	// mailbox carries messages to the loop; closures run on it, one at a time.
	mailbox  chan func()
	ended    chan struct{} // closed when the loop has ended
	workers  sync.WaitGroup
	starts   gate
	stops    gate
	pulls    gate
	shown    livePulls
	ledShown shownLed
	reach    *reach.Watch // nil = nothing elsewhere is watched
	polling  atomic.Int64 // the fleet's poll interval

	// Everything below belongs to the loop.
	state      state
	here       []planner.ServiceID // services that run here by what is followed, in no order
	followings uint64              // how often what is followed was replaced
	desired    *planner.Desired    // newest accepted reading in this process
	approved   []string            // with desired, not settled yet
	source     sourceState
	floor      *floor // nil in a fleet
	forgetful  bool   // there was no floor when the process began
	statefile  bool   // this process has read or written the state file
	drivers    map[string]*driverState
	tracks     map[string]*track                        // by instance id
	flights    map[string]*flight                       // by instance id
	prepares   map[planner.RevisionKey]*preparation     // wanted or done in this process
	waits      map[planner.LeaseKey]planner.Wait        // of the last plan
	observed   []planner.Action                         // that the last plan leaves to people
	attached   map[string]runtime.Attachment            // by instance id
	restored   bool                                     // attached was read from the network
	hostPorts  map[string]map[runtime.ContainerPort]int // by instance id
	balance    balance
	serving    serving
	net        networkMemory
	names      names
	network    *api.Network      // what the node's network says of itself; nil = nothing yet
	subnets    [2]string         // of the node's network: IPv4, IPv6; "" = none
	problems   map[string]string // by what failed
	timer      *time.Timer
	swept      time.Duration   // boot time of the last sweep; 0 = none yet
	sweeping   map[string]bool // what a sweep under way spares; nil = none
	unwritten  bool            // the last pass could not write the leases it decided
	unsaved    bool            // followed changed since the state was last saved
	orders     []order         // of people
	ends       ends            // of runs
	progress   progress        // of instances and leases
	restarts   []restart       // of services here, at most one each
	pressure   *pressure
	probes     *probe.Engine
	probeNews  chan struct{}                // probes have news
	decideAt   time.Duration                // boot time at which leases are decided again by time alone
	waitsFor   map[planner.ServiceID]string // by what this node decides alone
	notifying  notifying
	firsts     firstReleases
	once       *onceRuns
	onceKnown  time.Duration // boot time from which what is missing of what was begun is gone
	fleet      *membership   // nil = coordination: none
}

const (
	statePath = "state.json"
	// stateMode lets others pass through the state folder, to what is theirs: a
	// process that runs as another user reaches its volumes. Nothing is listed
	// for them.
	stateMode = 0o711
)

// New makes an agent and reads the state of its last run. It touches neither
// Git nor drivers.
func New(cfg Config) (*Agent, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	a := &Agent{
		cfg:       cfg,
		log:       cfg.Log.With("node", cfg.Node.Name),
		startedAt: cfg.Clock().Wall,
		mailbox:   make(chan func(), 256),
		ended:     make(chan struct{}),
		starts:    newGate(cfg.Starts, 10*time.Second),
		stops:     newGate(4*cfg.Starts, 10*time.Second),
		pulls:     newGate(4, time.Minute),
		drivers:   map[string]*driverState{},
		tracks:    map[string]*track{},
		flights:   map[string]*flight{},
		prepares:  map[planner.RevisionKey]*preparation{},
		attached:  map[string]runtime.Attachment{},
		hostPorts: map[string]map[runtime.ContainerPort]int{},
		serving:   serving{heard: map[planner.NodeName]planner.Heard{}, applied: map[planner.NodeName]heardOf{}},
		problems:  map[string]string{},
		probeNews: make(chan struct{}, 1),
	}
	for name, d := range cfg.Drivers {
		a.drivers[name] = newDriverState(name, d)
	}
	var err error
	if a.state, err = loadState(filepath.Join(cfg.StateDir, statePath)); err != nil {
		a.problem("earlier state", err) // stays: the next one that is written does not cure it
	}
	if a.orders, err = loadHolds(filepath.Join(cfg.StateDir, holdsPath)); err != nil {
		a.problem("holds", err)
	}
	if cfg.Fleet == nil {
		if a.restarts, err = loadRestarts(filepath.Join(cfg.StateDir, restartsPath)); err != nil {
			a.problem("restarts", err)
		}
	}
	if a.probes, err = a.newProbes(filepath.Join(cfg.StateDir, probesPath)); err != nil {
		a.problem("probes", err)
	}
	if err = a.loadEnds(); err != nil {
		a.problem("ends", err)
	}
	if err = a.loadProgress(); err != nil {
		a.problem("earlier progress", err) // stays, as no one to come cures it
	}
	a.pressure = newPressure(cfg.Pressure)
	a.pressure.ran = loadRan(filepath.Join(cfg.StateDir, ranPath))
	if cfg.Fleet == nil {
		a.state.claim(cfg.Node.Name)
		a.openFloor()
	} else {
		a.fleet = newMembership(cfg.Fleet, a)
		a.problem(problemFloorFile, dropFloor(cfg.StateDir, cfg.Floor.Copy))
		a.problem("restarts", dropRestarts(filepath.Join(cfg.StateDir, restartsPath)))
	}
	if err = a.loadOnceRuns(filepath.Join(cfg.StateDir, oncePath)); err != nil {
		a.problem("hooks begun", err)
	}
	if a.fleet != nil {
		a.refusedOnce()
	}
	if cfg.Balancer != nil {
		a.balance.kernel = &balancer{to: cfg.Balancer}
		a.balance.own.listening, _ = cfg.Balancer.(runtime.Listening)
		a.problem("network memory", a.loadNetwork())
		if a.fleet != nil {
			a.reach = a.newReach()
		}
	}
	a.statefile = a.state.followed.Commit.Hash != ""
	a.followed(a.state.followed)
	a.report()
	return a, nil
}

// Run keeps the node in the state its commit asks for until ctx ends. It
// leaves every instance running.
func (a *Agent) Run(ctx context.Context) error {
	if err := os.MkdirAll(a.cfg.StateDir, stateMode); err != nil {
		return fmt.Errorf("make the agent's folder: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer a.workers.Wait()
	defer close(a.ended)
	defer cancel()
	a.timer = time.NewTimer(0)
	defer a.timer.Stop()
	looks := a.cfg.Source.Follow(ctx, func() time.Duration { return time.Duration(a.polling.Load()) })
	for _, name := range slices.Sorted(maps.Keys(a.drivers)) {
		a.follow(ctx, a.drivers[name])
	}
	a.work(func() { a.tendLogs(ctx) })
	a.watchPressure(ctx)
	a.watchProbes(ctx)
	if a.cfg.Network != nil {
		a.work(func() { a.watchNetwork(ctx) })
	}
	if a.fleet != nil {
		a.watchPeers(ctx)
		a.watchVolumes(ctx)
	}
	if a.reach != nil {
		a.work(func() { _ = a.reach.Run(ctx) }) // ends with ctx only
	}
	if a.cfg.Names != nil {
		a.followNames(ctx)
	}
	a.log.Info("agent started", "commit", a.state.followed.Commit.Short())
	for {
		select {
		case <-ctx.Done():
			a.log.Info("agent stopping: instances keep running")
			return nil
		case look, ok := <-looks:
			if !ok {
				looks = nil // ctx has ended
				continue
			}
			a.look(ctx, look)
		case message := <-a.mailbox:
			message()
			a.drain()
		case <-a.timer.C:
		}
		a.pass(ctx)
	}
}

// drain runs the messages that are waiting, so that one pass serves them all.
func (a *Agent) drain() {
	for {
		select {
		case message := <-a.mailbox:
			message()
		default:
			return
		}
	}
}

// post hands a message to the loop; after its end it is dropped.
func (a *Agent) post(message func()) {
	select {
	case a.mailbox <- message:
	case <-a.ended:
	}
}

// work runs f on a goroutine that Run waits for.
func (a *Agent) work(f func()) { a.workers.Go(f) }

// Problem notes that something beside the agent, which belongs to this node, does
// not work, or with a nil error that it does again. Status shows it. It may be
// called by any goroutine, and waits for the loop if that is far behind.
func (a *Agent) Problem(what string, err error) { a.post(func() { a.problem(what, err) }) }

// problem notes that something of the node itself does not work, or with a
// nil error that it does again. Each change is logged once, but for one of
// numbers only (amounts, ports): the status shows that.
func (a *Agent) problem(what string, err error) {
	before, known := a.problems[what]
	switch {
	case err == nil && known:
		delete(a.problems, what)
		a.log.Info("recovered", "what", what)
	case err != nil:
		a.problems[what] = oneLine(err)
		if !known || !gitsync.SameFailure(errors.New(before), err) {
			a.log.Warn("problem", "what", what, "err", err)
		}
	}
}

// Status is the state of the node after the last pass; safe from any
// goroutine. The result must not be changed.
func (a *Agent) Status() *api.Status { return a.shown.get() }
