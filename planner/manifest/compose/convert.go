package compose

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/orpheus-cd/orpheus/planner"
)

// Convert says what a project says in the words of our own manifests: one
// document for each service that is enabled, in order of names. A service that
// runs to its end before another starts has none: it is a hook of the other.
//
// Everything that cannot be said so is a fault that names key, reason and
// remedy; a warning, where leaving it out changes nothing that runs. Documents
// come beside faults, too: with one that is no warning they are good only for
// finding more of them. What single values may be is for package manifest to
// check, which finds the place of a fault by Document.Origins.
func Convert(p *Project) ([]Document, []planner.Fault) {
	if p == nil || p.Types == nil {
		return nil, nil
	}
	c := newConverter(p)
	c.checkKeys()
	c.checkProject()
	c.findHooks()
	var documents []Document
	for _, name := range c.enabled {
		switch c.completes[name] {
		case "":
			documents = append(documents, c.document(c.service(name)))
		case unclear:
			c.service(name) // for what is wrong with it besides
		}
	}
	slices.SortStableFunc(c.faults, planner.CompareFaults)
	return documents, slices.Compact(c.faults)
}

// converter converts one project.
type converter struct {
	p       *Project
	faults  []planner.Fault
	enabled []string          // services, in order
	names   map[string]string // their names in the fleet
	// completes has the services that run to their end, each with the one that
	// waits for that, or unclear.
	completes map[string]string
	shared    map[string]string        // named volumes, each with the first service that mounts it
	data      map[string][]*dataFolder // by service, lazily
	words     *words                   // lazily
	looked    map[string]bool          // paths in p.Reads
	folders   map[string]folder        // that were looked into, by path
	unread    int64                    // bytes that may still be looked into for words
}

// unclear stands for the service that waits for the end of another, where that
// cannot be said: why not is a fault.
const unclear = "?"

func newConverter(p *Project) *converter {
	c := &converter{p: p, names: map[string]string{}, completes: map[string]string{}, shared: map[string]string{}, looked: map[string]bool{},
		folders: map[string]folder{}, unread: maxWordBytes}
	c.enabled = slices.Sorted(maps.Keys(p.Types.Services))
	for _, r := range p.Reads {
		c.looked[r.Path] = true
	}
	c.nameServices()
	return c
}

func (c *converter) fault(field, reason, remedy string) {
	c.faults = append(c.faults, c.p.Position(field).fault(reason, remedy))
}

func (c *converter) warn(field, reason, remedy string) {
	c.faults = append(c.faults, c.p.Position(field).warning(reason, remedy))
}

// nameServices finds the name in the fleet of each service. It is the same name
// but for its case, which name servers do not mind, and for underscores: the
// name with these is an alias. Any other change would have programs ask for a
// name there is not.
func (c *converter) nameServices() {
	taken := map[string]string{}
	for _, name := range c.enabled {
		label := strings.ReplaceAll(strings.ToLower(name), "_", "-")
		c.names[name] = label
		at := "services." + name
		switch other := taken[label]; {
		case !isLabel(label, maxServiceName):
			c.fault(at, "is no name for a service: in a fleet it is part of a host name", "call it "+cmp.Or(labelOf(name, maxServiceName), "web")+", here and where others name it")
		case other != "":
			c.fault(at, "has the name of service "+other+", "+label+": case makes no difference in a host name, and an underscore is a hyphen", "give one of them another name")
		}
		taken[label] = name
	}
}

const maxServiceName = 58 // as in package manifest: a slot's host name is "name-999"

// isLabel reports whether s can be a part of a host name.
func isLabel(s string, most int) bool {
	if s == "" || len(s) > most || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// labelOf is the nearest name to s that can be a part of a host name, "" if there
// is none.
func labelOf(s string, most int) string {
	label := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, s)
	return strings.Trim(label[:min(len(label), most)], "-")
}

// service is one service while it is converted.
type service struct {
	*converter
	types.ServiceConfig
	at       string // services.web
	swarm    bool   // deploy is given: Swarm's semantics
	spec     object
	security object
	volumes  list
	mounts   list
	contents map[string][]byte
}

