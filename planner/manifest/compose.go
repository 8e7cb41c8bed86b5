package manifest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
	yaml "go.yaml.in/yaml/v3"
)

// part is a document of one file that a composite is made from.
type part struct {
	head
	file    string
	id      string // of the blob, "" = unknown
	layer   int
	compose *composeDocument // it comes from a Compose file
}

// unit is the documents of all layers about one subject, lowest first.
type unit struct {
	subject
	parts []part
}

// composite is what a unit says, decoded. It is shared between loads.
type composite struct {
	subject  subject
	service  *service // nil = none, or the node
	node     *node
	files    []string          // it is made from
	contents map[string][]byte // that it mounts and the repository does not have
	also     []string          // it is held back with these: what Compose files lead to
	faults   []planner.Fault
	broken   bool
	size     int64 // of its keys and values
	used     []usedVariable
	use

	root    *yaml.Node       // for who wants to see it, nil otherwise
	top     *composeDocument // the highest part, if a Compose file says it; as root
	sources map[*yaml.Node]*source
}

// usedVariable is a variable as it was when a composite was made with it.
type usedVariable struct {
	name string // "" = all of them
	was  fingerprint
}

// maxCachedFaults is how many faults a composite may have to be remembered:
// those of hostile ones would fill the memory.
const maxCachedFaults = 10

// composer puts the documents of a fleet's layers together.
type composer struct {
	*walker
	layers []*layer
	vars   *variables // nil = ${ is text like any other
	fleet  *planner.Fleet

	show bool // keep the documents themselves
	made []*composite
	read []*composeFile // that layers list
	// The fleet's own document.
	fleetRoot    *yaml.Node
	fleetSources map[*yaml.Node]*source

	units  []*unit
	unseen unseen
	bad    map[string]bool // files with a fault
	told   map[string]int  // faults, by file
	open   []openFile      // by layer: the file read last, since units follow files
	total  int64           // size of all composites
}

type openFile struct {
	name string
	raws []raw
}

// composer reads the layers of the fleet in the walker's root.
func (w *walker) composer() (*composer, error) {
	layers, err := w.readLayers()
	if err != nil {
		return nil, err
	}
	c := &composer{walker: w, layers: layers, vars: resolveVariables(layers),
		bad: map[string]bool{}, told: map[string]int{}, open: make([]openFile, len(layers))}
	for _, l := range layers {
		if err := l.refusal(); err != nil {
			return nil, err
		}
		w.faults = append(w.faults, withFile(l.d.faults.list(), l.fleetPath())...)
	}
	c.fleet, c.fleetRoot, c.fleetSources, err = w.mergedFleet(layers)
	return c, err
}

// load reads the manifests of all layers and puts them together.
func (c *composer) load() (planner.Desired, error) {
	if err := c.walkLayers(); err != nil {
		return planner.Desired{}, err
	}
	c.group()
	if err := c.composeAll(); err != nil {
		return planner.Desired{}, err
	}
	g, err := c.gather()
	if err != nil {
		return planner.Desired{}, err
	}
	d, err := c.desired(c.fleet, g)
	c.inComposeWords(d.Faults)
	return d, err
}

// walkLayers collects the manifests of all layers. A base without any is a
// wrong path.
func (c *composer) walkLayers() error {
	c.role, c.barred = roleHeads, make([]bool, len(c.layers))
	top := c.root
	for i, l := range c.layers {
		before := len(c.files)
		c.root, c.layer, c.ignore, c.composed = l.dir, i, compileGlobs(l.ignore), l.composeGlobs()
		listed := len(c.listed)
		if err := c.walkRoot(); err != nil {
			return err
		}
		c.unmatched(l, c.listed[listed:])
		if len(c.files) == before && l.fleet == nil {
			return &RefusedError{Reason: "base " + quote(l.dir) + " holds no manifest", Remedy: "check spec.base in fleet.yaml, or give the folder a fleet.yaml if it is to be empty"}
		}
	}
	c.root = top
	if err := c.readCompose(); err != nil {
		return err
	}
	slices.SortFunc(c.files, func(a, b found) int {
		if a.layer != b.layer {
			return a.layer - b.layer
		}
		return strings.Compare(a.path, b.path)
	})
	return nil
}

// group finds the units, in the order of their first parts, and refuses two
// documents of one layer for one subject.
func (c *composer) group() {
	bySubject := make(map[subject]*unit, len(c.files))
	for _, f := range c.files {
		c.add(withFile(f.doc.faults, f.path))
		for _, h := range f.doc.heads {
			u := bySubject[h.subject]
			if u == nil {
				u = &unit{subject: h.subject}
				bySubject[h.subject], c.units = u, append(c.units, u)
			}
			p := part{head: h, file: f.path, id: f.id, layer: f.layer}
			if f.compose != nil {
				p.id, p.compose = f.compose.serial, f.compose.documents[h.index]
			}
			if n := len(u.parts); n > 0 && u.parts[n-1].layer == p.layer {
				c.twice(u.parts[n-1], p)
				c.twice(p, u.parts[n-1])
				continue
			}
			u.parts = append(u.parts, p)
		}
	}
}

