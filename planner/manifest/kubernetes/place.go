package kubernetes

import "slices"

const hostnameLabel = "kubernetes.io/hostname"

// placement reads on which nodes a workload runs.
func (w *workload) placement() {
	p := w.pod
	selector := p.at("nodeSelector").words()
	if name := p.at("nodeName"); name.given() {
		name.failed("a node is chosen by its labels", "give the node a label, and ask for it in nodeSelector")
	}
	w.affinity(p.at("affinity"), selector)
	for _, label := range []string{"kubernetes.io/os", "beta.kubernetes.io/os"} {
		if selector[label] == "linux" {
			delete(selector, label) // every node is
		}
	}
	for _, label := range []string{hostnameLabel, "kubernetes.io/arch", "beta.kubernetes.io/arch"} {
		if selector[label] != "" {
			p.at("nodeSelector").hint("no node has the label "+label+" by itself", "give the nodes that label, in the agents' configuration or by documents of kind Node")
		}
	}
	putTexts(&w.spec, "nodeSelector", selector, p.at("nodeSelector"))
	w.tolerations(p.at("tolerations"))
	w.spread(p.at("topologySpreadConstraints"))
}

func (w *workload) tolerations(v value) {
	var all list
	for _, t := range v.items() {
		switch {
		case t.at("effect").text() == "PreferNoSchedule":
			t.lost("there are no such taints", "")
			continue
		case slices.Contains([]string{"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"}, t.at("key").text()) && t.at("tolerationSeconds").given():
			t.lost("work moves when its node is gone, after the time that the fleet takes to be sure", "")
			continue
		}
		var o object
		copyText(&o, t, "key", "operator", "value", "effect")
		all = append(all, item(o, t))
	}
	if len(all) > 0 {
		w.spec.Put("tolerations", all, v)
	}
}

func (w *workload) spread(v value) {
	var all list
	for _, t := range v.items() {
		if s := t.at("labelSelector"); exactly(s, w.labels) {
			s.n.tick()
		} else {
			s.lost("the instances of the service are counted, no others", "")
		}
		if t.at("topologyKey").text() == hostnameLabel {
			wish := t.at("whenUnsatisfiable").text() == "ScheduleAnyway"
			t.n.tick()
			if !wish {
				t.hint("instances are spread over nodes anyway, as evenly as these have room: maxSkew is a wish", "")
			}
			continue
		}
		var o object
		copyText(&o, t, "topologyKey")
		copyScalars(&o, t, "maxSkew")
		copyText(&o, t, "whenUnsatisfiable")
		all = append(all, item(o, t))
	}
	if len(all) > 0 {
		w.spec.Put("topologySpreadConstraints", all, v)
	}
}

// affinity takes what can be said otherwise: labels that a node must have, and
// instances that are to be on different nodes.
func (w *workload) affinity(v value, selector map[string]string) {
	const required, preferred = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"
	node := v.at("nodeAffinity")
	if !selectsPlainly(node.at(required, "nodeSelectorTerms"), selector) {
		node.at(required).unlessRead("is not converted: a service asks for nodes by labels with one value each", "give the nodes a label that says it, and ask for it in nodeSelector", false)
	}
	node.at(preferred).lost("there are no wishes for nodes in this version", "ask for a label in nodeSelector")
	anti := v.at("podAntiAffinity")
	for _, t := range anti.at(required).items() {
		if own(t, w.labels) {
			t.n.tick()
			t.hint("instances are spread over nodes as far as there are nodes: with fewer, two share one", "")
		}
	}
	for _, t := range anti.at(preferred).items() {
		if own(t.at("podAffinityTerm"), w.labels) {
			t.n.tick() // they are spread anyway
		} else {
			t.lost("is not converted: there is no affinity in this version", "use topologySpreadConstraints")
		}
	}
	v.at("podAffinity", preferred).lost("is not converted: there is no affinity in this version", "")
	for _, rest := range []value{anti.at(required), v.at("podAffinity", required)} {
		for _, t := range rest.items() {
			t.unlessTicked()
		}
	}
}

// unlessTicked notes a term of affinity that nobody has read.
func (v value) unlessTicked() {
	if left, _ := census(v.n); left > 0 {
		v.failed("is not converted: there is no affinity in this version", "use nodeSelector, taints and topologySpreadConstraints")
	}
}

// own reports whether a term keeps instances of the workload itself apart, node
// by node.
func own(term value, labels map[string]string) bool {
	key := term.at("topologyKey")
	if key.n == nil || key.n.text != hostnameLabel || term.at("namespaces").given() || term.at("namespaceSelector").given() {
		return false
	}
	s := term.at("labelSelector")
	if exactly(s, labels) {
		return true
	}
	// The older form of the same.
	for _, e := range s.at("matchExpressions").items() {
		values := e.at("values").items()
		if k, op := e.at("key"), e.at("operator"); k.n == nil || op.n == nil || op.n.text != "In" || len(values) != 1 || labels[k.n.text] != values[0].n.text {
			return false
		}
	}
	return s.given() && !s.at("matchLabels").given() && len(s.at("matchExpressions").items()) > 0
}

// selectsPlainly adds the labels that terms ask for to the selector, if that is
// all they do.
func selectsPlainly(terms value, selector map[string]string) bool {
	items := terms.items()
	if len(items) != 1 || items[0].at("matchFields").given() {
		return false
	}
	found := map[string]string{}
	for _, e := range items[0].at("matchExpressions").items() {
		values := e.at("values").items()
		key, op := e.at("key"), e.at("operator")
		if !key.given() || !op.given() || op.n.text != "In" || len(values) != 1 || !values[0].n.scalar() {
			return false
		}
		if other, twice := selector[key.n.text]; twice && other != values[0].n.text {
			return false
		}
		found[key.n.text] = values[0].n.text
	}
	terms.n.tick()
	for key, text := range found {
		selector[key] = text
	}
	return true
}
