package kubernetes

import (
	"path"
	"slices"
	"strings"
)

// volumes are the volumes of a workload: they become ours as containers mount
// them.
type volumes struct {
	*workload
	defined map[string]value    // items of volumes and volumeClaimTemplates, by name
	claims  map[string]bool     // those of volumeClaimTemplates
	parts   map[string][]string // folders of a volume that are mounted; "" = all of it
	made    map[string]string   // our names, by what they are
	taken   map[string]bool     // our names
	paths   map[string]string   // of files in the repository, by ConfigMap and key
	all     list
}

func newVolumes(w *workload) *volumes {
	vs := &volumes{workload: w, defined: map[string]value{}, claims: map[string]bool{}, parts: map[string][]string{}, made: map[string]string{}, taken: map[string]bool{}, paths: map[string]string{}}
	for _, v := range w.pod.at("volumes").items() {
		vs.defined[v.at("name").text()] = v
	}
	for _, v := range w.r.value(w.converter).at("spec", "volumeClaimTemplates").items() {
		name := v.at("metadata", "name").text()
		vs.defined[name], vs.claims[name] = v, true
	}
	return vs
}

// look finds what containers mount of each volume.
func (vs *volumes) look(pod value) {
	for _, kind := range []string{"initContainers", "containers"} {
		for _, container := range pod.at(kind).items() {
			for _, m := range container.at("volumeMounts").items() {
				name, part := m.at("name").text(), path.Clean("/" + m.at("subPath").text())[1:]
				if !slices.Contains(vs.parts[name], part) {
					vs.parts[name] = append(vs.parts[name], part)
				}
			}
		}
	}
}

// unmounted says which volumes no container mounts.
func (vs *volumes) unmounted() {
	for _, v := range slices.Concat(vs.pod.at("volumes").items(), vs.r.value(vs.converter).at("spec", "volumeClaimTemplates").items()) {
		name := v.at("name").text()
		if vs.claims[v.at("metadata", "name").text()] {
			name = v.at("metadata", "name").text()
		}
		if len(vs.parts[name]) == 0 {
			v.lost("no container mounts it", "")
		}
	}
	if len(vs.all) > 0 {
		vs.spec.Put("volumes", vs.all, vs.pod.at("volumes"))
	}
}

// volume is the name of the volume that what stands for, made when it is asked
// for first.
func (vs *volumes) volume(what, name string, from value, fields func(*object)) string {
	if known, ok := vs.made[what]; ok {
		return known
	}
	name = vs.freeName(name)
	vs.made[what] = name
	o := object{member("name", name, from)}
	fields(&o)
	vs.all = append(vs.all, item(o, from))
	return name
}

// freeName is a label that no volume has, near to name.
func (vs *volumes) freeName(name string) string {
	label := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, name)
	if label = strings.Trim(label[:min(len(label), 58)], "-"); label == "" {
		label = "volume"
	}
	free := label
	for i := int64(2); vs.taken[free]; i++ {
		free = label + "-" + int64Text(i)
	}
	vs.taken[free] = true
	return free
}

// mounts are the mounts of a container.
func (c *container) mounts() list {
	var all list
	for _, m := range c.v.at("volumeMounts").items() {
		m.at("mountPropagation").is("None")
		m.at("recursiveReadOnly").is("Disabled")
		v, defined := c.volumes.defined[m.at("name").text()]
		if !defined {
			m.failed("there is no volume of this name", "")
			continue
		}
		all = append(all, c.volumes.mount(m, v)...)
	}
	return all
}

// mount makes the mounts that one becomes, and the volumes that they need.
func (vs *volumes) mount(m, v value) list {
	readOnly, from := m.at("readOnly").truth(), m.at("readOnly")
	if all := v.at("persistentVolumeClaim", "readOnly"); all.truth() && !readOnly {
		readOnly, from = true, all
	}
	one := func(name string) list {
		o := object{member("name", name, m.at("name"))}
		copyText(&o, m, "mountPath")
		if readOnly {
			o.Put("readOnly", true, from)
		}
		return list{item(o, m)}
	}
	name, part := m.at("name").text(), path.Clean("/" + m.at("subPath").text())[1:]
	switch {
	case m.at("subPathExpr").given():
		m.failed("subPathExpr is not in this version", "mount the whole volume")
	case vs.claims[name]:
		vs.claimed(v.at("spec"), readOnly)
		v.ownMetadata()
		v.drop("apiVersion", "kind")
		return vs.own(m, v, part, one, localVolume)
	case v.at("emptyDir").n != nil, !slices.ContainsFunc(v.fields(), func(f value) bool { return f.key != "name" && f.given() }):
		// Kubernetes has an emptyDir where nothing is said, too.
		return vs.own(m, v, part, one, func(o *object) { emptyDir(o, v.at("emptyDir")) })
	case v.at("hostPath").given():
		return one(vs.hostPath(v, name, part, readOnly))
	case v.at("configMap").given():
		return vs.configFiles(m, v, []value{v.at("configMap")})
	case v.at("projected").given():
		return vs.configFiles(m, v, v.at("projected", "sources").items())
	case v.at("persistentVolumeClaim").given():
		if vs.claim(v.at("persistentVolumeClaim"), readOnly) {
			return vs.own(m, v, part, one, localVolume)
		}
		m.lost("is not mounted: its volume is not converted", "")
	case v.at("ephemeral").given():
		v.at("ephemeral").lost("is a folder on the node's disk here, of no certain size", "")
		return vs.own(m, v, part, one, func(o *object) { o.Put("emptyDir", object{}, v) })
	case v.at("secret").given():
		secret := v.at("secret", "secretName").text()
		m.lost("is not mounted: its volume is not converted", "")
		vs.secret(v.at("secret"), "the files of Secret "+quote(secret))
	default:
		m.lost("is not mounted: its volume is not converted", "")
		v.rejected("volumes of this kind are not in this version: there are local, emptyDir, hostPath and file", "")
	}
	return nil
}

