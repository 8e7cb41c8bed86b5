package fleettest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// drawnChange is one thing that people change in a commit. make says in a few words
// what it was; "" = there was nothing to be changed so.
type drawnChange struct {
	weight int
	make   func(*Drawn) string
}

// changes are all that are drawn from.
var changes = []drawnChange{
	{6, addService},
	{2, func(d *Drawn) string { return addService(d) + ", " + addService(d) + ", " + addService(d) }},
	{3, removeService},
	{1, removeMany},
	{2, approveRemoval},
	{2, renameService},
	{8, edited("image", func(d *Drawn, s *planner.Service) bool { *s = changed(*s, fmt.Sprint(d.number())); return true })},
	{3, releaseAll},
	{3, template("env", func(d *Drawn, t *planner.Template) bool {
		t.Containers[0].Env = []planner.EnvVar{{Name: "GENERATION", Value: fmt.Sprint(d.number())}}
		return true
	})},
	{2, template("command", func(d *Drawn, t *planner.Template) bool {
		t.Containers[0].Command = []string{"serve", fmt.Sprint(d.number())}
		return true
	})},
	{1, template("restartedAt", func(d *Drawn, t *planner.Template) bool { t.RestartedAt = fmt.Sprint(d.number()); return true })},
	{6, edited("replicas", func(d *Drawn, s *planner.Service) bool { s.Replicas = d.rng.IntN(7); return !s.EveryNode })},
	{3, template("requests", func(d *Drawn, t *planner.Template) bool { d.requests(t, 600); return true })},
	{1, template("requests that nothing has", func(d *Drawn, t *planner.Template) bool { d.requests(t, 20000); return true })},
	{2, edited("ports", func(d *Drawn, s *planner.Service) bool { s.Ports = d.ports(); return true })},
	{2, drawnVolumes()},
	{1, drawnNetwork()},
	{2, fileContent()},
	{5, edited("update", func(d *Drawn, s *planner.Service) bool { d.update(s); return true })},
	{2, edited("minReadySeconds", func(d *Drawn, s *planner.Service) bool {
		s.MinReady = one(d, 0, 2*time.Second, 6*time.Second)
		return true
	})},
	{2, edited("nodeSelector", func(d *Drawn, s *planner.Service) bool {
		s.NodeSelector = one(d, nil, map[string]string{"zone": one(d, zones...)}, map[string]string{"disk": "fast"})
		return true
	})},
	{2, edited("tolerations", func(d *Drawn, s *planner.Service) bool {
		s.Tolerations = one(d, nil, []planner.Toleration{{Key: "special", Operator: "Exists"}}, []planner.Toleration{{Operator: "Exists"}})
		return true
	})},
	{2, edited("topologySpreadConstraints", func(d *Drawn, s *planner.Service) bool {
		s.Spread = one(d, nil,
			[]planner.SpreadConstraint{{TopologyKey: planner.LabelNode}}, // anti-affinity
			[]planner.SpreadConstraint{{TopologyKey: "zone", MaxSkew: 1 + d.rng.IntN(2)}},
			[]planner.SpreadConstraint{{TopologyKey: "zone", Soft: true}})
		return true
	})},
	{1, edited("everyNode", func(d *Drawn, s *planner.Service) bool {
		s.EveryNode = !s.EveryNode
		if s.Replicas = 0; !s.EveryNode {
			s.Replicas = 1 + d.rng.IntN(3)
		}
		return true
	})},
	{3, drawnHooks()},
	{3, drawnDependency()},
	{1, edited("labels", func(d *Drawn, s *planner.Service) bool {
		s.Labels = map[string]string{"team": fmt.Sprint(d.number())}
		return true
	})},
	{1, edited("file", func(d *Drawn, s *planner.Service) bool {
		s.File = fmt.Sprintf("moved/%d.yaml", d.number())
		return true
	})},
	{1, edited("names and balancing", func(d *Drawn, s *planner.Service) bool {
		s.Headless, s.ClientAffinity, s.Aliases = d.rng.IntN(2) == 0, d.rng.IntN(2) == 0, []string{fmt.Sprintf("alias%d", d.number())}
		return true
	})},
	{1, edited("reschedule", func(d *Drawn, s *planner.Service) bool { s.Reschedule.Failures = 1 + d.rng.IntN(4); return true })},
	{2, edited("suspend", func(d *Drawn, s *planner.Service) bool {
		if s.Suspend != nil {
			s.Suspend = nil
			return true
		}
		s.Suspend = &planner.Suspension{Until: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), Reason: "a freeze"}
		return d.rng.IntN(2) == 0
	})},
	{1, edited("mode", func(d *Drawn, s *planner.Service) bool {
		s.Observe = !s.Observe
		return s.Observe == (d.rng.IntN(4) == 0)
	})},
	{2, promote},
	{1, breakFile},
	{2, mendFiles},
	{1, badRelease},
	{8, sayOfNode},
	{3, clearNode},
	{1, fleetNodes},
}

