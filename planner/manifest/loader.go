package manifest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"sync"

	"github.com/orpheus-cd/orpheus/planner"
)

// fleetFile marks a fleet's folder.
const fleetFile = "fleet.yaml"

// Loader reads commits. It remembers what it has read by object id, so that
// the next commit costs only what it changed; it keeps what the last accepted
// commit and the last load used, nothing else. It is safe for concurrent use.
type Loader struct {
	limits Limits

	mu           sync.Mutex
	listings     map[string]*listing
	documents    map[documentKey]*cachedDocument
	contents     map[string]*content     // by object id
	composites   map[string]*composite   // by the parts they are made from
	composeFiles map[string]*composeFile // by composeKey
	generation   uint64                  // of the load under way
	stats        Stats
	renders      bool // it is a Renderer's: what it remembers has its documents
}

// Stats counts what a Loader has done since it was made.
type Stats struct {
	Loads         uint64
	Parsed        uint64 // blobs read and parsed
	Reused        uint64 // blobs known by their object id
	FoldersWalked uint64
	FoldersReused uint64
	FilesRead     uint64 // file volumes read
	FilesReused   uint64
	Composed      uint64 // documents put together from layers, or with variables
	ComposedKept  uint64 // the same, known by their parts
}

// documentKey is the object id of a blob, and what it was read as.
type documentKey struct {
	id   string
	role role
}

type cachedDocument struct {
	*parsed
	use
}

// NewLoader returns a Loader with nothing cached.
func NewLoader(limits Limits) *Loader {
	return &Loader{
		limits:       limits.withDefaults(),
		listings:     map[string]*listing{},
		documents:    map[documentKey]*cachedDocument{},
		contents:     map[string]*content{},
		composites:   map[string]*composite{},
		composeFiles: map[string]*composeFile{},
	}
}

// Stats returns the counters.
func (l *Loader) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats
}

// Load reads the fleet in folder dir ("." or "" for the top) of the repository
// fsys. Values of the result are shared with later results: read, do not
// write.
//
// A *RefusedError means that the commit as a whole is refused: fleet.yaml is
// missing or broken, or the tree exceeds a limit. Any other error means that
// the tree could not be read, and says nothing about the commit. Everything
// else that is wrong stands in Desired.Faults.
func (l *Loader) Load(ctx context.Context, fsys fs.FS, dir string, commit planner.Commit) (planner.Desired, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.generation++
	l.stats.Loads++
	d, err := l.load(ctx, fsys, dir)
	d.Commit = commit
	l.sweep(err == nil)
	return d, err
}

// sweep forgets what neither the load under way nor the last accepted one used.
func (l *Loader) sweep(accepted bool) {
	sweep(l.listings, l.generation, accepted)
	sweep(l.documents, l.generation, accepted)
	sweep(l.contents, l.generation, accepted)
	sweep(l.composites, l.generation, accepted)
	sweep(l.composeFiles, l.generation, accepted)
}

func (l *Loader) load(ctx context.Context, fsys fs.FS, dir string) (planner.Desired, error) {
	w, err := l.walker(ctx, fsys, dir)
	if err != nil {
		return planner.Desired{}, err
	}
	fleet, err := w.fleet()
	if err != nil {
		return planner.Desired{}, err
	}
	if fleet.layered || fleet.composed {
		c, err := w.composer()
		if err != nil {
			return planner.Desired{}, err
		}
		if !fleet.layered {
			c.vars = nil
		}
		return c.load()
	}
	w.ignore = compileGlobs(fleet.fleet.Ignore)
	if err := w.walkRoot(); err != nil {
		return planner.Desired{}, err
	}
	w.files = append(w.files, found{path: w.full(fleetFile), doc: fleet})
	return w.assemble(fleet.fleet)
}

func (l *Loader) walker(ctx context.Context, fsys fs.FS, dir string) (*walker, error) {
	dir = path.Clean(dir) // "" becomes "."
	if !fs.ValidPath(dir) {
		return nil, fmt.Errorf("path %q does not lie in the repository", dir)
	}
	return &walker{Loader: l, ctx: ctx, fsys: fsys, root: dir, role: roleManifest}, nil
}

// walkRoot collects the manifests below the walker's root.
func (w *walker) walkRoot() error {
	root, err := fs.Stat(w.fsys, w.root)
	if err != nil {
		return fmt.Errorf("read folder %s: %w", w.root, err)
	}
	return w.walk("", objectID(root), 0)
}

// fleet reads the document that marks the fleet; without it nothing below is
// looked at.
func (w *walker) fleet() (*parsed, error) {
	name := w.full(fleetFile)
	info, err := statNoFollow(w.fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, w.noFleet()
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, refuseFleet(planner.Fault{File: name, Reason: "is not a regular file", Remedy: "commit the file itself"})
	}
	doc, err := w.document(name, objectID(info), roleFleet)
	if err != nil {
		return nil, err
	}
	if (doc.broken || doc.fleet == nil) && !doc.layered && !doc.composed {
		return nil, refuseFleet(withFile(doc.faults, name)...)
	}
	return doc, nil
}

// noFleet says what may be wrong when there is no fleet.yaml.
func (w *walker) noFleet() error {
	remedy := "check the path the agent follows, or commit a fleet.yaml there"
	for _, dir := range []string{".", path.Dir(w.root)} {
		if dir == w.root {
			continue
		}
		if info, err := statNoFollow(w.fsys, path.Join(dir, fleetFile)); err == nil && info.Mode().IsRegular() {
			remedy = fmt.Sprintf("there is one in folder %q: check the path the agent follows", dir)
			break
		}
	}
	return &RefusedError{Reason: fmt.Sprintf("there is no %s", w.full(fleetFile)), Remedy: remedy}
}

// document returns what the file says, parsed now or before.
func (w *walker) document(name, id string, r role) (*parsed, error) {
	key := documentKey{id, r}
	if doc := w.documents[key]; id != "" && doc != nil {
		doc.last = w.generation
		w.stats.Reused++
		return doc.parsed, nil
	}
	if err := w.ctx.Err(); err != nil {
		return nil, fmt.Errorf("read manifests: %w", err)
	}
	doc, err := w.parseFile(name, r)
	if err != nil {
		return nil, err
	}
	if id != "" {
		w.documents[key] = &cachedDocument{doc, use{last: w.generation}}
	}
	return doc, nil
}

func (w *walker) parseFile(name string, r role) (*parsed, error) {
	w.stats.Parsed++
	data, err := readFile(w.fsys, name, w.limits.FileBytes)
	var large *tooLargeError
	switch {
	case errors.As(err, &large):
		fault := planner.Fault{Line: 1, Reason: large.Error(), Remedy: "split it"}
		return &parsed{faults: []planner.Fault{fault}, broken: true, unsure: true}, nil
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if w.bytes += int64(len(data)); w.bytes > w.limits.TotalBytes {
		return nil, w.exceeded(fmt.Sprintf("the manifests together have more than %d bytes", w.limits.TotalBytes))
	}
	return parse(data, r, w.limits, false), nil
}

// tooLargeError says that a file exceeds its limit.
type tooLargeError struct{ limit int64 }

func (e *tooLargeError) Error() string {
	return fmt.Sprintf("is larger than %d KiB", e.limit>>10)
}

// readFile reads a regular file of at most limit bytes. Its size is asked for
// before its content, which may be expensive to unpack.
func readFile(fsys fs.FS, name string, limit int64) ([]byte, error) {
	info, err := statNoFollow(fsys, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	if info.Size() > limit {
		return nil, &tooLargeError{limit}
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = &tooLargeError{limit}
	}
	return data, err
}
