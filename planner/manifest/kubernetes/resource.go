package kubernetes

import (
	"cmp"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
	yaml "go.yaml.in/yaml/v3"
)

// resource is one object of the inputs.
type resource struct {
	file      string
	root      *node
	path      string // "" , or items[3] of a list
	kind      string
	group     group
	namespace string
	name      string
}

func (r *resource) String() string {
	switch {
	case r.name == "":
		return r.kind
	case r.namespace == planner.DefaultNamespace:
		return r.kind + " " + r.name
	}
	return r.kind + " " + r.namespace + "/" + r.name
}

func (r *resource) value(c *converter) value { return value{c, r, r.root, r.path, ""} }

func (r *resource) position(n *node, field string) Position {
	return Position{r.file, n.line, r.String(), field}
}

// group is what is done with the resources of a kind.
type group int

const (
	unknown    group = iota
	deployment       // these become services
	statefulSet
	daemonSet
	service // these are put into the services that they concern
	configMap
	autoscaler
	claim
	job // these cannot be converted
	cronJob
	harmless // not needed here
	needed   // needed, and not there
	made     // made by a controller of Kubernetes
)

func (g group) workload() bool { return g == deployment || g == statefulSet || g == daemonSet }

// kinds are the kinds that are known, with the groups of their API.
var kinds = map[string]struct {
	group group
	apis  []string // without version; "" is the core
}{
	"Deployment":              {deployment, []string{"apps", "extensions"}},
	"StatefulSet":             {statefulSet, []string{"apps"}},
	"DaemonSet":               {daemonSet, []string{"apps", "extensions"}},
	"Service":                 {service, []string{""}},
	"ConfigMap":               {configMap, []string{""}},
	"HorizontalPodAutoscaler": {autoscaler, []string{"autoscaling"}},
	"PersistentVolumeClaim":   {claim, []string{""}},
	"Job":                     {job, []string{"batch"}},
	"CronJob":                 {cronJob, []string{"batch"}},
}

// read reads all files into resources.
func (c *converter) read(inputs []File) []planner.Fault {
	var faults []planner.Fault
	nodes, bytes := maxNodes, maxTextBytes
	for _, input := range inputs {
		r := reader{file: input.Name, nodes: nodes, bytes: bytes, open: map[*yaml.Node]bool{}}
		for _, root := range r.documents(input.Data) {
			if fault := c.add(input.Name, root, ""); fault != nil && r.fault == nil {
				r.fault = fault
			}
		}
		if nodes, bytes = r.nodes, r.bytes; r.fault != nil {
			r.template(input.Data)
			faults = append(faults, *r.fault)
		}
	}
	return faults
}

// add takes a document, or the items of one that is a list.
func (c *converter) add(file string, root *node, path string) *planner.Fault {
	r := &resource{file: file, root: root, path: path}
	v := r.value(c)
	r.kind = v.at("kind").text()
	api := v.at("apiVersion").text()
	if r.kind == "" || api == "" {
		return &planner.Fault{File: file, Line: root.line, Field: path, Reason: "is no manifest of Kubernetes: it has no " + missing(api),
			Remedy: "leave the file out"}
	}
	if strings.HasSuffix(r.kind, "List") && root.child("items") != nil {
		v.drop("metadata")
		for _, item := range v.at("items").items() {
			if fault := c.add(file, item.n, item.path); fault != nil {
				return fault
			}
		}
		return nil
	}
	meta := v.at("metadata")
	r.name = meta.at("name").text()
	r.namespace = cmp.Or(meta.at("namespace").text(), planner.DefaultNamespace)
	if strings.Contains(r.name+r.kind, "{{") {
		return &planner.Fault{File: file, Line: root.line, Reason: "is a template, not a manifest", Remedy: renderFirst}
	}
	r.group = groupOf(api, r.kind)
	c.resources = append(c.resources, r)
	return nil
}

func missing(api string) string {
	if api == "" {
		return "apiVersion"
	}
	return "kind"
}

func groupOf(api, kind string) group {
	name, _, grouped := strings.Cut(api, "/")
	if !grouped {
		name = ""
	}
	if k, ok := kinds[kind]; ok && slices.Contains(k.apis, name) {
		return k.group
	}
	if name == "" || name == "apps" || strings.HasSuffix(name, ".k8s.io") || name == "policy" || name == "extensions" {
		return otherKinds[kind].group
	}
	return unknown
}

// index finds what others refer to.
func (c *converter) index() {
	for _, r := range c.resources {
		switch r.group {
		case service, configMap, autoscaler, claim:
			c.unused[r] = true
		}
	}
}

// find is the resource of a group that is called so, nil if there is none.
func (c *converter) find(g group, namespace, name string) *resource {
	for _, r := range c.resources {
		if r.group == g && r.namespace == namespace && r.name == name {
			return r
		}
	}
	return nil
}

// metadata reads what servers fill in, and what all resources have.
func (v value) metadata() {
	v.drop("status")
	v.at("metadata").drop("creationTimestamp", "uid", "resourceVersion", "generation", "selfLink", "managedFields", "finalizers")
	v.at("metadata", "annotations").drop("kubectl.kubernetes.io/last-applied-configuration", "deployment.kubernetes.io/revision",
		"deprecated.daemonset.template.generation", "autoscaling.alpha.kubernetes.io/conditions")
}

// ofTools are annotations by which tools find again what they have made.
var ofTools = []string{"meta.helm.sh/", "helm.sh/", "kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/", "argocd.argoproj.io/", "config.kubernetes.io/",
	"internal.config.kubernetes.io/", "kubectl.kubernetes.io/", "kompose.", "pv.kubernetes.io/", "volume.kubernetes.io/", "volume.beta.kubernetes.io/storage-provisioner",
	"endpoints.kubernetes.io/"}

// ownMetadata reads that of what is put into a service, which has its own: of
// annotations, which may tell a cluster what to do, it says so.
func (v value) ownMetadata() {
	v.metadata()
	annotations := v.at("metadata", "annotations")
	var names []string
	for _, f := range annotations.fields() {
		if !f.n.seen && !slices.ContainsFunc(ofTools, func(prefix string) bool { return strings.HasPrefix(f.key, prefix) }) {
			names = append(names, f.key)
		}
	}
	if len(names) > 0 {
		annotations.lost("have no place here: "+quote(strings.Join(names, ", ")), "see what they did; the service has the annotations of its workload")
	}
	v.drop("metadata")
}

// meantSomething reports whether an annotation of pods changes what they are in
// a cluster.
func meantSomething(name, text string) bool {
	switch prefix, _, _ := strings.Cut(name, "/"); prefix {
	case "container.apparmor.security.beta.kubernetes.io", "container.seccomp.security.alpha.kubernetes.io", "seccomp.security.alpha.kubernetes.io":
		return text != "runtime/default" && text != "docker/default"
	}
	switch name {
	case "sidecar.istio.io/inject", "linkerd.io/inject", "vault.hashicorp.com/agent-inject", "consul.hashicorp.com/connect-inject", "dapr.io/enabled":
		return text != "false" && text != "disabled"
	}
	return false
}
