//go:build linux

package containerd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	"golang.org/x/sync/errgroup"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// allFilter selects every container of the driver.
const allFilter = `labels."` + labelInstance + `"`

// instanceFilter selects the containers of one instance.
func instanceFilter(id string) string { return allFilter + "==" + strconv.Quote(id) }

// List returns all instances, ordered by id.
func (d *Driver) List(ctx context.Context) ([]planner.Instance, error) {
	return d.list(d.context(ctx), allFilter)
}

func (d *Driver) list(ctx context.Context, filter string) ([]planner.Instance, error) {
	records, err := d.records(ctx, filter)
	if err != nil {
		return nil, err
	}
	processes, err := d.processes(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]container, len(records))
	for i, rec := range records {
		if rec.unlabelled {
			rec.Exposed = d.exposedByImage(ctx, rec)
		}
		all[i] = container{record: rec, process: processes[rec.ID]}
		delete(processes, rec.ID)
	}
	if err := askAgain(ctx, all, d.process); err != nil {
		return nil, err
	}
	byInstance := map[string][]container{}
	for _, c := range all {
		byInstance[c.Instance.ID] = append(byInstance[c.Instance.ID], c)
	}
	if filter == allFilter {
		d.seen.replace(records)
		for _, p := range processes {
			if err := d.addUnrecorded(ctx, byInstance, p); err != nil {
				return nil, err
			}
		}
	}
	out := make([]planner.Instance, 0, len(byInstance))
	for _, containers := range byInstance {
		out = append(out, d.instanceOf(containers))
	}
	slices.SortFunc(out, func(a, b planner.Instance) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

// container is a record and its process.
type container struct {
	record
	process *task.Process // nil = there is none
	silent  bool          // its shim does not answer: there may be one
}

// errSilentShim: containerd answers for a shim that has not for two seconds.
var errSilentShim = fmt.Errorf("its shim does not answer: %w", runtime.ErrUnavailable)

// maxAsked bounds the shims that are asked at once: one that is silent takes
// two seconds, and a listing has to end although many are.
const maxAsked = 16

// askAgain asks one by one for the processes of which the listing did not tell:
// it leaves out one that did not answer in time, or knows nothing of it but its
// name. Only the answer "not found" means it is gone.
func askAgain(ctx context.Context, all []container, process func(context.Context, string) (*task.Process, error)) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(maxAsked)
	for i := range all {
		c := &all[i]
		if c.process != nil && c.process.Status != task.Status_UNKNOWN {
			continue
		}
		g.Go(func() (err error) {
			c.process, err = process(ctx, c.ID)
			if c.silent = errors.Is(err, errSilentShim); c.silent {
				return nil
			}
			return err
		})
	}
	return g.Wait()
}

// records lists the labels of our containers.
func (d *Driver) records(ctx context.Context, filter string) ([]record, error) {
	stored, err := d.client.ContainerService().List(ctx, filter)
	if err != nil {
		return nil, d.fail("list containers", err)
	}
	records := make([]record, len(stored))
	for i, c := range stored {
		records[i] = parseLabels(c.ID, c.Labels)
		records[i].started = c.CreatedAt
	}
	return records, nil
}

// exposedByImage are the ports that the image of a container exposes which an
// agent made that wrote no label about them. Where the image is gone, so are
// they.
func (d *Driver) exposedByImage(ctx context.Context, rec record) []planner.ImagePort {
	if ports, known := d.seen.exposedBy(rec.Instance.ID, rec.ID); known {
		return ports
	}
	img, err := d.imageOf(ctx, runtime.Container{Image: rec.Image, Digest: rec.Digest})
	if err != nil && !errors.Is(err, runtime.ErrNotFound) && !errors.Is(err, runtime.ErrInvalid) {
		return nil // asked again with the next listing
	}
	return d.seen.exposes(rec, img.exposed())
}

