package compose

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/orpheus-cd/orpheus/planner"
)

// Bounds of what one Compose file may cost, with all it includes and extends.
const (
	maxFileBytes  = 256 << 10 // of one file that is read
	maxReadBytes  = 4 << 20   // of all of them
	maxReads      = 256       // files that are looked at
	maxDocuments  = 100       // in one file
	maxNodes      = 100_000   // values, with those that aliases and merges repeat
	maxTextBytes  = 4 << 20   // of all values, with variables put in
	maxNesting    = 32        // of values
	maxItems      = 1024      // of one list
	maxServices   = 500
	maxInclusions = 16  // files that include or extend each other
	maxParsed     = 512 // times that a file is parsed: each that includes or extends it has its own
	maxPublished  = 1024
	maxFaults     = 100 // listed
)

// Load finds out what a Compose file says, with all it includes and extends.
// What is wrong is told all at once, in the order of files and lines. The
// project is never nil: without Types nothing could be made of the file, and
// beside faults that are not warnings it is good only for finding more of them.
func Load(ctx context.Context, source Source) (*Project, []planner.Fault) {
	l := newLoad(ctx, source)
	project := l.project()
	project.Reads = l.disk.list()
	return project, l.faults.list()
}

// load reads one Compose file. Its faults are those of the files it reads,
// too.
type load struct {
	ctx    context.Context
	source Source
	disk   *snapshot
	faults faults
	budget budget
	parsed int    // files, each as often as it was
	steps  []step // includes and extensions under way, outermost first
}

func newLoad(ctx context.Context, source Source) *load {
	l := &load{ctx: ctx, source: source, disk: newSnapshot(ctx, source.FS)}
	l.budget.nodes, l.budget.bytes = maxNodes, maxTextBytes
	return l
}

// project reads the file and everything it leads to.
func (l *load) project() *Project {
	dir := path.Dir(l.source.Path)
	env, ok := l.environment(dir)
	if !ok {
		return &Project{}
	}
	documents, ok := l.documents(l.source.Path, nil)
	if !ok {
		return &Project{}
	}
	head := l.head(documents, dir, env)
	if env[projectNameVariable] == "" {
		env[projectNameVariable] = head.project
	}
	whole := scope{file: l.source.Path, dir: dir, env: env, include: true}
	l.steps = []step{{file: l.source.Path}}
	m, ok := l.model(documents, whole)
	if ok = ok && l.finish(m, whole); !ok {
		return &Project{Name: head.name, NamedAt: head.at}
	}
	l.rebase(m, dir, dir)
	l.overridesBeside(dir)
	return l.assemble(m, head, env)
}

// assemble makes the project of what was read.
func (l *load) assemble(m *model, head head, env map[string]string) *Project {
	p := &Project{Name: head.name, NamedAt: head.at, Files: l.source.FS, Folder: path.Dir(l.source.Path), Tree: m.raw, Extension: head.extension, Extensions: map[string]map[string]any{}}
	p.positions = m.positions(l.source.Path)
	for name, s := range mapping(m.raw["services"]) {
		if x := mapping(mapping(s)[extensionKey]); x != nil {
			p.Extensions[name] = x
		}
	}
	p.Types = l.types(m, p, head, env)
	return p
}

// head is what a file says of the project as a whole.
type head struct {
	name      string
	project   string   // the name that Compose gives it
	at        Position // of what the name comes from
	profiles  []string
	extension map[string]any
}

const (
	extensionKey        = "x-orpheus"
	projectNameVariable = "COMPOSE_PROJECT_NAME"
	profilesVariable    = "COMPOSE_PROFILES"
	fileVariable        = "COMPOSE_FILE"
)