// service converts one service, all but what x-orpheus says.
func (c *converter) service(name string) *service {
	s := &service{converter: c, ServiceConfig: c.p.Types.Services[name], at: "services." + name, contents: map[string][]byte{}}
	s.swarm = s.Deploy != nil
	s.placed()
	s.program()
	s.variables()
	s.checkSwarmNames()
	s.checkEnd()
	s.reachable()
	s.resources()
	s.stored()
	s.secured()
	s.kernel()
	s.checked()
	s.ended()
	s.logged()
	s.paced()
	s.depends()
	if len(s.volumes) > 0 {
		s.spec.Put("volumes", s.volumes, "")
	}
	if len(s.mounts) > 0 {
		s.spec.Put("volumeMounts", s.mounts, "")
	}
	return s
}

// document makes the document of a service.
func (c *converter) document(s *service) Document {
	if over, ok := c.p.Extensions[s.Name]; ok {
		overlay(&s.spec, over, s.at+".x-orpheus")
	}
	meta := object{member("name", c.names[s.Name], s.at)}
	if c.p.Name != planner.DefaultNamespace {
		meta.Put("namespace", c.p.Name, c.namespaceField())
	}
	if notes := s.annotations(); len(notes) > 0 {
		meta.Put("annotations", notes, s.at+".labels")
	}
	s.warnOfName()
	root := object{
		member("apiVersion", "orpheus/v1", s.at),
		member("kind", "Service", s.at),
		member("metadata", meta, s.at),
		member("spec", s.spec, s.at),
	}
	origins := map[string]Position{"": c.p.Position(s.at)}
	doc := Document{Service: s.Name, Root: c.p.writer(origins).Node(root, "", origins[""]), Origins: origins}
	if len(s.contents) > 0 {
		doc.Contents = s.contents
	}
	return doc
}

// namespaceField is where the namespace was said.
func (c *converter) namespaceField() string {
	if _, ok := c.p.Extension["namespace"]; ok {
		return "x-orpheus.namespace"
	}
	return "name"
}

// field is the name of a key of the service.
func (s *service) field(key string) string { return s.at + "." + key }

// indexed is the name of an item of a list of the service; where the list has
// another form in the file, that of the list.
func (s *service) indexed(key string, i int) string {
	if l, ok := s.raw(key).([]any); ok && i < len(l) {
		return s.field(key) + "[" + strconv.Itoa(i) + "]"
	}
	return s.field(key)
}

// keyed is the name of a member of an object of the service, or of the item of the
// list that stands in its place in the file: NAME=VALUE, NAME:VALUE or NAME.
func (s *service) keyed(key, name string) string {
	field, found := s.find(key, name)
	if !found {
		return s.field(key)
	}
	return field
}

// find tells whether the file has such a member.
func (s *service) find(key, name string) (field string, found bool) {
	switch all := s.raw(key).(type) {
	case map[string]any:
		_, found = all[name]
		return s.field(key) + "." + name, found
	case []any:
		for i, each := range all {
			text, _ := each.(string)
			if rest, ok := strings.CutPrefix(text, name); ok && (rest == "" || rest[0] == '=' || rest[0] == ':') {
				return s.indexed(key, i), true
			}
		}
	}
	return "", false
}

// written is where the first of these keys has the member, the last if none has.
func (s *service) written(name string, keys ...string) string {
	for _, key := range keys {
		if field, found := s.find(key, name); found {
			return field
		}
	}
	return s.field(keys[len(keys)-1])
}

// raw is what the file says under a key of the service, nil if nothing.
func (s *service) raw(key string) any { return inside(s.tree(), key) }

// tree is what the file says of the service.
func (s *service) tree() map[string]any {
	all, _ := s.p.Tree["services"].(map[string]any)
	own, _ := all[s.Name].(map[string]any)
	return own
}

// inside is a member of an object, by a path of keys.
func inside(m map[string]any, path ...string) any {
	for _, key := range path[:len(path)-1] {
		m, _ = m[key].(map[string]any)
	}
	return m[path[len(path)-1]]
}
