package manifest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/orpheus-cd/orpheus/planner"
	yaml "go.yaml.in/yaml/v3"
)

// Document is one manifest as it is in force: put together, with its
// variables, as if someone had written it so.
type Document struct {
	Kind      string
	Namespace string // of a Service
	Name      string
	Revision  planner.Revision // of a Service
	Files     []string         // it is made from, lowest layer first
	Compose   ComposePlace     // of a Service whose highest layer is a Compose file

	root    *yaml.Node
	sources map[*yaml.Node]*source
}

// ComposePlace is where a service stands in a Compose file: one that is listed,
// or that such a one includes. Zero = nowhere.
type ComposePlace struct {
	File         string
	Service      string // its key below services
	Line, Column int    // of the key
}

// Render reads a fleet as Load does, and returns its documents too: the Fleet,
// without the fields that say how it is put together, then nodes and services
// in order. What is held back is not among them.
func Render(ctx context.Context, fsys fs.FS, dir string, limits Limits) ([]Document, planner.Desired, error) {
	return NewRenderer(limits).Render(ctx, fsys, dir)
}

// Renderer renders several revisions of a fleet. As a Loader it remembers what it has
// read by object id: the next one costs what differs.
type Renderer struct{ loader *Loader }

// NewRenderer returns a Renderer with nothing remembered.
func NewRenderer(limits Limits) *Renderer {
	l := NewLoader(limits)
	l.renders = true
	return &Renderer{l}
}

// Render is Render. Values of the result are shared with later results.
func (r *Renderer) Render(ctx context.Context, fsys fs.FS, dir string) ([]Document, planner.Desired, error) {
	l := r.loader
	l.mu.Lock()
	defer l.mu.Unlock()
	l.generation++
	documents, d, err := l.render(ctx, fsys, dir)
	l.sweep(err == nil)
	return documents, d, err
}

func (l *Loader) render(ctx context.Context, fsys fs.FS, dir string) ([]Document, planner.Desired, error) {
	w, err := l.walker(ctx, fsys, dir)
	if err != nil {
		return nil, planner.Desired{}, err
	}
	fleet, err := w.fleet()
	if err != nil {
		return nil, planner.Desired{}, err
	}
	c, err := w.composer()
	if err != nil {
		return nil, planner.Desired{}, err
	}
	if !fleet.layered {
		c.vars = nil
	}
	c.show = true
	d, err := c.load()
	if err != nil {
		return nil, planner.Desired{}, err
	}
	documents := c.documents(d)
	slices.SortFunc(documents, func(a, b Document) int {
		return strings.Compare(a.Kind+" "+a.Namespace+" "+a.Name, b.Kind+" "+b.Namespace+" "+b.Name)
	})
	return documents, d, nil
}

func (c *composer) documents(d planner.Desired) []Document {
	all := []Document{{Kind: "Fleet", Name: c.fleet.Name, root: c.fleetRoot, sources: c.fleetSources}}
	for _, l := range c.layers {
		if l.fleet != nil {
			all[0].Files = append(all[0].Files, l.fleetPath())
		}
	}
	for _, m := range c.made {
		doc := Document{Files: m.files, root: m.root, sources: m.sources}
		switch {
		case m.service != nil:
			s, ok := d.Services[m.service.ID]
			if !ok {
				continue
			}
			doc.Kind, doc.Namespace, doc.Name, doc.Revision = "Service", s.ID.Namespace, s.ID.Name, s.Revision
			if m.top != nil {
				doc.Compose = m.top.place()
			}
		case m.node != nil:
			if _, ok := d.Nodes[m.node.Name]; !ok {
				continue
			}
			doc.Kind, doc.Name = "Node", string(m.node.Name)
		default:
			continue // deleted
		}
		all = append(all, doc)
	}
	return all
}

// Title names the document, for people: "service shop/web".
func (doc Document) Title() string {
	switch doc.Kind {
	case "Service":
		return "service " + planner.ServiceID{Namespace: doc.Namespace, Name: doc.Name}.String()
	case "Node":
		return "node " + doc.Name
	}
	return "fleet " + doc.Name
}

