package kubernetes

import (
	"maps"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// workload is a Deployment, StatefulSet or DaemonSet on its way to a service.
type workload struct {
	*converter
	r         *resource
	namespace string
	name      string
	metadata  object
	spec      object
	update    object
	init      []*container
	main      []*container
	pod       value             // spec.template.spec
	labels    map[string]string // of its pods
	volumes   *volumes
	contents  map[string][]byte
	aliases   []alias
	headless  value // the Service that is; without a node there is none
	address   bool  // a Service gives it an address
	slots     int64 // replicas; 0 for every node
	single    bool  // never two instances of a slot at once
}

type alias struct {
	name string
	from value
}

const maxServiceName = 58 // a slot's host name is "name-999"

// workload converts one, all but its Services.
func (c *converter) workload(r *resource) {
	v := r.value(c)
	w := &workload{converter: c, r: r, namespace: r.namespace, contents: map[string][]byte{}}
	w.pod = v.at("spec", "template", "spec")
	w.nameIt(v)
	w.describe(v)
	w.volumes = newVolumes(w)
	w.runtime()
	w.containers()
	w.scale(v)
	w.rollout(v.at("spec"))
	w.placement()
	c.workloads = append(c.workloads, w)
}

// nameIt finds the service's name: that of the workload, as a label.
func (w *workload) nameIt(v value) {
	w.name = w.r.name
	if w.name == "" {
		v.at("metadata", "generateName").failed("names are given, not made", "give it a name: metadata.name")
	}
	label := strings.Trim(strings.ReplaceAll(w.name[:min(len(w.name), maxServiceName)], ".", "-"), "-")
	if label != w.name {
		w.name = label
		v.at("metadata", "name").lost("is "+quote(label)+" here: it is part of a host name", "")
	}
	w.metadata.Put("name", w.name, v.at("metadata", "name"))
	if w.namespace != planner.DefaultNamespace {
		w.metadata.Put("namespace", w.namespace, v.at("metadata", "namespace"))
	}
}

// describe reads labels and annotations. Those of the pods are laid below the
// workload's own: a service has no others.
func (w *workload) describe(v value) {
	v.metadata()
	template := v.at("spec", "template", "metadata")
	template.drop("creationTimestamp", "name", "namespace", "generateName")
	w.labels = template.at("labels").words()
	w.selects(v.at("spec", "selector"))
	labels := maps.Clone(w.labels)
	maps.Copy(labels, v.at("metadata", "labels").words())
	putTexts(&w.metadata, "labels", labels, v.at("metadata", "labels"))
	annotations := w.annotations(template.at("annotations"))
	maps.Copy(annotations, w.annotations(v.at("metadata", "annotations")))
	putTexts(&w.metadata, "annotations", annotations, v.at("metadata", "annotations"))
}

// annotations reads those that a service can have, too.
func (w *workload) annotations(v value) map[string]string {
	all := map[string]string{}
	for _, f := range v.fields() {
		switch {
		case f.n.seen: // of a server
		case meantSomething(f.key, f.n.text):
			f.hintFailed("means nothing here, where nothing looks at annotations: it is kept as a text", "see what it did, and say it in the service")
			all[f.key] = f.text()
		case f.key == "kubectl.kubernetes.io/restartedAt":
			all["orpheus/restartedAt"] = f.text()
		case strings.HasPrefix(f.key, "orpheus/"):
			f.lost("is reserved", "")
		case strings.ContainsFunc(f.n.text, func(r rune) bool { return r < ' ' || r == 0x7f }):
			f.lost("has several lines, which an annotation here cannot", "keep it in a comment")
		default:
			all[f.key] = f.text()
		}
	}
	return all
}

// selects reads the selector: a service has no other instances than its own.
func (w *workload) selects(v value) {
	if exactly(v, w.labels) {
		v.n.tick()
		return
	}
	v.lost("is not converted: the instances of a service are its own", "")
}

// exactly reports whether a selector selects what has the labels.
func exactly(v value, labels map[string]string) bool {
	match := v.at("matchLabels")
	if !match.given() || len(v.at("matchExpressions").items()) > 0 {
		return false
	}
	for _, f := range match.fields() {
		if got, ok := labels[f.key]; !ok || got != f.n.text {
			return false
		}
	}
	return true
}

// scale reads how many instances there are.
func (w *workload) scale(v value) {
	if w.r.group == daemonSet {
		w.spec.Put("everyNode", true, v)
		return
	}
	replicas := v.at("spec", "replicas")
	w.slots = 1
	if n, ok := replicas.number(); ok {
		w.slots = n
		w.spec.Put("replicas", n, replicas)
	}
	if hpa := w.autoscaler(); hpa != nil {
		w.autoscaled(hpa.value(w.converter))
	}
	if ordinal, ok := v.at("spec", "ordinals", "start").number(); ok && ordinal != 0 {
		v.at("spec", "ordinals").failed("slots are counted from 0", "")
	}
}

// autoscaler is the HorizontalPodAutoscaler of the workload.
func (w *workload) autoscaler() *resource {
	for _, r := range w.resources {
		target := r.value(w.converter).at("spec", "scaleTargetRef")
		if r.group == autoscaler && r.namespace == w.namespace && w.unused[r] &&
			target.at("kind").text() == w.r.kind && target.at("name").text() == w.r.name {
			delete(w.unused, r)
			return r
		}
	}
	return nil
}

// autoscaled takes what an autoscaler keeps at least.
func (w *workload) autoscaled(v value) {
	v.ownMetadata()
	v.at("spec", "scaleTargetRef").drop("apiVersion")
	least := v.at("spec", "minReplicas")
	n, given := least.number()
	if !given {
		n = 1
	}
	w.slots = n
	w.spec.Put("replicas", n, least)
	most := "more"
	if m, ok := v.at("spec", "maxReplicas").number(); ok {
		most = v.at("spec", "maxReplicas").text()
		w.slots = max(n, m)
	}
	v.at("spec", "maxReplicas").hint("there is no autoscaling in this version: replicas is the least, "+int64Text(n)+", and "+most+" may be needed", "set replicas to what the busiest hours need")
	for _, f := range v.at("spec").fields() {
		if f.key == "metrics" || f.key == "behavior" || f.key == "targetCPUUtilizationPercentage" {
			f.lost("there is no autoscaling in this version", "")
		}
	}
}
