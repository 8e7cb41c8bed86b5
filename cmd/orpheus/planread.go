package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/planner/manifest"
)

// rendering is the manifests of one tree, read once.
type planRendering struct {
	desired   planner.Desired
	documents []manifest.Document
	refused   *manifest.RefusedError
}

// planReader reads manifests from trees of the repository.
type planReader struct {
	*checkout
	objects  *treeReader
	folder   string // of fleet.yaml
	rendered map[string]*planRendering
	loader   *manifest.Loader
	renderer *manifest.Renderer
}

func newPlanReader(c *checkout) *planReader {
	return &planReader{checkout: c, rendered: map[string]*planRendering{}, loader: manifest.NewLoader(manifest.Limits{}), renderer: manifest.NewRenderer(manifest.Limits{})}
}

func (r *planReader) fs(tree string) (fs.FS, error) {
	return gitsync.TreeFS(r.objects, tree, gitsync.Limits{})
}

// render reads the manifests of a side with what they are made from.
func (r *planReader) render(ctx context.Context, s planSide) (*planRendering, error) {
	if s.tree == "" {
		return &planRendering{}, nil
	}
	if known := r.rendered[s.tree]; known != nil {
		again := *known
		again.desired.Commit = s.commit
		return &again, nil
	}
	fsys, err := r.fs(s.tree)
	if err != nil {
		return nil, err
	}
	out := &planRendering{}
	out.documents, out.desired, err = r.renderer.Render(ctx, fsys, r.folder)
	out.desired.Commit = s.commit
	if err != nil && !errors.As(err, &out.refused) {
		return nil, fmt.Errorf("read the manifests of %s: %w", s.Name, err)
	}
	r.rendered[s.tree] = out
	return out, nil
}

// load reads the manifests of a commit as agents do, what earlier loads had being
// known. A refused commit has none.
func (r *planReader) load(ctx context.Context, s planSide) (d planner.Desired, refused bool, err error) {
	if known := r.rendered[s.tree]; known != nil {
		known.desired.Commit = s.commit
		return known.desired, known.refused != nil, nil
	}
	fsys, err := r.fs(s.tree)
	if err != nil {
		return d, false, err
	}
	d, err = r.loader.Load(ctx, fsys, r.folder, s.commit)
	var refusal *manifest.RefusedError
	if errors.As(err, &refusal) {
		return d, true, nil
	}
	return d, false, err
}

// findFleetIn returns the folder of fleet.yaml: inside, or the nearest above the
// folder the user is in, or the only one of the tree.
func (r *planReader) findFleetIn(ctx context.Context, inside string, trees ...string) (string, error) {
	const mark = "fleet.yaml"
	marked := func(folder string) bool {
		for _, tree := range trees {
			if fsys, err := r.fs(tree); tree != "" && err == nil {
				if _, err := fs.Stat(fsys, path.Join(folder, mark)); err == nil {
					return true
				}
			}
		}
		return false
	}
	if inside != "" {
		folder := path.Clean(filepath.ToSlash(inside))
		if !fs.ValidPath(folder) {
			return "", usageError(fmt.Errorf("--path %s does not lie in the repository; write it relative to its top", inside))
		}
		if !marked(folder) {
			return "", usageError(fmt.Errorf("--path %s: neither revision has %s", inside, path.Join(folder, mark)))
		}
		return folder, nil
	}
	for folder := r.prefix; fs.ValidPath(folder); folder = path.Dir(folder) {
		if marked(folder) {
			return folder, nil
		}
		if folder == "." {
			break
		}
	}
	folders := map[string]bool{}
	var names []string
	for _, tree := range trees {
		if tree == "" {
			continue
		}
		out, err := (&checkout{top: r.top, secret: r.secret, env: r.objects.cmd.Env}).git(ctx, "ls-tree", "-r", "-z", "--name-only", "--full-tree", tree)
		if err != nil {
			return "", err
		}
		for name := range strings.SplitSeq(out, "\x00") {
			if folder := path.Dir(name); path.Base(name) == mark && !folders[folder] {
				folders[folder], names = true, append(names, folder)
			}
		}
	}
	switch len(names) {
	case 0:
		return "", usageError(errors.New("there is no fleet.yaml in this repository; is it the fleet's?"))
	case 1:
		return names[0], nil
	}
	return "", usageError(fmt.Errorf("there are several fleets here; choose one with --path: %s", strings.Join(names[:min(len(names), 20)], ", ")))
}
