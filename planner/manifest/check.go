package manifest

import (
	"fmt"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// check applies the rules that concern more than one field, and gives
// defaults their zero value on the way.
func (w *writtenService) check() {
	d := w.d
	if d.has("spec.everyNode") && w.spec.everyNode && d.has("spec.replicas") {
		d.fault("spec.replicas", "is given beside everyNode", "remove one of them")
	}
	w.checkDriver()
	w.checkNames()
	w.checkVolumes()
	w.checkMounts()
	w.checkPorts()
	w.checkNetwork()
	w.checkHostAliases()
	w.checkDNS()
	w.checkSysctls()
	for _, c := range w.all() {
		w.checkEnv(c)
		w.checkExpansion(c)
		checkResources(d, c.at+".resources", &c.Resources)
		w.checkDevices(c)
		w.checkUlimits(c)
		w.checkUser(c)
		w.checkProbes(c)
	}
	for _, c := range w.init {
		for _, name := range []string{"startupProbe", "livenessProbe", "readinessProbe", "lifecycle"} {
			if d.has(c.at + "." + name) {
				d.fault(c.at+"."+name, "is not possible on an init container", "remove it")
			}
		}
	}
}

func (w *writtenService) checkDriver() {
	switch w.spec.driver {
	case "", planner.DriverContainerd:
		for _, c := range w.all() {
			w.checkImage(c)
		}
	case planner.DriverProcess:
		w.checkProcess()
	default:
		w.checkPlugin()
	}
}

// checkPlugin asks for what any driver of a plugin needs. What else it can do
// only the nodes that have it know.
func (w *writtenService) checkPlugin() {
	for _, c := range w.all() {
		if w.d.has(c.at) && c.Image == "" && len(c.Command)+len(c.Args) == 0 {
			w.d.fault(c.at+".command", "is required where there is no image",
				"name what the driver "+quote(w.spec.driver)+" runs (if you did not mean a plugin: the built-in drivers are containerd and process)")
		}
	}
}

func (w *writtenService) checkImage(c placed) {
	switch at := c.at + ".image"; {
	case !w.d.has(at):
		if !w.d.has(c.at) {
			return // the item is not an object: said already
		}
		w.d.fault(at, "is required", "name an image, or write driver: process")
	case c.Image != "" && bareImage(c.Image):
		w.d.warn(at, quote(c.Image)+" has neither tag nor digest: latest is taken, and pinned to its digest at the first start", "name a version")
	}
}

// checkProcess refuses what a process on the host cannot have.
func (w *writtenService) checkProcess() {
	d := w.d
	if len(w.init) > 0 {
		d.fault("spec.initContainers", "the process driver runs one process", "remove it")
	}
	if len(w.main) > 1 {
		d.fault("spec.containers", "the process driver runs one process", "make each a service of its own")
	}
	if d.has("spec.hostname") {
		d.fault("spec.hostname", "a process has the host name of its node", "remove it")
	}
	for _, c := range w.all() {
		if d.has(c.at + ".image") {
			d.fault(c.at+".image", "the process driver runs no image", "remove it, or the line driver: process")
		}
		if d.has(c.at + ".volumeMounts") {
			d.fault(c.at+".volumeMounts", noMounts, "remove it: the path is in $ORPHEUS_VOLUME_<NAME>")
		}
		if d.has(c.at + ".init") {
			d.fault(c.at+".init", "a process is nobody's first: it gets all signals, and what it leaves behind is reaped anyway", "remove it")
		}
		if d.has(c.at) && len(c.Command) == 0 {
			d.fault(c.at+".command", "is required", "name the program and its arguments")
		}
	}
}

const noMounts = "a process sees volumes where they are on the node"

func (w *writtenService) checkNames() {
	first := map[string]string{}
	for _, c := range w.all() {
		if c.Name == "" {
			continue
		}
		if at, ok := first[c.Name]; ok {
			w.d.fault(c.at+".name", "container "+quote(c.Name)+" exists already, as "+at, "choose another name")
			continue
		}
		first[c.Name] = c.at
	}
}

func (w *writtenService) checkVolumes() {
	d, first := w.d, map[string]bool{}
	for i := range w.spec.volumes {
		v := &w.spec.volumes[i]
		at := fmt.Sprintf("spec.volumes[%d]", i)
		if v.Name != "" && first[v.Name] {
			d.fault(at+".name", "volume "+quote(v.Name)+" exists already", "choose another name")
		}
		first[v.Name] = true
		if d.has(at) && v.sources(d, at) != 1 {
			d.fault(at, "must have exactly one of local, emptyDir, hostPath and file", "keep the one that is meant")
		}
		if e := v.EmptyDir; e != nil && e.SizeLimit > 0 && e.Medium == "" {
			d.fault(at+".emptyDir.sizeLimit", "is not possible on disk", "add medium: Memory, or remove it")
		}
		if v.file != "" {
			v.File = &planner.FileVolume{}
			w.files = append(w.files, fileRef{i, v.file, at + ".file", d.where(at + ".file")})
		}
	}
}

func (w *writtenService) checkMounts() {
	d := w.d
	volumes, used := map[string]*volume{}, map[string]bool{}
	for i := range w.spec.volumes {
		volumes[w.spec.volumes[i].Name] = &w.spec.volumes[i]
	}
	for _, c := range w.all() {
		w.checkMountsOf(c.at, c.VolumeMounts, volumes)
		for _, m := range c.VolumeMounts {
			used[m.Name] = true
		}
	}
	for _, c := range w.hookContainers() {
		w.checkMountsOf(c.at, c.VolumeMounts, volumes)
		for i, m := range c.VolumeMounts {
			if v := volumes[m.Name]; v != nil && (v.Local != nil || v.HostPath != nil) {
				d.fault(fmt.Sprintf("%s.volumeMounts[%d].name", c.at, i), "volume "+quote(m.Name)+" belongs to an instance that may be running", "mount what has file or emptyDir")
			}
			used[m.Name] = true
		}
	}
	if w.isProcess() {
		return // sees all volumes
	}
	for i, v := range w.spec.volumes {
		if v.Name != "" && !used[v.Name] {
			d.warn(fmt.Sprintf("spec.volumes[%d].name", i), "volume "+quote(v.Name)+" is mounted nowhere", "")
		}
	}
}

// checkMountsOf looks at the mounts of one container.
func (w *writtenService) checkMountsOf(at string, mounts []planner.VolumeMount, volumes map[string]*volume) {
	paths := map[string]bool{}
	for i := range mounts {
		m := &mounts[i]
		at := fmt.Sprintf("%s.volumeMounts[%d]", at, i)
		if m.MountPath != "" && paths[m.MountPath] {
			w.d.fault(at+".mountPath", quote(m.MountPath)+" is mounted already", "choose another path")
		}
		paths[m.MountPath] = true
		v := volumes[m.Name]
		if m.Name != "" && v == nil {
			w.d.fault(at+".name", "there is no volume "+quote(m.Name), "add it to spec.volumes")
		}
		if v != nil && v.file != "" {
			m.ReadOnly = false // it always is: saying so changes nothing
		}
	}
}

func (w *writtenService) checkPorts() {
	d := w.d
	type listen struct {
		protocol string
		port     int
	}
	names, listens, ports := map[string]bool{}, map[listen]bool{}, map[listen]bool{}
	for _, c := range w.all() {
		for i, p := range c.ports {
			at := fmt.Sprintf("%s.ports[%d]", c.at, i)
			if p.name != "" && names[p.name] {
				d.fault(at+".name", "port "+quote(p.name)+" exists already", "choose another name")
			}
			names[p.name] = true
			if l := (listen{p.protocol, p.containerPort}); p.containerPort != 0 {
				if listens[l] {
					d.fault(at+".containerPort", fmt.Sprintf("port %d exists already", p.containerPort), "remove one: containers of a service share their network")
				}
				listens[l] = true
			}
			if l := (listen{p.protocol, p.port}); p.port != 0 {
				if ports[l] {
					d.fault(at+".port", fmt.Sprintf("port %d of the service's address exists already", p.port), "choose another number, or remove one")
				}
				ports[l] = true
				if w.spec.endpointMode == endpointModes[1] && p.port != p.containerPort && p.containerPort != 0 {
					d.warn(at+".port", fmt.Sprintf("is not used: the names of a headless service lead to its instances, which listen on %d", p.containerPort), "remove it")
				}
			}
			for _, open := range p.publish {
				w.checkPublished(open)
				if w.onHost() && open.Port != 0 && p.containerPort != 0 && open.Port != p.containerPort {
					d.fault(open.at, fmt.Sprintf("must be %d: what runs on the host's network listens there itself", p.containerPort), "publish the same number")
				}
			}
		}
	}
}

func (w *writtenService) checkEnv(c placed) {
	d, seen := w.d, make(map[string]bool, len(c.Env))
	for i, e := range c.Env {
		at := fmt.Sprintf("%s.env[%d]", c.at, i)
		if e.Name != "" && seen[e.Name] {
			d.warn(at+".name", quote(e.Name)+" is set already: this value wins", "remove one of them")
		}
		seen[e.Name] = true
		if e.ValueFrom == nil {
			continue
		}
		if d.has(at + ".value") {
			d.fault(at+".valueFrom", "is given beside value", "remove one of them")
		}
		if (e.ValueFrom.SecretKeyRef == nil) == (e.ValueFrom.ConfigMapKeyRef == nil) {
			d.fault(at+".valueFrom", "must have exactly one of secretKeyRef and configMapKeyRef", "keep the one that is meant")
		}
	}
}

// checkExpansion warns of $(NAME), which Kubernetes expands and we do not.
func (w *writtenService) checkExpansion(c placed) {
	warn := func(at, s string) {
		if i := strings.Index(s, "$("); i >= 0 && strings.Contains(s[i:], ")") {
			w.d.warn(at, "$(…) is passed as it stands: nothing expands it", "")
		}
	}
	for i, s := range c.Command {
		warn(fmt.Sprintf("%s.command[%d]", c.at, i), s)
	}
	for i, s := range c.Args {
		warn(fmt.Sprintf("%s.args[%d]", c.at, i), s)
	}
	for i, e := range c.Env {
		warn(fmt.Sprintf("%s.env[%d].value", c.at, i), e.Value)
	}
}

func (w *writtenService) checkDevices(c placed) {
	seen := map[string]bool{}
	for i, path := range c.Devices {
		if path != "" && seen[path] {
			w.d.fault(fmt.Sprintf("%s.devices[%d]", c.at, i), quote(path)+" is listed twice", "remove one")
		}
		seen[path] = true
	}
}
