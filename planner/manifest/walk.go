package manifest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// listing is what one folder holds that concerns us, whatever its path.
type listing struct {
	entries []entry // folders and manifests, by name
	others  int     // entries that are not ours, counted for the limit
	use
}

// entry is a folder or a manifest, or something that is refused.
type entry struct {
	name   string
	id     string // object id, "" = unknown
	folder bool
	// irregular entries say why they are refused when they are opened.
	irregular bool
	// reason says why the entry is not followed, "" = it is.
	reason, remedy string
}

// found is one manifest of the tree.
type found struct {
	path string
	doc  *parsed
	// What follows is of manifests of layers only.
	id      string // of the blob, "" = unknown
	layer   int
	compose *composeFile // it is one of them; nil = it is not
}

// walker collects the manifests of one load.
type walker struct {
	*Loader
	ctx    context.Context
	fsys   fs.FS
	root   string // of the layer being walked
	ignore globs
	// composed are the Compose files of the layer, listed those found so far.
	composed globs
	listed   []listedFile
	role     role // that manifests are read in
	layer    int
	barred   []bool // by layer: something that may be a manifest was not read
	// passedBy: something that may be a manifest was not read in any layer.
	passedBy bool

	files   []found
	faults  []planner.Fault
	entries int
	bytes   int64
}

// objectID returns the id of what info describes, "" if it has none.
func objectID(info fs.FileInfo) string {
	if o, ok := info.Sys().(planner.ObjectID); ok {
		return o.ObjectID()
	}
	return ""
}

// entryID is the object id of an entry. One that knows it itself is not asked
// for its FileInfo, which may have to look up a size.
func entryID(e fs.DirEntry) (string, error) {
	if o, ok := e.(planner.ObjectID); ok && (e.IsDir() || e.Type().IsRegular()) {
		return o.ObjectID(), nil
	}
	info, err := e.Info()
	if err != nil {
		return "", err
	}
	return objectID(info), nil
}

