package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// content finds the content of the file volumes of one revision of a service:
// in what the commit that is followed brought, else in the commits that gave the
// service the revision. One that never ran here may be the one to go back to.
// It is used by one goroutine.
type content struct {
	source  Source
	service planner.ServiceID
	commits []string // newest first
	files   []planner.File
	missing bool  // something was asked for that files do not hold
	why     error // why the commits do not tell
}

// contentOf finds the content of the file volumes of a revision.
func (a *Agent) contentOf(id planner.ServiceID, rev planner.Revision) *content {
	return &content{source: a.cfg.Source, service: id, commits: a.commitsOf(id, rev), files: a.filesOf(id, rev)}
}

// commitsOf lists the commits that may hold the files of a revision, the likeliest
// first.
func (a *Agent) commitsOf(id planner.ServiceID, rev planner.Revision) []string {
	doc := a.state.docs[id]
	of := rev
	if spec := a.state.specs[rev]; spec.Of != "" {
		of = spec.Of
	}
	var commits []string
	add := func(commit string) {
		if commit != "" && !slices.Contains(commits, commit) {
			commits = append(commits, commit)
		}
	}
	for _, h := range doc.History {
		if h.Revision == of {
			add(h.Commit)
		}
	}
	add(doc.Commit)
	add(a.state.followed.Commit.Hash)
	return commits
}

// mount makes the volumes of a workload ready. Commits are read only for what
// is neither at hand nor on the node's disk.
func (c *content) mount(ctx context.Context, volumes runtime.Volumes, w runtime.Workload, t planner.Template, owner runtime.Owner) (map[string]string, error) {
	paths, err := volumes.Mount(ctx, w.ID, w.Slot, t.Volumes, owner, c.find)
	if err == nil || !c.missing {
		return paths, err
	}
	c.read(ctx)
	return volumes.Mount(ctx, w.ID, w.Slot, t.Volumes, owner, c.find)
}

// find is what volumes ask for content by its sum.
func (c *content) find(sum string) ([]byte, error) {
	for _, f := range c.files {
		if f.SHA256 == sum && f.Data != nil {
			return f.Data, nil
		}
	}
	c.missing = true
	err := fmt.Errorf("content of file volume %.12s: %w on this node until the repository can be read", sum, runtime.ErrNotFound)
	if c.why != nil {
		err = fmt.Errorf("%w (%w)", err, c.why)
	}
	return nil, err
}

// read adds the files of the service as the commits have them.
func (c *content) read(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, boardTimeout)
	defer cancel()
	var errs []error
	for _, commit := range c.commits {
		loaded, err := c.source.Load(ctx, planner.Commit{Hash: commit}, "")
		if err != nil {
			errs = append(errs, fmt.Errorf("read commit %s: %w", planner.Commit{Hash: commit}.Short(), err))
			continue
		}
		c.files = append(slices.Clone(c.files), loaded.Desired.Services[c.service].Files...)
	}
	c.why = errors.Join(errs...)
}
