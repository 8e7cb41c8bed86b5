package kubernetes

import (
	"encoding/base64"
	"maps"
	"regexp"
	"slices"
	"strings"
)

type variable struct {
	name, text string
	from       value
}

// environment reads the variables of a container: whole ConfigMaps first, then
// one by one; of two with a name the later wins.
func (c *container) environment() {
	for _, v := range c.v.at("envFrom").items() {
		c.wholeMap(v)
	}
	for _, v := range c.v.at("env").items() {
		c.variable(v)
	}
	var all list
	for _, e := range c.vars {
		all = append(all, item(object{member("name", e.name, e.from), member("value", e.text, e.from)}, e.from))
	}
	if len(all) > 0 {
		c.fields.Put("env", all, c.v.at("env"))
	}
}

// set gives a variable a value, as the last one.
func (c *container) set(name, text string, from value) {
	c.vars = slices.DeleteFunc(c.vars, func(e variable) bool { return e.name == name })
	c.vars = append(c.vars, variable{name, text, from})
	delete(c.lost, name)
}

// wholeMap reads an item of envFrom.
func (c *container) wholeMap(v value) {
	prefix := v.at("prefix").text()
	if secret := v.at("secretRef"); secret.given() {
		c.secret(secret, "the variables of Secret "+quote(secret.at("name").text()))
		return
	}
	ref := v.at("configMapRef")
	data, found := c.mapNamed(ref)
	if !found {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(data.words())) {
		data.at(key).domain(data.at(key).text())
		c.set(prefix+key, data.at(key).text(), v)
	}
}

// mapNamed finds the data of the ConfigMap that is referred to, and says so if
// there is none.
func (w *workload) mapNamed(ref value) (data value, found bool) {
	name := ref.at("name").text()
	optional := ref.at("optional").truth()
	r := w.find(configMap, w.namespace, name)
	switch {
	case r != nil:
		delete(w.unused, r)
		m := r.value(w.converter)
		m.ownMetadata()
		m.drop("immutable")
		return m.at("data"), true
	case optional:
		ref.lost("ConfigMap "+quote(name)+" is not among what was converted, and may be missing", "convert them together if there is one")
	default:
		ref.failed("ConfigMap "+quote(name)+" is not among what was converted", "convert them together")
	}
	return value{}, false
}

// secret says that something of a Secret is not there.
func (w *workload) secret(v value, what string) {
	if optional := v.at("optional"); optional.given() && optional.truth() {
		v.lost("does without "+what+", as it may: secrets are not in this version", "")
		return
	}
	v.failed("is left without "+what+": secrets are not in this version", "have the program read them from a file of the node (hostPath); a repository is no place for them in plain text")
}

// variable reads an item of env.
func (c *container) variable(v value) {
	name := v.at("name").text()
	from := v.at("valueFrom")
	c.lost[name] = true // until it has a value
	switch {
	case !from.given():
		if n := v.at("value").n; n != nil && n.scalar() && n.tag != "!!str" && !n.null() {
			v.at("value").hint("is no text, which Kubernetes refuses: taken as it is written", "")
		}
		c.set(name, c.expand(v.at("value"), v.at("value").text()), v)
	case from.at("configMapKeyRef").given():
		c.fromMap(name, from.at("configMapKeyRef"))
	case from.at("secretKeyRef").given():
		ref := from.at("secretKeyRef")
		c.secret(ref, "the value of "+name+" (key "+quote(ref.at("key").text())+" of Secret "+quote(ref.at("name").text())+")")
	case from.at("fieldRef").given():
		c.fromField(name, from.at("fieldRef"))
	case from.at("fileKeyRef").given():
		from.at("fileKeyRef").failed(name+": the file is known only where the instance runs", "have the program read the file")
	case from.at("resourceFieldRef").given():
		from.at("resourceFieldRef").failed(name+": limits are not put into variables in this version", "write the value down")
	}
	if c.lost[name] {
		c.vars = slices.DeleteFunc(c.vars, func(e variable) bool { return e.name == name })
	}
}

func (c *container) fromMap(name string, ref value) {
	key, optional := ref.at("key").text(), ref.at("optional").truth()
	data, found := c.mapNamed(ref)
	switch {
	case !found:
		ref.at("key").hint(name+" has no value", "")
	case data.at(key).given():
		data.at(key).domain(data.at(key).text())
		c.set(name, data.at(key).text(), ref)
	case optional:
		ref.lost(name+": the ConfigMap has no key "+quote(key), "")
	default:
		ref.failed(name+": the ConfigMap has no key "+quote(key), "write the value down")
	}
}

