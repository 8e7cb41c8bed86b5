package manifest

import (
	"github.com/orpheus-cd/orpheus/planner"
	yaml "go.yaml.in/yaml/v3"
)

// subject is what a document is about. Documents of different layers with one
// subject are one.
type subject struct {
	kind      string
	namespace string // "" for a Node
	name      string
}

func (s subject) String() string {
	if s.kind == "Node" {
		return "node " + s.name
	}
	return "service " + planner.ServiceID{Namespace: s.namespace, Name: s.name}.String()
}

// head is the subject of one document of a file.
type head struct {
	subject
	at    position // of its name
	index int      // in parsed.heads
}

// raw is one document before it is decoded.
type raw struct {
	root *yaml.Node
	bad  map[*yaml.Node]bool // what the lint has refused
}

// head notes what a document is about. The rest of it is for the decoder, once
// it is put together.
func (p *parsed) head(d *decoder, v value, kind string, r role) {
	h := head{subject: subject{kind: kind}, index: len(p.heads)}
	meta := lookup(v.node, "metadata")
	if meta == nil {
		d.fault("metadata", "is required", "add it")
		p.unsure = true
		return
	}
	if !d.mapping(value{meta, "metadata"}, "{name: web}") {
		p.unsure = true
		return
	}
	name := lookup(meta, "name")
	if name == nil || name.Kind != yaml.ScalarNode || name.Value == "" {
		d.fault("metadata.name", "is required", "add it")
		p.unsure = true
		return
	}
	h.name, h.at = name.Value, d.at(name)
	if kind == "Service" {
		h.namespace = planner.DefaultNamespace
		if ns := lookup(meta, "namespace"); ns != nil && ns.Kind == yaml.ScalarNode && ns.Value != "" && !isNull(ns) {
			h.namespace = ns.Value
		}
	}
	p.heads = append(p.heads, h)
	if r == roleRaw {
		p.raws = append(p.raws, raw{v.node, d.bad})
	}
}
