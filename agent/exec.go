package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// findTime is how long the loop may take to say where a command is to run.
const findTime = 5 * time.Second

// bench is where a person's command runs.
type bench struct {
	driver    runtime.Driver
	info      runtime.Info
	instance  planner.Instance
	container string
}

// Exec runs a person's command in an instance of this node, as runtime.Execer
// does. It may be called from any goroutine.
func (a *Agent) Exec(ctx context.Context, req api.ExecRequest, streams runtime.Streams) (int, error) {
	var at bench
	finding, cancel := context.WithTimeout(ctx, findTime)
	defer cancel()
	err := a.onLoop(finding, func() (err error) {
		at, err = a.benchFor(req.Target, req.Container)
		return err
	})
	if err != nil {
		return 0, err
	}
	execer, can := at.driver.(runtime.Execer)
	if !can {
		return 0, fmt.Errorf("%s runs on driver %s, which runs no commands in its instances", at.instance.Slot, at.instance.Driver)
	}
	if streams.Terminal != nil && !at.info.Capabilities.Terminal {
		return 0, fmt.Errorf("%s runs on driver %s, which has no terminals: leave out -t", at.instance.Slot, at.instance.Driver)
	}
	// Arguments may be secrets: the log has the program alone.
	a.log.Info("exec", slog.Any("slot", at.instance.Slot), slog.String("container", at.container),
		slog.String("command", path.Base(req.Argv[0])), slog.Int("uid", req.UID))
	code, err := execer.Exec(ctx, at.instance.ID, at.container, req.Argv, streams)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return 0, fmt.Errorf("%s runs on driver %s, which runs no commands in its instances", at.instance.Slot, at.instance.Driver)
	case errors.Is(err, runtime.ErrNotFound):
		return 0, fmt.Errorf("%s of %s does not run any more: %w", at.container, at.instance.Slot, err)
	}
	return code, err
}

// benchFor finds the instance that people mean, and a container of it ("" =
// the first). The loop calls it.
func (a *Agent) benchFor(target, container string) (bench, error) {
	service, slot, err := a.find(target)
	if err != nil {
		return bench{}, err
	}
	running := map[planner.SlotID]planner.Instance{} // the newest of each slot
	all, _ := a.instances()
	for _, i := range all {
		if i.Slot.Service != service || slot != "" && i.Slot.Name != slot || !slices.ContainsFunc(i.Containers, runs) {
			continue
		}
		if other, several := running[i.Slot]; !several || i.Token > other.Token {
			running[i.Slot] = i
		}
	}
	switch len(running) {
	case 0:
		return bench{}, fmt.Errorf("%s does not run on this node now; orpheus why %s says more", target, target)
	case 1:
	default:
		var names []string
		for _, s := range slices.SortedFunc(maps.Keys(running), planner.SlotID.Compare) {
			names = append(names, s.String())
		}
		return bench{}, fmt.Errorf("%s runs here more than once: name one of %s", target, someOf(names))
	}
	at := bench{}
	for _, at.instance = range running { // the only one
	}
	d := a.drivers[at.instance.Driver]
	if d == nil {
		return bench{}, fmt.Errorf("%s runs on driver %s, which this node does not have any more", target, at.instance.Driver)
	}
	at.driver, at.info = d.driver, d.info
	var names []string
	for _, c := range at.instance.Containers {
		names = append(names, c.Name)
	}
	if container == "" && len(names) > 0 {
		container = names[0]
	}
	k := slices.Index(names, container)
	switch {
	case k < 0:
		return bench{}, fmt.Errorf("%s has no container %q; it has %s", at.instance.Slot, container, someOf(names))
	case !runs(at.instance.Containers[k]):
		return bench{}, fmt.Errorf("container %s of %s does not run now", container, at.instance.Slot)
	}
	at.container = container
	return at, nil
}

func runs(c planner.ContainerState) bool { return c.State == planner.StateRunning }
