package planner

import (
	"maps"
	"slices"
	"strings"
)

// host is a node as placement sees it: the record, what people say of it laid
// over, and what it has left.
type host struct {
	name  NodeName
	index int // among all hosts
	view  NodeView
	spec  NodeSpec
	// bare is the node as its record alone has it, where the commit cannot be
	// heard on it; nil = it can. See leaves.
	bare *host
	// out says why the node takes part in nothing; "" = it does.
	out    string
	labels map[string]string
	taints []Taint

	// failing: an instance there is given up.
	failing bool

	// used is what leases take of it. settled and planned count the slots that are to
	// be on it: see survey.settled.
	used             ResourceList
	settled, planned tally
	ports            nodePorts
	hash             uint64 // for ties
}

// newHost describes a node. A node whose record is not read is no host.
func newHost(f Followed, n NodeView) *host {
	spec, said := f.Nodes[n.Record.Node]
	h := &host{name: n.Record.Node, view: n, spec: spec, labels: map[string]string{}, ports: nodePorts{}, hash: hashOf(string(n.Record.Node))}
	for key, value := range n.Record.Labels {
		if spec.MayOwn(key) {
			h.labels[key] = value
		}
	}
	maps.Copy(h.labels, spec.Labels)
	h.taints = slices.Concat(n.Record.Taints, spec.Taints)
	switch {
	case n.Record.Retired:
		h.out = "retired"
	case n.Record.Fence != nil:
		h.out = "fenced by " + string(n.Record.Fence.By)
	case !n.Live():
		h.out = "not registered"
	case len(f.Fleet.Nodes) > 0 && !slices.Contains(f.Fleet.Nodes, h.name):
		h.out = "not among the nodes of fleet.yaml"
	case spec.Key != "" && !sameKey(spec.Key, n.Record.Key):
		h.out = "its key is not the one in " + spec.file()
	}
	h.failing = slices.ContainsFunc(n.Status.Instances, func(i InstanceStatus) bool { return i.Failing })
	if f.Unread && (!said || spec.Kept) {
		h.bare = newHost(Followed{Fleet: f.Fleet}, n)
	}
	return h
}

// file names where people say it.
func (s NodeSpec) file() string {
	if s.File == "" {
		return "its manifest"
	}
	return s.File
}

// sameKey compares public keys in authorized_keys form; comments do not count.
func sameKey(a, b string) bool {
	fa, fb := strings.Fields(a), strings.Fields(b)
	return len(fa) >= 2 && len(fb) >= 2 && fa[0] == fb[0] && fa[1] == fb[1]
}

// label is the value of a label of the node, the built-in ones included.
func (h *host) label(key string) (string, bool) {
	n := h.view.Record.describe()
	n.Labels = h.labels
	return n.Label(key)
}

// unfit says why a slot of the service may not even stay on the node. As in
// Kubernetes a drain leaves services alone that run on every node.
func (h *host) unfit(s *Service) string {
	switch {
	case h.out != "":
		return h.out
	case h.spec.Drain && !s.EveryNode:
		return "drained by " + h.spec.file()
	}
	for _, key := range slices.Sorted(maps.Keys(s.NodeSelector)) {
		if got, ok := h.label(key); !ok || got != s.NodeSelector[key] {
			return "its label " + key + " is not " + s.NodeSelector[key]
		}
	}
	if t, ok := untolerated(h.taints, s.Tolerations, "NoExecute"); ok {
		return "its taint " + t.String() + " is not tolerated"
	}
	if d := s.Template.DriverName(); len(h.view.Record.Drivers) > 0 && !slices.Contains(h.view.Record.Drivers, d) {
		return "it has no driver " + d
	}
	return ""
}

// leaves says why a slot of the service that is on the node may not stay: it is
// unfit, and not only because it was fenced and may return. Where the commit
// has files that cannot be read, and does not speak of the node,
// what people said of it, or may have, is no ground to move anything: nodes
// that came to the commit by different ways kept different things, and would
// move it to and fro. It still decides where new slots go.
func (h *host) leaves(s *Service) string {
	if h.bare != nil {
		anywhere := *s
		anywhere.NodeSelector = nil
		h, s = h.bare, &anywhere
	}
	if h.view.Record.Fence != nil && !h.view.Record.Retired {
		returned := *h
		returned.out = ""
		h = &returned
	}
	return h.unfit(s)
}

// closed says why the node takes no new slot of the service. As in Kubernetes
// a cordon leaves services alone that run on every node.
func (h *host) closed(s *Service) string {
	if why := h.unfit(s); why != "" {
		return why
	}
	if h.spec.Unschedulable && !s.EveryNode {
		return "cordoned by " + h.spec.file()
	}
	if t, ok := untolerated(h.taints, s.Tolerations, "NoSchedule"); ok {
		return "its taint " + t.String() + " is not tolerated"
	}
	return h.strained()
}

// strained says why the node takes no new work at all for now.
func (h *host) strained() string {
	if why := h.short(); why != "" || h.view.Status.Failing == "" {
		return why
	}
	return "whatever is started on it fails: " + h.view.Status.Failing
}

// short says why the node could not do anything new for now.
func (h *host) short() string {
	switch {
	case h.view.Blind:
		return "it cannot read the repository"
	case len(h.view.Status.Pressure) > 0:
		return "it is short of " + strings.Join(h.view.Status.Pressure, ", ")
	}
	return ""
}

// untolerated is the first taint of the effect that nothing tolerates.
func untolerated(taints []Taint, tolerations []Toleration, effect string) (Taint, bool) {
	for _, t := range taints {
		tolerates := func(o Toleration) bool { return o.tolerates(t) }
		if t.Effect == effect && !slices.ContainsFunc(tolerations, tolerates) {
			return t, true
		}
	}
	return Taint{}, false
}

// tolerates has Kubernetes' meaning.
func (o Toleration) tolerates(t Taint) bool {
	switch {
	case o.Effect != "" && o.Effect != t.Effect:
		return false
	case o.Operator == "Exists":
		return o.Key == "" || o.Key == t.Key
	}
	return o.Key == t.Key && o.Value == t.Value
}

// String is the form people know from Kubernetes.
func (t Taint) String() string {
	if t.Value == "" {
		return t.Key + ":" + t.Effect
	}
	return t.Key + "=" + t.Value + ":" + t.Effect
}

// hashOf is FNV-1a of 64 bits.
func hashOf(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// tie mixes the hashes of a slot and a node, so that equal nodes are taken in
// another order by each slot. (Rank would do the same at 50 times the price.)
func tie(slot, node uint64) uint64 {
	x := slot ^ node
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