// walk visits the folder rel, relative to the fleet's, "" for the fleet's own.
func (w *walker) walk(rel, id string, depth int) error {
	if depth > w.limits.Depth {
		return w.exceeded(fmt.Sprintf("%s is more than %d folders deep", w.full(rel), w.limits.Depth))
	}
	if err := w.ctx.Err(); err != nil {
		return fmt.Errorf("read manifests: %w", err)
	}
	l, err := w.list(w.full(rel), id)
	if err != nil {
		return err
	}
	if w.entries += len(l.entries) + l.others; w.entries > w.limits.Entries {
		return w.exceeded(fmt.Sprintf("the tree has more than %d files and folders", w.limits.Entries))
	}
	for i := range l.entries {
		if err := w.visit(join(rel, l.entries[i].name), &l.entries[i], depth); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) visit(rel string, e *entry, depth int) error {
	if e.reason != "" {
		if !w.ignore.match(rel) {
			w.faults = append(w.faults, planner.Fault{File: Printable(w.full(rel)), Reason: e.reason, Remedy: e.remedy})
			w.passedBy = true
			if w.barred != nil {
				w.barred[w.layer] = true
			}
		}
		return nil
	}
	if !e.folder && rel != fleetFile && w.composed.match(rel) {
		w.listed = append(w.listed, listedFile{w.full(rel), e.id, w.layer})
		return nil
	}
	if w.ignore.match(rel) {
		return nil
	}
	if e.folder {
		return w.walk(rel, e.id, depth+1)
	}
	if rel == fleetFile {
		return nil // read before the walk
	}
	if len(w.files) >= w.limits.Files {
		return w.exceeded(fmt.Sprintf("the tree has more than %d manifests", w.limits.Files))
	}
	name := w.full(rel)
	doc, err := w.document(name, e.id, w.role)
	if err != nil {
		return err
	}
	w.files = append(w.files, found{path: name, doc: doc, id: e.id, layer: w.layer})
	return nil
}

// full is the path in the repository. The name may be anything: it is joined,
// not cleaned, so that an evil one leads nowhere and can still be shown.
func (w *walker) full(rel string) string {
	if rel == "" {
		return w.root
	}
	if w.root == "." {
		return rel
	}
	return w.root + "/" + rel
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

func (w *walker) exceeded(reason string) error {
	return &RefusedError{Reason: reason, Remedy: "keep manifests in a folder of their own and point the agent's path there"}
}

// list reads a folder, or returns what is known of it.
func (w *walker) list(name, id string) (*listing, error) {
	if l := w.listings[id]; id != "" && l != nil {
		l.last = w.generation
		w.stats.FoldersReused++
		return l, nil
	}
	w.stats.FoldersWalked++
	entries, err := readFolder(w.fsys, name, w.limits.Entries-w.entries)
	if err != nil {
		if errors.Is(err, errTooMany) {
			return nil, w.exceeded(fmt.Sprintf("the tree has more than %d files and folders", w.limits.Entries))
		}
		return nil, fmt.Errorf("read folder %s: %w", name, err)
	}
	l, err := newListing(entries)
	if err != nil {
		return nil, fmt.Errorf("read folder %s: %w", name, err)
	}
	for i := range l.entries {
		if e := &l.entries[i]; e.irregular {
			e.reason, e.remedy = whyIrregular(w.fsys, path.Join(name, e.name))
		}
	}
	if id != "" {
		l.last = w.generation
		w.listings[id] = l
	}
	return l, nil
}

var errTooMany = errors.New("too many entries")

// readFolder reads at most limit entries, in pieces, so that a folder of
// millions costs no memory.
func readFolder(fsys fs.FS, name string, limit int) ([]fs.DirEntry, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	dir, ok := f.(fs.ReadDirFile)
	if !ok {
		return nil, errors.New("not a folder")
	}
	var all []fs.DirEntry
	for {
		piece, err := dir.ReadDir(1024)
		all = append(all, piece...)
		if len(all) > limit {
			return nil, errTooMany
		}
		if errors.Is(err, io.EOF) || err == nil && len(piece) == 0 {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// whyIrregular asks the file system what is wrong with an entry that is
// neither file, folder nor link.
func whyIrregular(fsys fs.FS, name string) (reason, remedy string) {
	f, err := fsys.Open(name)
	if err == nil {
		f.Close()
		return "is not a regular file", "commit the file itself"
	}
	why := err.Error()
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		why = pathError.Err.Error()
	}
	if strings.Contains(why, gitlinkMode) {
		return "is a submodule: submodules are not followed", "copy its files, or list it in spec.ignore of fleet.yaml"
	}
	return "is refused: it " + shorten(why), "remove it from the repository"
}

// gitlinkMode is the mode Git gives a submodule.
const gitlinkMode = "160000"

// newListing judges the entries of a folder.
func newListing(entries []fs.DirEntry) (*listing, error) {
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	l := &listing{}
	for i, e := range entries {
		if i > 0 && entries[i-1].Name() == e.Name() {
			l.duplicate(e.Name())
			continue
		}
		ours, err := judge(e)
		if err != nil {
			return nil, err
		}
		if ours == nil {
			l.others++
			continue
		}
		l.entries = append(l.entries, *ours)
	}
	l.refuseCaseCollisions()
	return l, nil
}

// judge decides what a tree entry is to us, nil if it is not our business.
func judge(e fs.DirEntry) (*entry, error) {
	name := e.Name()
	ours := &entry{name: name, folder: e.IsDir()}
	irregular := e.Type()&fs.ModeIrregular != 0
	if irregular && !hidden(name) {
		// Its name may stand for one that cannot be said.
		ours.irregular = true
		return ours, nil
	}
	if reason := evilName(name); reason != "" {
		ours.reason, ours.remedy = "the entry "+quote(name)+" "+reason, "remove it from the repository"
		return ours, nil
	}
	switch {
	case hidden(name) && !strings.EqualFold(name, ".git"):
		return nil, nil
	case !e.IsDir() && !isManifestName(name) && !almostManifestName(name) && !hidden(name):
		return nil, nil
	}
	var err error
	if ours.id, err = entryID(e); err != nil {
		return nil, err
	}
	switch {
	case hidden(name): // .git: a work tree has one, a commit never
		if ours.id == "" {
			return nil, nil
		}
		ours.reason, ours.remedy = "the entry "+quote(name)+" is Git's own folder", "remove it from the repository"
	case almostManifestName(name):
		ours.reason, ours.remedy = "looks like a manifest, but only names ending in .yaml and .yml are read", "rename it"
	case e.IsDir() && strings.TrimRight(name, ". ") != name:
		ours.reason, ours.remedy = "the folder "+quote(name)+" ends in a dot or a space", "rename it"
	case e.IsDir():
	case e.Type()&fs.ModeSymlink != 0:
		ours.reason, ours.remedy = "is a symbolic link: links are not followed", "commit the file itself"
	case !e.Type().IsRegular():
		ours.reason, ours.remedy = "is not a regular file", "commit the file itself"
	}
	return ours, nil
}

// duplicate refuses the last entry, which has the same name as the next.
func (l *listing) duplicate(name string) {
	refused := entry{name: name, reason: "the tree has two entries of this name", remedy: "remove one: no honest Git writes such a tree"}
	if n := len(l.entries); n > 0 && l.entries[n-1].name == name {
		l.entries[n-1] = refused
		return
	}
	l.entries = append(l.entries, refused)
}

// refuseCaseCollisions refuses manifests whose names differ only in case:
// some file systems can hold only one of them.
func (l *listing) refuseCaseCollisions() {
	first := map[string]int{}
	for i := range l.entries {
		e := &l.entries[i]
		if e.folder || e.reason != "" {
			continue
		}
		other, ok := first[strings.ToLower(e.name)]
		if !ok {
			first[strings.ToLower(e.name)] = i
			continue
		}
		o := &l.entries[other]
		e.reason, e.remedy = "differs from "+o.name+" only in case", "rename one of them"
		if o.reason == "" {
			o.reason, o.remedy = "differs from "+e.name+" only in case", "rename one of them"
		}
	}
}