// twice says at a part that the other is about the same in the same layer.
func (c *composer) twice(at, other part) {
	where := fmt.Sprintf("on line %d", other.at.line)
	if other.file != at.file {
		where = fmt.Sprintf("in %s line %d", Printable(other.file), other.at.line)
	}
	remedy := "keep one of them"
	if at.kind == "Service" {
		remedy += ", or choose another name or namespace"
	}
	c.add([]planner.Fault{{File: at.file, Line: at.at.line, Column: at.at.column, Field: "metadata.name",
		Reason: Printable(at.subject.String()) + " is described also " + where, Remedy: remedy}})
}

// add takes faults, of each file only so many, and marks the files.
func (c *composer) add(faults []planner.Fault) {
	for _, f := range faults {
		c.bad[f.File] = c.bad[f.File] || !f.Warning
		c.told[f.File]++
		switch n := c.told[f.File]; {
		case n <= c.limits.FaultsPerFile:
			c.faults = append(c.faults, f)
		case n == c.limits.FaultsPerFile+1:
			c.faults = append(c.faults, planner.Fault{File: f.File, Line: f.Line, Reason: "more faults are not listed", Warning: f.Warning})
		}
	}
}

// composeAll puts the units together, but for those that a file which cannot
// be read may have a part in.
func (c *composer) composeAll() error {
	doubt, err := c.doubts()
	if err != nil {
		return err
	}
	c.made = make([]*composite, 0, len(c.units))
	for _, u := range c.units {
		if doubt.about(u) {
			c.unseen.subject(u.subject)
			continue
		}
		m, err := c.composite(u)
		if err != nil {
			return err
		}
		if c.total += m.size; c.total > c.limits.TotalBytes {
			return &RefusedError{Reason: fmt.Sprintf("the manifests with their variables together have more than %d bytes", c.limits.TotalBytes), Remedy: "use fewer or shorter variables"}
		}
		c.add(m.faults)
		c.made = append(c.made, m)
	}
	return nil
}

// made are the files with which a composite is held back.
func (m *composite) made() []string {
	if len(m.also) == 0 {
		return m.files
	}
	return slices.Concat(m.files, m.also)
}

// held reports whether a composite is held back with a file.
func (c *composer) held(m *composite) bool {
	return slices.ContainsFunc(m.made(), func(name string) bool { return c.bad[name] })
}

// composite returns what the unit says, put together now or before.
func (c *composer) composite(u *unit) (*composite, error) {
	key := u.key()
	if m := c.composites[key]; key != "" && m != nil && c.show == c.renders && c.unchanged(m) {
		m.last = c.generation
		c.stats.ComposedKept++
		return m, nil
	}
	if err := c.ctx.Err(); err != nil {
		return nil, fmt.Errorf("read manifests: %w", err)
	}
	c.stats.Composed++
	m, err := c.compose(u)
	if err == nil && key != "" && len(m.faults) <= maxCachedFaults && c.show == c.renders {
		m.last = c.generation
		c.composites[key] = m
	}
	return m, err
}

// key identifies what a unit is made from, "" if that has no identity.
func (u *unit) key() string {
	var b strings.Builder
	for _, p := range u.parts {
		if p.id == "" {
			return ""
		}
		b.WriteString(p.file)
		b.WriteByte(0)
		b.WriteString(p.id)
		b.WriteByte(0)
		b.WriteString(strconv.Itoa(p.index))
		b.WriteByte(0)
	}
	return b.String()
}

// unchanged reports whether the variables that m used are what they were.
func (c *composer) unchanged(m *composite) bool {
	for _, u := range m.used {
		if c.vars.print(u.name, len(m.faults) > 0) != u.was {
			return false
		}
	}
	return true
}

// compose reads the parts, lays them over each other, puts in the variables
// and decodes the result.
func (c *composer) compose(u *unit) (*composite, error) {
	d := newDecoder(c.limits, map[*yaml.Node]*source{})
	m := merger{d}
	out := &composite{subject: u.subject}
	var root *yaml.Node
	var composeFiles []*composeFile
	for _, p := range u.parts {
		own, err := c.own(m, p)
		if err != nil {
			return nil, err
		}
		out.files = append(out.files, p.file)
		if p.compose != nil {
			composeFiles, out.also = append(composeFiles, p.compose.from), append(out.also, p.compose.from.files...)
			out.contents = p.compose.Contents
		}
		if root == nil {
			root = own
			m.alone(own)
		} else {
			root = m.merge(root, own, "", "")
		}
	}
	if root != nil {
		c.decode(d, u.kind, root, out)
	}
	out.faults, out.broken = d.faults.list(), d.faults.broken
	if out.service != nil {
		out.service.contents = out.contents
	}
	if len(composeFiles) > 0 {
		out.inWords(composeFiles)
	}
	for i := range out.used {
		out.used[i].was = c.vars.print(out.used[i].name, len(out.faults) > 0)
	}
	if c.show {
		out.root, out.sources, out.top = root, d.sources, u.parts[len(u.parts)-1].compose
	}
	return out, nil
}

