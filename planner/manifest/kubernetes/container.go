package kubernetes

import "strings"

// container is one of a workload's on its way.
type container struct {
	*workload
	v      value
	fields object
	ports  []*port
	// vars are the variables with values that are known, in the order in which
	// they are written; lost are those that were not converted.
	vars []variable
	lost map[string]bool
}

// containers reads init containers and containers.
func (w *workload) containers() {
	w.volumes.look(w.pod)
	for _, v := range w.pod.at("initContainers").items() {
		if v.at("restartPolicy").text() == "Always" {
			v.at("restartPolicy").hint("it starts side by side with the others, which do not wait for it", "have them wait for what they need of it")
			w.main = append(w.main, w.container(v))
			continue
		}
		w.init = append(w.init, w.container(v))
	}
	for _, v := range w.pod.at("containers").items() {
		v.at("restartPolicy").is("Always")
		v.at("restartPolicy").unlessRead("a container that ends has its whole instance started again", "", false)
		w.main = append(w.main, w.container(v))
	}
	w.volumes.unmounted()
}

func (w *workload) container(v value) *container {
	c := &container{workload: w, v: v, lost: map[string]bool{}}
	copyText(&c.fields, v, "name", "image")
	c.environment()
	c.arguments("command")
	c.arguments("args")
	copyText(&c.fields, v, "workingDir")
	c.readPorts()
	c.resources()
	if mounts := c.mounts(); len(mounts) > 0 {
		c.fields.Put("volumeMounts", mounts, v.at("volumeMounts"))
	}
	c.security()
	for _, name := range []string{"startupProbe", "livenessProbe", "readinessProbe"} {
		c.probe(name)
	}
	c.lifecycle()
	c.ignorable()
	return c
}

// ignorable reads what makes no difference here.
func (c *container) ignorable() {
	c.v.drop("terminationMessagePath", "terminationMessagePolicy", "resizePolicy")
	for _, name := range []string{"stdin", "stdinOnce", "tty"} {
		c.v.at(name).is("false")
	}
	pull := c.v.at("imagePullPolicy")
	pull.is("IfNotPresent")
	pull.unlessRead("the image of a revision is the same on all nodes, and pulled once: a tag is pinned to its digest before the revision starts", "orpheus restart --pull resolves tags anew", true)
}

// arguments reads command or args. What Kubernetes expands in them is expanded
// here: $(NAME) means nothing to us.
func (c *container) arguments(name string) {
	if all := c.expanded(c.v.at(name)); len(all) > 0 {
		c.fields.Put(name, all, c.v.at(name))
	}
}

func (c *container) expanded(texts value) list {
	var all list
	for _, v := range texts.items() {
		if v.n.scalar() {
			all = append(all, item(c.expand(v, v.text()), v))
		}
	}
	return all
}

// resources reads requests and limits of what is shared out here.
func (c *container) resources() {
	v := c.v.at("resources")
	var all object
	for _, name := range []string{"requests", "limits"} {
		var amounts object
		for _, f := range v.at(name).fields() {
			switch {
			case f.key == "cpu":
				amounts.Put(f.key, f.cores(), f)
			case f.key == "memory":
				amounts.Put(f.key, f.bytes(), f)
			case strings.Contains(f.key, "/") || strings.HasPrefix(f.key, "hugepages-"):
				f.failed("is not in this version", "a device of the node is devices: [/dev/NAME]")
			}
		}
		if len(amounts) > 0 {
			all.Put(name, amounts, v.at(name))
		}
	}
	if len(all) > 0 {
		c.fields.Put("resources", all, v)
	}
}

// security reads what a container may do, the pod's word below its own.
func (c *container) security() {
	pod, own := c.pod.at("securityContext"), c.v.at("securityContext")
	var all object
	for _, name := range []string{"runAsUser", "runAsGroup"} {
		copyScalars(&all, pod, name)
		copyScalars(&all, own, name)
	}
	copyScalars(&all, own, "readOnlyRootFilesystem", "privileged")
	var capabilities object
	copyTexts(&capabilities, own.at("capabilities"), "add", "drop")
	if len(capabilities) > 0 {
		all.Put("capabilities", capabilities, own.at("capabilities"))
	}
	// Where it is not given Kubernetes allows it, and we do not.
	if escalation := own.at("allowPrivilegeEscalation"); escalation.is("false") {
		all.Put("allowPrivilegeEscalation", false, escalation)
	} else {
		escalation.truth()
		all.Put("allowPrivilegeEscalation", true, escalation)
	}
	c.groups(&all, pod)
	for _, v := range []value{own, pod} {
		v.at("procMount").is("Default")
		v.at("appArmorProfile", "type").is("RuntimeDefault")
		profile := v.at("seccompProfile")
		if !profile.at("type").is("RuntimeDefault") {
			profile.lost("containers have the default profile of their driver", "")
		}
		nonRoot := v.at("runAsNonRoot")
		if user, given := all.Get("runAsUser").(*node); nonRoot.is("false") || given && user.text != "0" {
			nonRoot.truth()
		} else {
			nonRoot.unlessRead("is not checked in this version", "say as whom it runs: runAsUser", true)
		}
	}
	c.fields.Put("securityContext", all, own)
}

// groups reads the groups that a container's processes are in besides.
func (c *container) groups(all *object, pod value) {
	groups := list{}
	for _, g := range pod.at("supplementalGroups").items() {
		if _, isNumber := g.number(); isNumber {
			groups = append(groups, item(g.n, g))
		}
	}
	if fs := pod.at("fsGroup"); fs.given() {
		if _, first := fs.number(); first {
			groups = append(groups, item(fs.n, fs))
		}
		if len(c.main)+len(c.init) == 0 {
			fs.hint("its containers are in the group, but volumes keep their owner: a local volume is made for the user of the first container", "let runAsUser say which")
		}
	}
	pod.drop("fsGroupChangePolicy")
	pod.at("supplementalGroupsPolicy").is("Merge")
	if len(groups) > 0 {
		all.Put("supplementalGroups", unique(groups), pod)
	}
}

// unique leaves out what is in the list already.
func unique(all list) list {
	var out list
	known := map[string]bool{}
	for _, i := range all {
		if n := i.Value.(*node); !known[n.text] {
			known[n.text] = true
			out = append(out, i)
		}
	}
	return out
}
