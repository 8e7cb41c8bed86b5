package manifest

import (
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	yaml "go.yaml.in/yaml/v3"
)

// hook is one of spec.hooks as written: what differs from the container that it
// is derived from.
type hook struct {
	container string // "" = the first
	planner.Container
	timeout int // seconds; 0 = the default
}

// hooks are spec.hooks as written.
type hooks struct{ pre, post *hook }

var hooksSchema = newSchema(
	pointer("preRollout", hookSchema, func(h *hooks) **hook { return &h.pre }).in("Hook"),
	pointer("postRollout", hookSchema, func(h *hooks) **hook { return &h.post }).in("Hook"),
).foreign(hooksHabits...)

var hookSchema = newSchema(
	text("container", dnsLabel(63), func(h *hook) *string { return &h.container }),
	text("image", imageReference, func(h *hook) *string { return &h.Image }),
	special("command", commandShape, decodeHookCommand),
	texts("args", maxArguments, longText, func(h *hook) *[]string { return &h.Args }),
	objects("env", maxEnv, envSchema, func(h *hook) *[]planner.EnvVar { return &h.Env }),
	object("resources", resourcesSchema, func(h *hook) *planner.Resources { return &h.Resources }),
	objects("volumeMounts", maxVolumes, mountSchema, func(h *hook) *[]planner.VolumeMount { return &h.VolumeMounts }),
	number("timeoutSeconds", 1, maxSeconds, func(h *hook) *int { return &h.timeout }),
).foreign(hookHabits...).like("{command: [/app, migrate]}")

var commandShape = listShape(maxArguments, longText.shape()).atLeast(1)

const hookCommand = "without one a hook would run the service itself"

func decodeHookCommand(d *decoder, v value, into *hook) {
	texts("command", maxArguments, longText, func(h *hook) *[]string { return &h.Command }).decode(d, v, into)
	if v.node.Kind == yaml.SequenceNode && len(v.node.Content) == 0 {
		d.wrong(v, "must not be empty: "+hookCommand, "name the program and its arguments")
	}
}

// hookPlan is a hook that is made once the service's revision is known.
type hookPlan struct {
	kind      planner.HookKind
	base      int // index in Template.Containers
	over      planner.Container
	resources bool // over has them
	mounts    bool
	timeout   time.Duration
}

// hooks checks the hooks and says how they are made.
func (w *writtenService) hooks() []hookPlan {
	var plans []hookPlan
	for _, h := range []struct {
		kind planner.HookKind
		*hook
	}{{planner.HookPreRollout, w.spec.hooks.pre}, {planner.HookPostRollout, w.spec.hooks.post}} {
		if h.hook == nil || !w.d.has("spec.hooks."+h.kind.Field()) {
			continue // not given, or no object: said already
		}
		p := hookPlan{kind: h.kind, base: w.checkHook("spec.hooks."+h.kind.Field(), h.hook), over: h.Container,
			resources: w.d.has("spec.hooks." + h.kind.Field() + ".resources"), mounts: w.d.has("spec.hooks." + h.kind.Field() + ".volumeMounts"), timeout: time.Duration(h.timeout) * time.Second}
		zeroIf(&p.timeout, planner.DefaultProgressDeadline)
		plans = append(plans, p)
	}
	return plans
}

// checkHook looks at a hook as a whole, gives defaults their zero value, and
// returns the index of the container that it is derived from.
func (w *writtenService) checkHook(at string, h *hook) (base int) {
	d := w.d
	c := placed{&container{Container: h.Container}, at}
	if !d.has(at+".command") && (h.Image == "" || w.isProcess()) {
		d.fault(at+".command", "is required: without one, or an image of its own, a hook would run the service itself", "name the program and its arguments")
	}
	switch given := d.has(at + ".image"); {
	case given && w.isProcess():
		d.fault(at+".image", "the process driver runs no image", "remove it")
	case given && h.Image != "":
		w.checkImage(c)
	}
	if w.isProcess() && d.has(at+".volumeMounts") {
		d.fault(at+".volumeMounts", noMounts, "remove it: the path is in $ORPHEUS_VOLUME_<NAME>")
	}
	w.checkEnv(c)
	w.checkExpansion(c)
	checkResources(d, at+".resources", &h.Resources)
	return w.baseOf(at+".container", h.container)
}