// decode puts the variables into a document and decodes it.
func (c *composer) decode(d *decoder, kind string, root *yaml.Node, out *composite) {
	v := value{root, ""}
	d.seen[""] = d.at(root)
	e := &expander{d: d, vars: c.vars, used: map[string]bool{}}
	e.tree(v)
	for name := range e.used {
		out.used = append(out.used, usedVariable{name: name})
	}
	if out.size = e.size; out.size > maxComposed {
		d.fault("", fmt.Sprintf("has more than %d KiB with all its parts and variables", maxComposed>>10), "split it")
		return
	}
	if kind == "Node" {
		out.node = decodeNode(d, v)
	} else if out.service = decodeService(d, v); out.service != nil {
		out.service.settle()
	}
}

// settle lets go of the variables that values were made with: the service may
// be remembered for longer than they are.
func (s *service) settle() {
	settle := func(p *position) {
		if p.from != nil {
			p.from = &source{file: p.from.file}
		}
	}
	for i := range s.claims {
		settle(&s.claims[i].at)
	}
	for i := range s.files {
		settle(&s.files[i].at)
	}
	for i := range s.depends {
		settle(&s.depends[i].at)
	}
}

// own is a part as the decoder may change it.
func (c *composer) own(m merger, p part) (*yaml.Node, error) {
	if p.compose != nil {
		return p.compose.own(m.d, c.vars), nil
	}
	doc, err := c.raw(p)
	if err != nil {
		return nil, err
	}
	return m.own(doc.root, &source{file: p.file}, doc.bad), nil
}

// alone refuses directives in a document that nothing lies below.
func (m merger) alone(root *yaml.Node) {
	if i := indexOf(root, directive); i >= 0 {
		m.d.bad[root.Content[i]] = true
		m.d.report(m.d.at(root.Content[i]), planner.Fault{Field: directive, Reason: "changes nothing: no base describes this", Remedy: "check its kind, namespace and name, or remove it"})
	}
}

// raw reads a document again. What it says was checked when its head was
// read.
func (c *composer) raw(p part) (raw, error) {
	if o := c.open[p.layer]; o.name == p.file && p.index < len(o.raws) {
		return o.raws[p.index], nil
	}
	data, err := readFile(c.fsys, p.file, c.limits.FileBytes)
	if err != nil {
		return raw{}, fmt.Errorf("read %s: %w", p.file, err)
	}
	doc := parse(data, roleRaw, c.limits, false)
	if p.index >= len(doc.raws) || doc.heads[p.index].subject != p.subject {
		return raw{}, fmt.Errorf("read %s: it changed while it was read", p.file)
	}
	c.open[p.layer] = openFile{p.file, doc.raws}
	return doc.raws[p.index], nil
}

// gather takes what is made from good files only, and reads the files that it
// mounts.
func (c *composer) gather() (*gathered, error) {
	reader := newFileReader(c.walker)
	ready := make([]*planner.Service, len(c.made))
	for i, m := range c.made {
		if m.service == nil || m.broken {
			continue
		}
		full, faults, err := reader.fill(m.service, m.service.at.in(""))
		if err != nil {
			return nil, err
		}
		c.add(faults)
		ready[i] = full
	}
	g := &gathered{services: make([]placedService, 0, len(c.made)), ready: make([]*planner.Service, 0, len(c.made))}
	for i, m := range c.made {
		unread := m.service != nil && ready[i] == nil
		if m.broken || unread || c.held(m) {
			c.unseen.subject(m.subject)
			switch {
			case m.service == nil:
			case m.service.hasName():
				c.unseen.faulty = append(c.unseen.faulty, placedService{m.service, m.service.at.in(""), m.made()})
			default:
				c.unseen.any = true
			}
			continue
		}
		if m.service != nil {
			g.services = append(g.services, placedService{m.service, m.service.at.in(""), m.made()})
			g.ready = append(g.ready, ready[i])
		}
		if m.node != nil {
			g.nodes = append(g.nodes, placedNode{m.node, m.node.at.in(""), m.made()})
		}
	}
	c.unseen.any = c.unseen.any || c.passedBy || slices.ContainsFunc(c.files, func(f found) bool { return f.doc.broken && f.doc.unsure })
	g.unseen = c.unseen
	return g, nil
}