var zones = []string{"a", "b", "c"}

// want has a service wanted, if it is one that a manifest may ask for.
func (d *Drawn) want(s planner.Service) {
	if s.Revision = planner.RevisionOf(s.Template); s.Template.SingleWriter() {
		s.Update.MaxSurge = nil
		if u := s.Update.MaxUnavailable; u != nil && u.Count == 0 {
			s.Update.MaxUnavailable = nil
		}
	}
	d.c.Want(rehooked(s))
}

// edited changes a field of some service.
func edited(what string, edit func(*Drawn, *planner.Service) bool) func(*Drawn) string {
	return func(d *Drawn) string {
		s, ok := d.some()
		if !ok || !edit(d, &s) {
			return ""
		}
		d.want(s)
		return what + " of " + s.ID.Name
	}
}

// template changes the template of some service.
func template(what string, edit func(*Drawn, *planner.Template) bool) func(*Drawn) string {
	return edited(what, func(d *Drawn, s *planner.Service) bool {
		s.Template.Containers = slices.Clone(s.Template.Containers)
		return edit(d, &s.Template)
	})
}

// addService adds one of any kind.
func addService(d *Drawn) string {
	if len(d.wanted().services) >= maxDrawn {
		return ""
	}
	// Names come in any order: which service is decided first goes by them.
	n := d.number()
	name := string(rune('a'+d.rng.IntN(26))) + fmt.Sprint(n)
	k := one(d, plain, plain, plain, plain, single, volumed, everyNode)
	s := service(name, k, 1+d.rng.IntN(4), fmt.Sprint(n), 50*(1+d.rng.Int64N(8)))
	if d.rng.IntN(4) == 0 {
		s.Ports = d.ports()
	}
	if d.rng.IntN(4) == 0 {
		d.update(&s)
	}
	if d.rng.IntN(3) == 0 {
		d.requests(&s.Template, 500)
	}
	d.want(s)
	return "adds " + name
}

func removeService(d *Drawn) string {
	s, ok := d.some()
	if !ok {
		return ""
	}
	d.remove(s.ID)
	return "removes " + s.ID.Name
}

// remove has nobody wait for what goes: the reader of manifests refuses that.
func (d *Drawn) remove(id planner.ServiceID) {
	delete(d.wanted().services, id)
	delete(d.wanted().broken, id)
	d.c.undepend(id)
}

// removeMany removes more than may go at once.
func removeMany(d *Drawn) string {
	ids := d.c.services()
	if len(ids) < 4 {
		return ""
	}
	for _, id := range ids[:3] {
		d.remove(id)
	}
	return fmt.Sprintf("removes %v", ids[:3])
}

// approveRemoval approves all deletions that wait.
func approveRemoval(d *Drawn) string {
	pending := d.c.machines[0].disk.followed.Pending
	for _, id := range sortedIDs(pending) {
		d.asks = append(d.asks, pending[id])
	}
	if len(pending) == 0 {
		return ""
	}
	return "approves deletions"
}

func renameService(d *Drawn) string {
	s, ok := d.some()
	if !ok {
		return ""
	}
	old := s.ID
	d.remove(old)
	s.ID.Name = string(rune('a'+d.rng.IntN(26))) + fmt.Sprint(d.number())
	s.File = s.ID.Name + ".yaml"
	d.want(s)
	return "renames " + old.Name + " to " + s.ID.Name
}

func releaseAll(d *Drawn) string {
	for _, id := range d.c.services() {
		d.want(changed(d.wanted().services[id], fmt.Sprint(d.number())))
	}
	return "releases all"
}

// requests asks for an amount of CPU and perhaps of memory.
func (d *Drawn) requests(t *planner.Template, most int64) {
	asked := planner.ResourceList{CPUMillis: most/10 + d.rng.Int64N(most)}
	if d.rng.IntN(2) == 0 {
		asked.MemoryBytes = (most/10 + d.rng.Int64N(most)) << 20
	}
	t.Containers = slices.Clone(t.Containers)
	t.Containers[0].Resources.Requests = asked
}