// WriteYAML writes the document as YAML that reads back as the same. With
// origin each value has a comment that tells where it was written. Nothing in
// it can act on a terminal.
func (doc Document) WriteYAML(w io.Writer, origin bool) error {
	var b bytes.Buffer
	if origin {
		fmt.Fprintf(&b, "# %s", Printable(doc.Title()))
		if doc.Revision != "" {
			fmt.Fprintf(&b, ", revision %s", doc.Revision)
		}
		b.WriteString("\n")
	}
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	enc.CompactSeqIndent()
	if err := enc.Encode(doc.shown(doc.root, origin)); err != nil {
		return fmt.Errorf("write %s: %w", doc.Title(), err)
	}
	if err := enc.Close(); err != nil {
		return fmt.Errorf("write %s: %w", doc.Title(), err)
	}
	_, err := w.Write(harmlessYAML(b.Bytes()))
	return err
}

// shown copies a tree into the form in which it is written.
func (doc Document) shown(n *yaml.Node, origin bool) *yaml.Node {
	c := &yaml.Node{Kind: n.Kind, Tag: n.Tag, Value: n.Value}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
		c.Style = textStyle(n)
	}
	for i, child := range n.Content {
		key := n.Kind == yaml.MappingNode && i%2 == 0
		c.Content = append(c.Content, doc.shown(child, origin && !key))
	}
	if origin && len(n.Content) == 0 {
		c.LineComment = "# " + Printable(doc.origin(n))
	}
	return c
}

// origin tells where a value was written.
func (doc Document) origin(n *yaml.Node) string {
	s := doc.sources[n]
	if s == nil {
		return ""
	}
	return s.file + ":" + strconv.Itoa(n.Line) + s.madeWith() + s.interpolated
}

// plainText needs no quotes wherever it stands.
var plainText = regexp.MustCompile(`^([A-Za-z/][A-Za-z0-9._/@-]*(:[A-Za-z0-9._/@-]+)*|[0-9]+(ms|s|m|h|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi))$`)

// textStyle is how a text is written, so that every reader takes it for text.
func textStyle(n *yaml.Node) yaml.Style {
	switch {
	case strings.ContainsFunc(n.Value, unprintable):
		return yaml.DoubleQuotedStyle
	case strings.Contains(n.Value, "\n"):
		return yaml.LiteralStyle
	case plainText.MatchString(n.Value) && !ambiguous(n.Value):
		return 0 // the encoder quotes what reads as something else
	}
	return yaml.DoubleQuotedStyle
}

// unprintable is what must not reach a terminal as it is.
func unprintable(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }

// harmlessYAML escapes what the encoder lets pass and a terminal could act on.
// It stands in double quotes only: see textStyle.
func harmlessYAML(text []byte) []byte {
	if !bytes.ContainsFunc(text, unprintable) {
		return text
	}
	var b bytes.Buffer
	for _, r := range string(text) {
		switch {
		case !unprintable(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.Bytes()
}

// Value is the document as encoding/json takes it: maps, lists, texts, numbers
// and truth values.
func (doc Document) Value() any { return plainValue(doc.root) }

func plainValue(n *yaml.Node) any {
	switch n.Kind {
	case yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			m[n.Content[i].Value] = plainValue(n.Content[i+1])
		}
		return m
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			list[i] = plainValue(item)
		}
		return list
	}
	var v any
	if n.Tag == "!!str" || n.Decode(&v) != nil {
		return n.Value
	}
	return v
}

// Origins tells for each value, by its field path, where it was written:
// file:line, and the variables it was made with.
func (doc Document) Origins() map[string]string {
	origins := map[string]string{}
	doc.addOrigins(value{doc.root, ""}, origins)
	return origins
}

func (doc Document) addOrigins(v value, origins map[string]string) {
	if len(v.node.Content) == 0 {
		origins[v.path] = doc.origin(v.node)
	}
	for i, n := range v.node.Content {
		switch {
		case v.node.Kind == yaml.SequenceNode:
			doc.addOrigins(v.item(i, n), origins)
		case i%2 == 1:
			doc.addOrigins(v.child(v.node.Content[i-1].Value, n), origins)
		}
	}
}