// processes lists everything that containerd runs in our namespace, also what
// has lost its record.
func (d *Driver) processes(ctx context.Context) (map[string]*task.Process, error) {
	answer, err := d.client.TaskService().List(ctx, &tasks.ListTasksRequest{})
	if err != nil {
		return nil, d.fail("list processes", err)
	}
	out := make(map[string]*task.Process, len(answer.Tasks))
	for _, p := range answer.Tasks {
		out[p.ID] = p
	}
	return out, nil
}

// process asks for one process; nil without an error means there is none. It
// is ErrUnavailable while that cannot be known.
func (d *Driver) process(ctx context.Context, id string) (*task.Process, error) {
	answer, err := d.client.TaskService().Get(ctx, &tasks.GetRequest{ContainerID: id})
	if isGone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, d.fail("look for the process of "+id, err)
	}
	if answer.Process.Status == task.Status_UNKNOWN {
		return nil, fmt.Errorf("look for the process of %s: %w", id, errSilentShim)
	}
	return answer.Process, nil
}

// addUnrecorded lists a process that no listed record is about. Either its
// record was made after records were listed, or it was deleted.
func (d *Driver) addUnrecorded(ctx context.Context, byInstance map[string][]container, p *task.Process) error {
	prefix, ours := prefixOf(p.ID)
	if !ours {
		return nil
	}
	c, err := d.client.ContainerService().Get(ctx, p.ID)
	switch {
	case err != nil && !isGone(err):
		return d.fail("look for the record of "+p.ID, err)
	case err != nil || c.Labels[labelInstance] == "":
		d.addOrphan(byInstance, p, prefix)
		return nil
	}
	rec := parseLabels(c.ID, c.Labels)
	rec.started = c.CreatedAt
	byInstance[rec.Instance.ID] = append(byInstance[rec.Instance.ID], container{record: rec, process: p})
	return nil
}

// addOrphan lists a process whose record was deleted, as part of an instance
// that is not whole: somebody must remove it before its slot is used again.
// Where this driver has never seen the record, only the id is known.
func (d *Driver) addOrphan(byInstance map[string][]container, p *task.Process, prefix string) {
	rec, known := d.seen.record(p.ID)
	if !known {
		instance := strings.TrimSuffix(prefix, ".")
		rec = record{ID: p.ID, Instance: planner.Instance{ID: instance, Driver: planner.DriverContainerd}}
	}
	rec.Count = 0 // so that the instance counts as partial
	byInstance[rec.Instance.ID] = append(byInstance[rec.Instance.ID], container{record: rec, process: p})
}

// instanceOf derives the state of an instance from its containers.
//
//	running  every container there is runs
//	exited   every container was started, and one has ended
//	partial  anything else: an init container, a missing container, a process
//	         that was never started
//
// A record without a process was either cut off before it got one, or has
// lost it: to a reboot, which the label of the boot shows, or to the death of
// its shim, which only a driver that saw it run can tell.
func (d *Driver) instanceOf(containers []container) planner.Instance {
	slices.SortFunc(containers, func(a, b container) int { return a.Index - b.Index })
	in := containers[0].Instance
	in.StartedAt = containers[0].started
	states := map[planner.InstanceState]int{}
	for _, c := range containers {
		state := d.stateOf(c)
		states[state.State]++
		if c.Init || c.Count != len(containers) {
			states[planner.StatePartial]++
		}
		in.Containers = append(in.Containers, state)
		if e := state.Exit; e != nil && (in.Exit == nil || e.At.Before(in.Exit.At)) {
			in.Exit = e
		}
	}
	switch {
	case states[planner.StatePartial] > 0:
		in.State, in.Exit = planner.StatePartial, nil
	case states[planner.StateExited] > 0:
		in.State = planner.StateExited
	default:
		in.State = planner.StateRunning
	}
	if in.State != planner.StatePartial {
		d.seen.running(in.ID)
	}
	return in
}