// head finds the name of the project and its active profiles: both have to be
// known before variables are put in.
func (l *load) head(documents []*document, dir string, env map[string]string) head {
	h := head{at: Position{File: l.source.Path, Line: 1}}
	named := ""
	for _, d := range documents {
		tree := d.tree
		if name, ok := tree["name"].(string); ok && name != "" {
			named, _, _ = l.substitute(name, env, d.position("name"))
			h.at = d.position("name")
		}
		if x, ok := tree[extensionKey]; ok {
			l.extension(&h, x, d, env)
		}
	}
	if v, ok := env[profilesVariable]; ok {
		for _, p := range strings.Split(v, ",") {
			if p = strings.TrimSpace(p); p != "" && !slices.Contains(h.profiles, p) {
				h.profiles = append(h.profiles, p)
			}
		}
	}
	folder := path.Base(path.Clean("/" + dir))
	h.project = cmp.Or(loader.NormalizeProjectName(cmp.Or(named, folder)), planner.DefaultNamespace)
	namespace, _ := h.extension["namespace"].(string)
	for _, name := range []string{namespace, env[projectNameVariable], named, folder, planner.DefaultNamespace} {
		if h.name = namespaceOf(name); h.name != "" {
			break
		}
	}
	return h
}

// extension reads x-orpheus at the top of a document.
func (l *load) extension(h *head, x any, d *document, env map[string]string) {
	given := mapping(x)
	if given == nil {
		l.faults.add(d.position(extensionKey).fault("must be an object", "write it as x-orpheus: {namespace: shop}"))
		return
	}
	if h.extension == nil {
		h.extension = map[string]any{}
	}
	maps.Copy(h.extension, given)
	if v, ok := given["namespace"]; ok {
		at := d.position(extensionKey + ".namespace")
		name, isText := v.(string)
		if isText {
			name, _, _ = l.substitute(name, env, at)
			h.extension["namespace"] = name
			h.at = at
		}
		if !isText || name == "" || namespaceOf(name) != name {
			l.faults.add(at.fault("is no name of a namespace", "write small letters, digits and -, up to 63 characters"))
		}
	}
	if v, ok := given["profiles"]; ok {
		list, isList := v.([]any)
		if !isList {
			l.faults.add(d.position(extensionKey+".profiles").fault("must be a list", "write it as profiles: [debug]"))
		}
		for i, item := range list {
			at := d.position(fmt.Sprintf("%s.profiles[%d]", extensionKey, i))
			if name, ok := item.(string); ok {
				name, _, _ = l.substitute(name, env, at)
				h.profiles = append(h.profiles, name)
			} else {
				l.faults.add(at.fault("must be the name of a profile", "write it as text"))
			}
		}
	}
}

// namespaceOf is the namespace for the name of a project, "" if none of it can
// be used: other characters than small letters and digits become dashes.
func namespaceOf(name string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			b.WriteRune(r)
		default:
			b.WriteByte('-')
		}
	}
	s := b.String()
	return strings.Trim(s[:min(len(s), 63)], "-")
}

// overridesBeside warns of files that the docker command would read too.
func (l *load) overridesBeside(dir string) {
	base := path.Base(l.source.Path)
	stem := strings.TrimSuffix(base, path.Ext(base))
	if strings.HasSuffix(stem, ".override") {
		return
	}
	for _, ext := range []string{".yaml", ".yml"} {
		for _, prefix := range []string{stem, "compose", "docker-compose"} {
			name := path.Join(dir, prefix+".override"+ext)
			if name == l.source.Path || prefix != stem && !standardName(base) {
				continue
			}
			if l.disk.holds(name) {
				at := Position{File: l.source.Path, Line: 1}
				l.faults.add(at.warning(quote(name)+" is not read: what runs is what the listed file says", "include it, or say for each environment what differs in fleet.yaml's variables"))
				return
			}
		}
	}
}

// standardName reports whether the docker command finds a file by itself.
func standardName(base string) bool {
	return slices.Contains([]string{"compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"}, base)
}

// mapping is v as an object, nil if it is none.
func mapping(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}
