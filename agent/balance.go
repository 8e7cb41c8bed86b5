package agent

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

const (
	balanceTimeout = 10 * time.Second
	balanceRetry   = 2 * time.Second
	// drainTime is how long an instance goes on after other instances took its
	// place: what was connected just before is answered, also by programs that
	// end at once when told to.
	drainTime = 500 * time.Millisecond
	// balancePatience is how long an instance's end waits for the kernel to lead
	// connections elsewhere. After it, what holds up a rollout does more harm
	// than the connections that are lost.
	balancePatience = time.Minute
)

// balance is what the loop knows of where connections are led.
type balance struct {
	kernel *balancer // nil = this node leads none
	wanted runtime.Balancing
	at     time.Duration // boot time when wanted was told last; 0 = not in this process
	retry  time.Duration // boot time of the next try after a failure
	fails  time.Duration // boot time since when it fails; 0 = it does not
	why    error         // of the failure
	// unsettled is the boot time since when too little is known to lead
	// connections; 0 = enough is.
	unsettled time.Duration
	// refused are the fronts that are wanted and not asked of the kernel, left
	// those that it cannot open.
	refused, left []runtime.LeftOut
	told          []api.NotOpened // what people were told of them
	own           ownPorts
	news          bool // what other nodes and the records are told has changed

	ending map[string]bool // instances whose end the last plan decided
	gather gathered
	// services are those that connections are led to, composedOf which following
	// they are of.
	services   map[planner.ServiceID]planner.Service
	composedOf uint64
	// led are the services of the last composition, by what connects to them.
	led map[planner.ServiceID]*composed
}

// composed is a service with what follows from it.
type composed struct {
	*led
	fronts []runtime.Front
}

func (b *balance) failed(now time.Duration, err error) {
	b.retry, b.why = now+balanceRetry, err
	if b.fails == 0 {
		b.fails = now
	}
}

// lead has connections led to what takes them. It comes before the plan's stops
// are carried out, so that an instance gets no new connection once its end is
// decided; the kernel holds the result, whatever becomes of the agent.
//
// Other nodes are told of an instance only once this one leads their
// connections to it, and that it ends before this one leads them elsewhere.
func (a *Agent) lead(ctx context.Context, plan planner.Plan) {
	if a.balance.kernel == nil {
		return
	}
	a.balance.ending = map[string]bool{}
	for _, action := range plan.Actions {
		a.balance.ending[action.Instance] = true
	}
	a.rebalance(ctx)
	a.depart(plan)
}

// rebalance is lead without a new plan.
func (a *Agent) rebalance(ctx context.Context) {
	b := &a.balance
	if b.kernel == nil {
		return
	}
	now := a.cfg.Clock().Boot
	if !a.settled() {
		if b.unsettled == 0 {
			b.unsettled = now
		}
		return
	}
	b.unsettled = 0
	if err := a.restoreNetwork(ctx); err != nil {
		b.failed(now, err)
		return
	}
	here, err := a.survey(ctx)
	if err != nil {
		a.problem("host ports", err)
		b.failed(now, err)
		return
	}
	changed := a.compose(here)
	defer a.showLed(false)
	serves := servedBy(b.led)
	a.tell(kept(a.serving.told, serves))
	fresh := b.at != 0 && b.fails == 0 && now-b.at < a.cfg.Resync
	if changed || !fresh {
		if !a.balanceNow(ctx) {
			return
		}
	}
	a.tell(serves)
	a.applied()
	a.keepNetwork()
	a.tellNames()
}

// balanceNow tells the kernel what is wanted, and reports whether it stands.
func (a *Agent) balanceNow(ctx context.Context) bool {
	b := &a.balance
	now := a.cfg.Clock().Boot
	if b.at == 0 && len(b.wanted.Fronts) == 0 && len(a.attached) == 0 && !a.net.balanced {
		b.retry, b.fails, b.why = 0, 0, nil
		a.notOpened(nil)
		return true // nothing was ever led anywhere
	}
	ctx, cancel := context.WithTimeout(ctx, balanceTimeout)
	defer cancel()
	left, err := b.kernel.balance(ctx, b.wanted)
	a.problem("balancing", err)
	if err != nil {
		b.failed(now, err)
		return false
	}
	// A port that is left out is asked for again with the next listing without a
	// hint.
	b.at, b.retry, b.fails, b.why = max(now, 1), 0, 0, nil
	a.notOpened(left)
	a.net.balanced = true
	return true
}

// settled reports whether enough is known to lead connections: a commit was
// ever accepted, and the drivers in use and the network have answered in this
// process. Before, nobody knows what is wanted and what runs, and connections
// are led as they were.
func (a *Agent) settled() bool {
	if a.state.followed.Commit.Hash == "" || a.cfg.Network != nil && a.network == nil {
		return false
	}
	for name, d := range a.drivers {
		if (!d.listed || d.info.Name == "") && a.uses(name) {
			return false
		}
	}
	return true
}

// connected reports whether the kernel may still lead new connections to an
// instance that is to end: it could not be told otherwise, and may yet.
func (a *Agent) connected(action planner.Action) bool {
	b := &a.balance
	since := cmp.Or(b.fails, b.unsettled)
	if b.kernel == nil || action.Kind != planner.ActionStop || action.Ordered || since == 0 || a.cfg.Clock().Boot-since > balancePatience {
		return false
	}
	if b.at == 0 { // a former process may have led them there
		s := a.state.followed.Services[action.Slot.Service]
		return len(s.Ports) > 0 || s.HasImagePorts()
	}
	address := a.attached[action.Instance].Address
	return slices.ContainsFunc(b.kernel.stands().Fronts, func(f runtime.Front) bool {
		return slices.ContainsFunc(f.Targets, func(t runtime.Target) bool { return t.Address == address })
	})
}

// relieved reports whether other instances, here or elsewhere, take the
// connections to the service of an instance that ends.
func (a *Agent) relieved(id planner.ServiceID, instance string) bool {
	s := a.balance.led[id]
	return s != nil && s.taken(instance)
}

// justStarted reports whether the action that keeps an instance busy was its
// start, and has ended.
func (a *Agent) justStarted(id string) bool {
	f := a.flights[id]
	return f != nil && f.over && f.action.Kind != planner.ActionStop && f.action.Kind != planner.ActionRemove
}
