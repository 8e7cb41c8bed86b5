package plugin

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime/plugin/pluginpb"
)

// Instances and exits on their way to the agent, which checks them: from*
// fails on what no driver may say.

const (
	maxInstances  = 10_000
	maxContainers = 100
	maxName       = 512 // bytes of a name, reference or digest
)

var states = map[planner.InstanceState]pluginpb.State{
	planner.StatePartial: pluginpb.State_STATE_PARTIAL,
	planner.StateRunning: pluginpb.State_STATE_RUNNING,
	planner.StateExited:  pluginpb.State_STATE_EXITED,
}

func toInstance(i planner.Instance) *pluginpb.Instance {
	return &pluginpb.Instance{
		Id: i.ID, Slot: toSlot(i.Slot), Node: string(i.Node), Epoch: i.Epoch, Token: i.Token, Revision: string(i.Revision),
		State: states[i.State], Exit: toExit(i.Exit), StartedAt: toTime(i.StartedAt), GracePeriod: durationpb.New(i.GracePeriod),
		Containers: each(i.Containers, func(c planner.ContainerState) *pluginpb.ContainerState {
			return &pluginpb.ContainerState{
				Name: c.Name, Image: c.Image, Digest: c.Digest, Pid: int64(c.PID), State: states[c.State], Exit: toExit(c.Exit),
				Exposed: each(c.Exposed, func(p planner.ImagePort) *pluginpb.ImagePort {
					return &pluginpb.ImagePort{Port: uint32(p.Port), Protocol: p.Protocol}
				}),
			}
		}),
	}
}

// fromInstance reads one entry of a listing of the driver with this name.
func fromInstance(driver string, i *pluginpb.Instance) (planner.Instance, error) {
	id := i.GetId()
	if !validID(id) {
		return planner.Instance{}, fmt.Errorf("an instance has the id %q", cut(id, 80))
	}
	out := planner.Instance{
		ID: id, Driver: driver, Slot: fromSlot(i.GetSlot()), Node: planner.NodeName(i.GetNode()), Epoch: i.GetEpoch(), Token: i.GetToken(),
		Revision: planner.Revision(i.GetRevision()), StartedAt: fromTime(i.GetStartedAt()), GracePeriod: i.GetGracePeriod().AsDuration(),
	}
	err := checkNames(out.Slot.Service.Namespace, out.Slot.Service.Name, out.Slot.Name, i.GetNode(), i.GetRevision())
	switch {
	case err != nil:
	case out.GracePeriod < 0:
		err = errors.New("a negative grace period")
	case len(i.GetContainers()) > maxContainers:
		err = fmt.Errorf("%d containers", len(i.GetContainers()))
	default:
		out.State, out.Exit, err = fromState(i.GetState(), i.GetExit())
	}
	for _, c := range i.GetContainers() {
		if err != nil {
			break
		}
		var state planner.ContainerState
		state, err = fromContainerState(c)
		out.Containers = append(out.Containers, state)
	}
	if err != nil {
		return planner.Instance{}, fmt.Errorf("instance %s: %w", id, err)
	}
	return out, nil
}

func fromContainerState(c *pluginpb.ContainerState) (planner.ContainerState, error) {
	out := planner.ContainerState{Name: c.GetName(), Image: c.GetImage(), Digest: c.GetDigest(), PID: int(c.GetPid())}
	if err := checkNames(out.Name, out.Image, out.Digest); err != nil {
		return planner.ContainerState{}, err
	}
	if c.GetPid() < 0 || c.GetPid() > 1<<22 { // the kernel's own limit
		return planner.ContainerState{}, fmt.Errorf("process id %d", c.GetPid())
	}
	out.Exposed = fromExposed(c.GetExposed())
	var err error
	out.State, out.Exit, err = fromState(c.GetState(), c.GetExit())
	return out, err
}

// fromExposed leaves out what is no port, and more than anybody uses.
func fromExposed(ports []*pluginpb.ImagePort) []planner.ImagePort {
	var texts []string
	for _, p := range ports[:min(len(ports), planner.MaxImagePorts)] {
		texts = append(texts, fmt.Sprintf("%d/%s", p.GetPort(), p.GetProtocol()))
	}
	return planner.ParseImagePorts(texts)
}

// fromState keeps state and exit together: an exit that is missing is unknown.
func fromState(s pluginpb.State, e *pluginpb.Exit) (planner.InstanceState, *planner.Exit, error) {
	switch s {
	case pluginpb.State_STATE_PARTIAL:
		return planner.StatePartial, nil, nil
	case pluginpb.State_STATE_RUNNING:
		return planner.StateRunning, nil, nil
	case pluginpb.State_STATE_EXITED:
		exit, err := fromExit(e)
		return planner.StateExited, &exit, err
	}
	return "", nil, fmt.Errorf("state %d", s)
}

func toExit(e *planner.Exit) *pluginpb.Exit {
	if e == nil {
		return nil
	}
	return &pluginpb.Exit{
		Container: e.Container, Code: int32(e.Code), Signal: int32(e.Signal), Oom: e.OOM, At: toTime(e.At), Unknown: e.Unknown,
	}
}

func fromExit(e *pluginpb.Exit) (planner.Exit, error) {
	if e == nil {
		return planner.Exit{Code: 255, Unknown: true}, nil
	}
	if e.GetCode() < 0 || e.GetCode() > 255 || e.GetSignal() < 0 || e.GetSignal() > 64 {
		return planner.Exit{}, fmt.Errorf("exit code %d by signal %d", e.GetCode(), e.GetSignal())
	}
	return planner.Exit{
		Container: e.GetContainer(), Code: int(e.GetCode()), Signal: int(e.GetSignal()), OOM: e.GetOom(),
		At: fromTime(e.GetAt()), Unknown: e.GetUnknown(),
	}, checkNames(e.GetContainer())
}

func toTime(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// fromTime takes a time that makes no sense for one that is not known.
func fromTime(t *timestamppb.Timestamp) time.Time {
	if t == nil || !t.IsValid() {
		return time.Time{}
	}
	return t.AsTime()
}

func checkNames(names ...string) error {
	for _, name := range names {
		if len(name) > maxName {
			return fmt.Errorf("a name of %d bytes", len(name))
		}
	}
	return nil
}

// validID reports whether it is an id that the agent may have given.
func validID(id string) bool {
	if id == "" || len(id) > 63 || id[0] == '.' || id[0] == '-' {
		return false
	}
	for _, r := range id {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '.' && r != '-' {
			return false
		}
	}
	return true
}