// ports are those of a service: some are opened to the world, of few numbers, so
// that services meet.
func (d *Drawn) ports() []planner.Port {
	p := planner.Port{Container: 8080, Protocol: "tcp", Port: 80 + d.rng.IntN(3)}
	switch d.rng.IntN(4) {
	case 0:
		p.Publish = &planner.Publish{Port: 8000 + d.rng.IntN(5)}
	case 1:
		p.Publish = &planner.Publish{Port: 8000 + d.rng.IntN(5), Mode: "node"}
	case 2:
		return nil
	}
	return []planner.Port{p}
}

// drawnVolumes gives a service a volume of another kind, or none.
func drawnVolumes() func(*Drawn) string {
	return template("volumes", func(d *Drawn, t *planner.Template) bool {
		t.Volumes = one(d, nil, []planner.Volume{{Name: "data", Local: &planner.LocalVolume{}}},
			[]planner.Volume{{Name: "data", EmptyDir: &planner.EmptyDirVolume{}}},
			[]planner.Volume{{Name: "data", HostPath: &planner.HostPathVolume{Path: "/srv"}}})
		t.Containers[0].VolumeMounts = nil
		if t.Volumes != nil {
			t.Containers[0].VolumeMounts = []planner.VolumeMount{{Name: "data", MountPath: "/data", ReadOnly: d.rng.IntN(3) == 0}}
		}
		return true
	})
}

// drawnNetwork takes a service to its node's network, or from it.
func drawnNetwork() func(*Drawn) string {
	return edited("network", func(d *Drawn, s *planner.Service) bool {
		s.Template.HostNetwork = !s.Template.HostNetwork
		s.Template.Containers = slices.Clone(s.Template.Containers)
		s.Template.Containers[0].Ports = nil
		if s.Template.HostNetwork {
			s.Ports = nil
			s.Template.Containers[0].Ports = []planner.ContainerPort{{ContainerPort: 8000 + d.rng.IntN(5)}}
		}
		return true
	})
}

// fileContent changes a file that a service mounts, its config.
func fileContent() func(*Drawn) string {
	return edited("a mounted file", func(d *Drawn, s *planner.Service) bool {
		sum := hexSum("file", d.number())
		s.Template.Volumes = append(slices.DeleteFunc(slices.Clone(s.Template.Volumes), func(v planner.Volume) bool { return v.File != nil }),
			planner.Volume{Name: "conf", File: &planner.FileVolume{SHA256: sum}})
		s.Files = []planner.File{{Volume: "conf", Path: "files/conf", SHA256: sum}}
		return true
	})
}

// update draws how a service is rolled out, within what manifests may say.
func (d *Drawn) update(s *planner.Service) {
	u := planner.Update{Promoted: s.Update.Promoted}
	amount := func(least int) *planner.Amount {
		if d.rng.IntN(3) == 0 {
			return &planner.Amount{Count: 25 * (1 + d.rng.IntN(4)), Percent: true}
		}
		return &planner.Amount{Count: least + d.rng.IntN(4)}
	}
	u.StopFirst = d.rng.IntN(4) == 0
	surges := !u.StopFirst && d.rng.IntN(2) == 0
	if surges {
		u.MaxSurge = amount(1)
	} else if !u.StopFirst && d.rng.IntN(3) == 0 {
		u.MaxSurge = &planner.Amount{}
	}
	if d.rng.IntN(2) == 0 {
		u.MaxUnavailable = amount(1)
		if surges {
			u.MaxUnavailable = amount(0)
		}
	}
	if d.rng.IntN(3) == 0 {
		u.Steps = []planner.UpdateStep{{Slots: planner.Amount{Count: 1}, Pause: time.Duration(d.rng.IntN(3)) * 5 * time.Second, Approve: d.rng.IntN(3) == 0}}
		if d.rng.IntN(2) == 0 {
			u.Steps = append(u.Steps, planner.UpdateStep{Slots: planner.Amount{Count: 50 + 10*d.rng.IntN(5), Percent: true}, Pause: time.Duration(d.rng.IntN(3)) * 5 * time.Second})
		}
	}
	u.NoRevert = d.rng.IntN(6) == 0
	s.Update = u
}

