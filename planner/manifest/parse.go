package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/orpheus-cd/orpheus/planner"
	yaml "go.yaml.in/yaml/v3"
)

// parsed is what one blob says, whatever its path. It is shared between loads
// and never changed after parsing.
type parsed struct {
	services []*service
	nodes    []*node
	fleet    *planner.Fleet
	layered  bool            // fleet is not all of it: see layers.go
	composed bool            // it lists Compose files: see composefiles.go
	heads    []head          // of a file that is put together with others: see heads.go
	raws     []raw           // the documents of heads; nil unless asked for
	torn     bool            // it is no YAML, or holds nothing at all
	unsure   bool            // some document does not say what it is about
	faults   []planner.Fault // in order, without File
	broken   bool            // at least one of them is not a warning
}

// service is a parsed Service document.
type service struct {
	planner.Service // without File; Revision is "", and Hooks nil, while files is not empty
	at              position
	files           []fileRef
	contents        map[string][]byte // of files that are not in the repository
	claims          []claim
	hooks           []hookPlan
	depends         []place // of the items of DependsOn
	aliases         []place // of those of Aliases
	filled          *filled // the last result of reading files
}

// hasName reports whether the service says which one it is.
func (s *service) hasName() bool { return s.ID.Name != "" && s.ID.Namespace != "" }

// fileRef is a file volume whose content is not known to the blob.
type fileRef struct {
	volume int // index in Template.Volumes
	path   string
	field  string
	at     position
}

// place is where a field of a document stands.
type place struct {
	field string
	at    position
}

// claim is a port of the node's that the service wants for itself.
type claim struct {
	protocol string
	port     int
	address  string // "" = all
	fleet    bool   // on every node, not just where the service runs
	field    string
	at       position
}

// role says what a file may hold.
type role byte

const (
	roleManifest role = 'm'
	roleFleet    role = 'f'
	roleLayer    role = 'l' // fleet.yaml of a layer
	roleHeads    role = 'h' // a manifest of a layer: only what its documents are about
	roleRaw      role = 't' // the same, and the documents themselves
)

// marksFleet reports whether the file is a fleet.yaml.
func (r role) marksFleet() bool { return r == roleFleet || r == roleLayer }

const byteOrderMark = "\uFEFF"

// lfsPointer begins a file whose content is not in the repository.
const lfsPointer = "version https://git-lfs.github.com/spec/"

// parse reads all documents of a file. all accepts fields this version
// refuses.
func parse(data []byte, r role, limits Limits, all bool) *parsed {
	faults := &faultList{limit: limits.FaultsPerFile}
	p := &parsed{}
	if reason, remedy := unreadable(data); reason != "" {
		p.unsure, p.torn = true, true
		faults.add(planner.Fault{Line: 1, Reason: reason, Remedy: remedy})
	} else {
		p.documents(bytes.TrimPrefix(data, []byte(byteOrderMark)), r, limits, all, faults)
	}
	p.faults, p.broken = faults.list(), faults.broken
	return p
}

// unreadable says why data is no text that could be YAML.
func unreadable(data []byte) (reason, remedy string) {
	switch {
	case bytes.HasPrefix(data, []byte(lfsPointer)):
		return "is a Git LFS pointer, not the file itself", "commit the file without LFS: large files are not followed"
	case !utf8.Valid(data):
		return "is not valid UTF-8", "save it as UTF-8"
	case bytes.IndexByte(data, 0) >= 0:
		return "has a NUL byte", "save it as text"
	}
	return "", ""
}

func (p *parsed) documents(data []byte, r role, limits Limits, all bool, faults *faultList) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	found := 0
	for n := 0; ; n++ {
		node, err := next(dec)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			faults.add(syntaxFault(data, err))
			p.unsure, p.torn = true, true
			return
		}
		if n >= limits.Documents {
			faults.add(planner.Fault{Line: node.Line, Reason: fmt.Sprintf("more than %d documents in one file", limits.Documents), Remedy: "split it"})
			p.unsure = true
			return
		}
		if len(node.Content) != 1 || isNull(node.Content[0]) && node.Content[0].Style == 0 && node.Content[0].Anchor == "" {
			continue // nothing between two separators
		}
		found++
		d := &decoder{limits: limits, all: all, seen: map[string]position{}, bad: map[*yaml.Node]bool{}, faults: faults}
		d.seen[""] = d.at(node.Content[0])
		if d.ours(node.Content[0]) && d.lint(node.Content[0]) {
			p.document(d, node.Content[0], r)
		} else {
			p.unsure = true
		}
		p.unsure = p.unsure || len(d.bad) > 0
	}
	switch {
	case found == 0:
		p.unsure, p.torn = true, true
		faults.add(planner.Fault{Line: 1, Reason: "holds no document", Remedy: "delete the file, or list it in spec.ignore of fleet.yaml"})
	case r.marksFleet() && found > 1:
		faults.add(planner.Fault{Line: 1, Reason: "holds more than one document", Remedy: "keep only the one of kind Fleet here"})
	}
}