// hookContainers are what hooks say of their containers.
func (w *writtenService) hookContainers() []placed {
	var all []placed
	for _, kind := range planner.HookKinds {
		h := w.spec.hooks.pre
		if kind == planner.HookPostRollout {
			h = w.spec.hooks.post
		}
		if h != nil {
			all = append(all, placed{&container{Container: h.Container}, "spec.hooks." + kind.Field()})
		}
	}
	return all
}

// baseOf finds the container that a hook is derived from.
func (w *writtenService) baseOf(at, name string) int {
	if name == "" {
		return 0
	}
	var names []string
	for i, c := range w.main {
		if c.Name == name {
			return i
		}
		names = append(names, c.Name)
	}
	if slices.ContainsFunc(w.init, func(c placed) bool { return c.Name == name }) {
		w.d.fault(at, quote(name)+" is an init container", "name one of spec.containers")
		return 0
	}
	remedy := suggest(name, names)
	if remedy == "" {
		remedy = "name one of spec.containers, or remove it: the first is taken"
	}
	w.d.fault(at, "there is no container "+quote(name), remedy)
	return 0
}

// withHooks gives the service its hooks. Its template and revision are final.
func (s *service) withHooks(out *planner.Service) {
	if len(s.hooks) == 0 {
		return
	}
	out.Hooks = make(map[planner.HookKind]planner.Hook, len(s.hooks))
	for _, p := range s.hooks {
		t := p.template(*out)
		out.Hooks[p.kind] = planner.Hook{Template: t, Revision: planner.RevisionOf(t), Timeout: p.timeout}
	}
}

// template is what a hook runs: the container it is derived from with what the
// hook says instead, once, without what is for those who use a server (ports,
// probes, the end of connections) and without what other instances may write.
func (p hookPlan) template(s planner.Service) planner.Template {
	t := planner.Template{
		Driver:                        s.Template.Driver,
		HostNetwork:                   s.Template.HostNetwork,
		Hostname:                      s.Template.Hostname,
		HostAliases:                   s.Template.HostAliases,
		DNS:                           s.Template.DNS,
		Sysctls:                       s.Template.Sysctls,
		TerminationGracePeriodSeconds: s.Template.TerminationGracePeriodSeconds,
		Once:                          true,
		Of:                            s.Revision,
	}
	if t.Hostname == "" && len(s.ID.Name)+len("-")+len(p.kind) > maxHostname {
		t.Hostname = s.ID.Name
	}
	kept := map[string]bool{}
	for _, v := range s.Template.Volumes {
		if v.File != nil || v.EmptyDir != nil {
			t.Volumes, kept[v.Name] = append(t.Volumes, v), true
		}
	}
	if p.base < len(s.Template.Containers) { // else a fault holds the service back
		t.Containers = []planner.Container{p.container(s.Template.Containers[p.base], kept)}
	}
	return t
}

func (p hookPlan) container(c planner.Container, volumes map[string]bool) planner.Container {
	c.Ports, c.StartupProbe, c.LivenessProbe, c.ReadinessProbe, c.Lifecycle = nil, nil, nil, nil, nil
	c.Command, c.Args = p.over.Command, p.over.Args
	if p.over.Image != "" {
		c.Image = p.over.Image
	}
	if p.resources {
		c.Resources = p.over.Resources
	}
	overridden := func(e planner.EnvVar) bool {
		return slices.ContainsFunc(p.over.Env, func(o planner.EnvVar) bool { return o.Name == e.Name })
	}
	if len(p.over.Env) > 0 {
		c.Env = append(slices.DeleteFunc(slices.Clone(c.Env), overridden), p.over.Env...)
	}
	if p.mounts {
		c.VolumeMounts = p.over.VolumeMounts
	}
	c.VolumeMounts = slices.DeleteFunc(slices.Clone(c.VolumeMounts), func(m planner.VolumeMount) bool { return !volumes[m.Name] })
	return c
}