// rejected notes what nobody has read, as not converted.
func (v value) rejected(reason, remedy string) {
	for _, f := range v.fields() {
		if left, _ := census(f.n); f.key != "name" && left > 0 {
			f.failed(reason, remedy)
		}
	}
}

func localVolume(o *object) { o.Put("local", object{}, value{}) }

func emptyDir(o *object, v value) {
	var dir object
	v.at("mode").lost("is not in this version: the folder is that of the user of the first container", "")
	if v.at("medium").is("Memory") {
		dir.Put("medium", "Memory", v.at("medium"))
		if limit := v.at("sizeLimit"); limit.given() {
			dir.Put("sizeLimit", limit.bytes(), limit)
		}
	} else {
		v.at("medium").text()
		v.at("sizeLimit").lost("is not bounded on disks in this version", "medium: Memory is")
	}
	o.Put("emptyDir", dir, v)
}

// own mounts a volume of the slot's own, or a part of it. Parts are volumes of
// their own.
func (vs *volumes) own(m, v value, part string, one func(string) list, fields func(*object)) list {
	name := m.at("name").text()
	parts := vs.parts[name]
	switch {
	case part == "" || len(parts) == 1:
		if part != "" {
			m.at("subPath").hint("the whole volume is mounted, since no container sees another part of it", "")
		}
		return one(vs.volume(name, name, v, fields))
	case slices.Contains(parts, ""):
		m.failed("a part of a volume that is mounted as a whole, too, is not in this version", "use a volume for each")
		return nil
	}
	m.at("subPath").hint("is a volume of its own here", "")
	return one(vs.volume(name+"\x00"+part, name+"-"+part, v, fields))
}

func (vs *volumes) hostPath(v value, name, part string, readOnly bool) string {
	p := v.at("hostPath")
	if !p.at("type").is("", "Directory", "File", "Socket", "CharDevice", "BlockDevice") {
		p.at("type").lost("the path must be there: it is not made", "make it on the nodes")
	}
	vs.single = vs.single || !readOnly
	return vs.volume(name+"\x00"+part, strings.TrimSuffix(name+"-"+part, "-"), v, func(o *object) {
		o.Put("hostPath", object{member("path", path.Join(p.at("path").text(), part), p.at("path"))}, p)
	})
}

// claim takes a PersistentVolumeClaim as a local volume. It reports false where
// that is not what it would be.
func (vs *volumes) claim(v value, readOnly bool) bool {
	name := v.at("claimName").text()
	slots, given := vs.r.value(vs.converter).at("spec", "replicas").number()
	switch {
	case vs.r.group == daemonSet || given && slots > 1:
		v.failed("a claim that several instances share is not in this version: each slot has a local volume of its own", "share the data in another way, or run one instance")
		return false
	case vs.sharedBy(name):
		v.failed("a claim that several workloads share is not in this version: each has local volumes of its own", "put the containers into one service, or mount a hostPath of one node")
		return false
	}
	if r := vs.find(claim, vs.namespace, name); r != nil {
		delete(vs.unused, r)
		r.value(vs.converter).ownMetadata()
		vs.claimed(r.value(vs.converter).at("spec"), readOnly)
		return true
	}
	vs.single = vs.single || !readOnly
	v.lost(localReason, localRemedy)
	return true
}

// sharedBy reports whether another workload mounts the claim.
func (vs *volumes) sharedBy(name string) bool {
	for _, r := range vs.resources {
		if r == vs.r || !r.group.workload() || r.namespace != vs.namespace {
			continue
		}
		for _, v := range (value{vs.converter, r, r.root, r.path, ""}).at("spec", "template", "spec", "volumes").items() {
			if n := v.at("persistentVolumeClaim", "claimName").n; n != nil && n.text == name {
				return true
			}
		}
	}
	return false
}

const (
	localReason = "is a local volume here, a folder on the disk of the node that runs the slot: neither size, class nor access mode are kept, and data is not brought along"
	localRemedy = "see docs/convert.md for moving the data"
)

// claimed reads what a claim asks for. It is said once.
func (vs *volumes) claimed(spec value, readOnly bool) {
	vs.single = vs.single || !readOnly
	if left, _ := census(spec.n); spec.given() && left > 0 {
		spec.lost(localReason, localRemedy)
	}
}