// next reads one document. The parser is not ours: should it ever panic, that
// is a fault of this file and not the end of the agent.
func next(dec *yaml.Decoder) (node *yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the YAML parser gave up: %v", r)
		}
	}()
	node = &yaml.Node{}
	return node, dec.Decode(node)
}

var yamlError = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?(.*)`)

// conflictMark and tabIndent are what most often makes a file no YAML.
var (
	conflictMark = regexp.MustCompile(`(?m)^(<<<<<<<|>>>>>>>) `)
	tabIndent    = regexp.MustCompile(`(?m)^ *\t+ *[^\s#]`)
)

func syntaxFault(data []byte, err error) planner.Fault {
	m := yamlError.FindStringSubmatch(strings.ReplaceAll(err.Error(), "\n", " "))
	line, _ := strconv.Atoi(m[1])
	f := planner.Fault{Line: max(line, 1), Reason: "is not valid YAML: " + shorten(m[2]), Remedy: "correct it, or " + ignoreIt}
	if at := conflictMark.FindIndex(data); at != nil {
		f.Line, f.Reason, f.Remedy = lineAt(data, at[0]), "holds a merge conflict", "resolve it"
	} else if at := tabIndent.FindIndex(data); at != nil {
		f.Line, f.Reason, f.Remedy = lineAt(data, at[0]), "is not valid YAML: a tab where a line begins", "indent with spaces"
	}
	return f
}

// lineAt is the number of the line that holds data[offset].
func lineAt(data []byte, offset int) int { return 1 + bytes.Count(data[:offset], []byte{'\n'}) }

// kindsNotBuilt are the kinds of orpheus/v1 this version refuses.
var kindsNotBuilt = []string{"Job", "CronJob", "Config", "Secret", "Volume"}

// kindsRead are those it reads.
var kindsRead = []string{"Fleet", "Node", "Service"}

const apiVersion = "orpheus/v1"

// ignoreIt is the remedy for a file that was never meant for us.
const ignoreIt = "list the file in spec.ignore of fleet.yaml if it is no manifest"

// ours reports whether the document claims to be a manifest of a version we
// read; nothing else is said about one that does not.
func (d *decoder) ours(root *yaml.Node) bool {
	if root.Kind != yaml.MappingNode {
		d.fault("", "is not a manifest of Orpheus: a document must be an object, not "+kindOf(root), ignoreIt)
		return false
	}
	api, kind := lookup(root, "apiVersion"), lookup(root, "kind")
	switch {
	case api != nil && api.Value == apiVersion:
		return true
	case api != nil && strings.HasPrefix(api.Value, "orpheus/"):
		d.seen["apiVersion"] = d.at(api)
		d.fault("apiVersion", quote(api.Value)+" is not supported by this version", "write "+apiVersion)
	case api == nil && kind != nil && slices.Contains(kindsRead, kind.Value):
		d.fault("apiVersion", "is required", "write apiVersion: "+apiVersion)
	default:
		reason, remedy := stranger(root, api, kind)
		d.fault("", "is not a manifest of Orpheus: "+reason, remedy)
	}
	return false
}

// document decodes the document at root by its kind.
func (p *parsed) document(d *decoder, root *yaml.Node, r role) {
	v, kind := value{root, ""}, lookup(root, "kind")
	if kind == nil || kind.Kind != yaml.ScalarNode {
		d.fault("kind", "is required", "write kind: Service")
		p.unsure = true
		return
	}
	d.seen["kind"] = d.at(kind)
	switch {
	case kind.Value == "Fleet" && r == roleFleet:
		p.fleet, p.layered, p.composed = decodeFleet(d, v)
	case kind.Value == "Fleet" && r == roleLayer:
		p.raws = append(p.raws, raw{root, d.bad})
	case kind.Value == "Fleet":
		d.fault("kind", "a second Fleet: the fleet is described by the fleet.yaml in its own folder", "remove it, or list the file in spec.ignore of fleet.yaml")
	case r.marksFleet():
		d.fault("kind", "fleet.yaml holds only the document of kind Fleet", "move this document to another file")
	case (r == roleHeads || r == roleRaw) && (kind.Value == "Service" || kind.Value == "Node"):
		p.head(d, v, kind.Value, r)
	case kind.Value == "Service":
		s := decodeService(d, v)
		if s == nil || !s.hasName() {
			p.unsure = true
		} else {
			p.services = append(p.services, s)
		}
	case kind.Value == "Node":
		if n := decodeNode(d, v); n != nil {
			p.nodes = append(p.nodes, n)
		}
	default:
		p.unsure = !d.otherKind(kind.Value) || p.unsure
	}
}

// otherKind refuses a kind and reports whether it is one of ours.
func (d *decoder) otherKind(kind string) bool {
	for _, k := range kindsNotBuilt {
		if k == kind {
			d.fault("kind", "kind "+kind+" is not supported by this version", "remove the document, or list the file in spec.ignore of fleet.yaml")
			return true
		}
	}
	d.fault("kind", "unknown kind "+quote(kind), suggest(kind, slices.Concat(kindsRead, kindsNotBuilt)))
	return false
}

// lookup finds the value of a key of the mapping n, nil if it has none.
func lookup(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}