// drawnHooks gives a service hooks, or takes them.
func drawnHooks() func(*Drawn) string {
	return edited("hooks", func(d *Drawn, s *planner.Service) bool {
		s.Hooks = nil
		for _, kind := range planner.HookKinds {
			if d.rng.IntN(2) == 0 {
				if s.Hooks == nil {
					s.Hooks = map[planner.HookKind]planner.Hook{}
				}
				s.Hooks[kind] = hook(s.ID.Name, kind, fmt.Sprint(d.number()), time.Minute)
			}
		}
		return true
	})
}

// drawnDependency has a service wait for another that comes before it by name, so
// that there is no circle.
func drawnDependency() func(*Drawn) string {
	return edited("dependsOn", func(d *Drawn, s *planner.Service) bool {
		on, _ := d.some()
		s.DependsOn = nil
		if on.ID.Compare(s.ID) < 0 {
			s.DependsOn = []planner.Dependency{{Service: on.ID, Condition: one(d, planner.DependsReady, planner.DependsStarted)}}
		}
		return true
	})
}

// promote lets a rollout pass its steps.
func promote(d *Drawn) string {
	for _, id := range d.c.services() {
		s := d.wanted().services[id]
		if planner.RolloutOf(s, d.c.witness.docs[id], d.view()).State == planner.RolloutWaiting {
			s.Update.Promoted = string(s.Revision)
			d.want(s)
			return "promotes " + id.Name
		}
	}
	return ""
}

// breakFile makes a file of the next commits unreadable, mendFiles all readable.
func breakFile(d *Drawn) string {
	s, ok := d.some()
	if !ok {
		return ""
	}
	d.wanted().broken[s.ID] = true
	return "a fault in the file of " + s.ID.Name
}

func mendFiles(d *Drawn) string {
	if len(d.wanted().broken) == 0 {
		return ""
	}
	clear(d.wanted().broken)
	return "mends all faults"
}

// badRelease releases what does not work, on its own: no forecast foresees it. The
// commits that follow find it in the state that it leaves.
func badRelease(d *Drawn) string {
	s, ok := d.some()
	if !ok {
		return ""
	}
	s.ProgressDeadline = 30 * time.Second
	s = changed(s, fmt.Sprintf("%s%d", one(d, wedged, crashing), d.number()))
	d.want(s)
	return "a bad release of " + s.ID.Name
}

// sayOfNode says something more of a node.
func sayOfNode(d *Drawn) string {
	m := one(d, d.c.machines...)
	spec := d.wanted().nodes[m.node]
	spec.Name, spec.File = m.node, "nodes/"+string(m.node)+".yaml"
	what := ""
	switch d.rng.IntN(7) {
	case 0, 1:
		spec.Drain, what = true, "drains"
	case 2:
		spec.Unschedulable, what = true, "cordons"
	case 3:
		spec.Taints, what = []planner.Taint{{Key: one(d, "special", "gone"), Effect: one(d, "NoSchedule", "NoExecute")}}, "taints"
	default:
		spec.Labels, what = maps.Clone(spec.Labels), "labels"
		if spec.Labels == nil {
			spec.Labels = map[string]string{}
		}
		if d.rng.IntN(3) == 0 {
			spec.Labels["disk"] = one(d, "fast", "slow")
		} else {
			spec.Labels["zone"] = one(d, zones...)
		}
	}
	d.wanted().nodes[m.node] = spec
	return what + " " + string(m.node)
}

// clearNode takes back what was said of nodes, but for labels.
func clearNode(d *Drawn) string {
	var said []string
	for _, m := range d.c.machines {
		spec, is := d.wanted().nodes[m.node]
		if !is || !spec.Drain && !spec.Unschedulable && len(spec.Taints) == 0 || d.rng.IntN(3) == 0 {
			continue
		}
		spec.Drain, spec.Unschedulable, spec.Taints = false, false, nil
		d.wanted().nodes[m.node] = spec
		said = append(said, string(m.node))
	}
	if len(said) == 0 {
		return ""
	}
	return "takes back " + strings.Join(said, " ")
}

// fleetNodes lists the nodes of the fleet in fleet.yaml, all or all but one, or none.
func fleetNodes(d *Drawn) string {
	w := d.wanted()
	if len(w.fleet.Nodes) > 0 {
		w.fleet.Nodes = nil
		return "fleet.yaml lists no nodes"
	}
	for _, m := range d.c.machines {
		w.fleet.Nodes = append(w.fleet.Nodes, m.node)
	}
	if len(w.fleet.Nodes) > 1 && d.rng.IntN(2) == 0 {
		w.fleet.Nodes = w.fleet.Nodes[1:]
	}
	return fmt.Sprintf("fleet.yaml lists %v", w.fleet.Nodes)
}