var subscript = regexp.MustCompile(`^metadata\.(labels|annotations)\['(.*)'\]$`)

// ofControllers are labels that Kubernetes gives the pods of its workloads.
var ofControllers = map[string]bool{"pod-template-hash": true, "controller-revision-hash": true, "pod-template-generation": true,
	"statefulset.kubernetes.io/pod-name": true, "apps.kubernetes.io/pod-index": true}

// fromField reads a variable that tells about the pod: what is known beforehand
// is written down.
func (c *container) fromField(name string, ref value) {
	ref.drop("apiVersion")
	field := ref.at("fieldPath").text()
	template := c.r.value(c.converter).at("spec", "template", "metadata")
	if m := subscript.FindStringSubmatch(field); m != nil {
		v := template.at(m[1], m[2])
		if v.given() || !ofControllers[m[2]] { // without one the value is empty
			c.set(name, v.text(), ref)
			return
		}
	}
	switch field {
	case "metadata.namespace":
		c.set(name, c.namespace, ref)
	case "spec.serviceAccountName":
		account := "default"
		if v := c.pod.at("serviceAccountName"); v.given() && v.n.scalar() {
			account = v.n.text // for the program; what it is for is still noted
		}
		c.set(name, account, ref)
	case "metadata.name":
		ref.failed(name+": the name of the instance is known only where it runs", "have the program take its host name, or ORPHEUS_SERVICE and ORPHEUS_SLOT, which every container has")
	case "metadata.labels['apps.kubernetes.io/pod-index']":
		ref.failed(name+": the slot is known only where the instance runs", "have the program read ORPHEUS_SLOT, which every container has")
	case "spec.nodeName":
		ref.failed(name+": the node is known only where the instance runs", "have the program read ORPHEUS_NODE, which every container has")
	default:
		ref.failed(name+": is known only where the instance runs", "have the program find it out: its host name leads to its address")
	}
}

// expand puts in what $(NAME) stands for, as Kubernetes does in commands,
// arguments and values: names that are not known stay, and $$ is a $.
func (c *container) expand(v value, s string) string {
	if v.domain(s); !strings.Contains(s, "$") {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '$' || i+1 == len(s) {
			out.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case '$':
			out.WriteByte('$')
		case '(':
			end := strings.IndexByte(s[i:], ')')
			if end < 0 {
				out.WriteString("$(")
				continue
			}
			name := s[i+1 : i+end]
			i += end
			out.WriteString(c.reference(v, name))
		default:
			out.WriteByte('$')
			out.WriteByte(s[i])
		}
	}
	const tooLong = 32 << 10 // of a value in a manifest
	if out.Len() > tooLong {
		v.failed("is too long with what its $(NAME) stand for", "write it shorter")
		return s
	}
	return out.String()
}

// reference is what $(NAME) stands for.
func (c *container) reference(v value, name string) string {
	for _, e := range c.vars {
		if e.name == name {
			return e.text
		}
	}
	if c.lost[name] && name != "" {
		v.failed("uses $("+name+"), whose value was not converted", "write the value down, or have a shell read it: sh -c 'exec … \"$"+name+"\"'")
	}
	return "$(" + name + ")"
}

var clusterDomain = regexp.MustCompile(`[a-z0-9]\.svc(\.[a-z0-9.-]*[a-z0-9])?\b`)

// domain tells of names that only a cluster knows.
func (v value) domain(text string) {
	if found := clusterDomain.FindString(text); found != "" {
		v.c.note(v.r, v.n, v.path, "has names of the cluster's domain: here a service is NAME or NAME.NAMESPACE, in full NAME.NAMESPACE.orpheus.internal",
			"leave "+quote(found[1:])+" out of them", false)
	}
}

// content is the content of a key of a ConfigMap, and whether there is such.
func content(data, binary value, key string) ([]byte, bool) {
	if v := data.at(key); v.given() && v.n.scalar() {
		v.domain(v.text())
		return []byte(v.text()), true
	}
	v := binary.at(key)
	if !v.given() {
		return nil, false
	}
	decoded, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(v.text()), ""))
	return decoded, err == nil
}