func (d *Driver) stateOf(c container) planner.ContainerState {
	out := planner.ContainerState{Name: c.Container, Image: c.Image, Digest: c.Digest, Exposed: c.Exposed, State: planner.StatePartial}
	if c.silent {
		// Nothing says that it has ended: who waits for it will tell.
		out.State = planner.StateRunning
		return out
	}
	if c.process == nil {
		if c.Boot != d.bootID || d.seen.wasRunning(c.Instance.ID) {
			out.State = planner.StateExited
			out.Exit = &planner.Exit{Container: c.Container, Unknown: true}
		}
		return out
	}
	out.PID = int(c.process.Pid)
	switch c.process.Status {
	case task.Status_RUNNING, task.Status_PAUSED, task.Status_PAUSING:
		out.State = planner.StateRunning
	case task.Status_STOPPED:
		exit := d.exitOf(c.record, c.process.ExitStatus, c.process.ExitedAt.AsTime())
		out.State, out.Exit, out.PID = planner.StateExited, &exit, 0
	}
	return out
}

// exitOf describes an end. The runtime reports only code 128+n for a death by
// signal n, which a program may return too: n is a signal only if there is one
// of that number. A kill was the kernel's for memory if it counted one in the
// container's cgroup, which stays until the process is deleted.
func (d *Driver) exitOf(rec record, code uint32, at time.Time) planner.Exit {
	exit := planner.Exit{Container: rec.Container, Code: int(code), At: at}
	if n := int(code) - 128; n > 0 && n <= 64 {
		exit.Signal = n
	}
	if exit.Signal == int(syscall.SIGKILL) {
		exit.OOM = detectCgroups().oomKills(d.cgroupPath(rec.ID)) > 0
	}
	return exit
}

// seen is what this process knows beyond the labels. Losing it with the
// process costs precision, not safety.
type seen struct {
	mu      sync.Mutex
	records map[string]record // by container id, as last listed
	ran     map[string]bool   // instances that were complete
	// exposed are the ports of containers without a label for them, by instance
	// and container.
	exposed map[string]map[string][]planner.ImagePort
}

// running notes that an instance was started completely.
func (s *seen) running(instance string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ran == nil {
		s.ran = map[string]bool{}
	}
	s.ran[instance] = true
}

func (s *seen) wasRunning(instance string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ran[instance]
}

// exposedBy are the ports of a container as noted, if they were.
func (s *seen) exposedBy(instance, container string) ([]planner.ImagePort, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ports, known := s.exposed[instance][container]
	return ports, known
}

// exposes notes the ports of a container, and returns them.
func (s *seen) exposes(rec record, ports []planner.ImagePort) []planner.ImagePort {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.exposed == nil {
		s.exposed = map[string]map[string][]planner.ImagePort{}
	}
	if s.exposed[rec.Instance.ID] == nil {
		s.exposed[rec.Instance.ID] = map[string][]planner.ImagePort{}
	}
	s.exposed[rec.Instance.ID][rec.ID] = ports
	return ports
}

func (s *seen) record(id string) (record, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.records[id]
	return r, ok
}

// of lists the records of an instance as last listed.
func (s *seen) of(instance string) []record {
	s.mu.Lock()
	defer s.mu.Unlock()
	var records []record
	for _, r := range s.records {
		if r.Instance.ID == instance {
			records = append(records, r)
		}
	}
	return records
}

// replace takes in a full listing. What it does not hold stays known until it
// is removed: its process may still run.
func (s *seen) replace(records []record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.records == nil {
		s.records = map[string]record{}
	}
	for _, r := range records {
		s.records[r.ID] = r
	}
}

// forget drops a removed instance.
func (s *seen) forget(instance string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.ran, instance)
	delete(s.exposed, instance)
	for id, r := range s.records {
		if r.Instance.ID == instance {
			delete(s.records, id)
		}
	}
}
