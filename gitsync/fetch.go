package gitsync

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/orpheus-cd/orpheus/planner"
)

const (
	// maxPacks is how many packs the clone may have: every fetch adds one, and
	// every read looks into each. Then the clone is made anew, which costs each
	// fetch a fiftieth of a full download on average: 20 KiB for 10,000
	// manifests that pack into 1 MiB. Joining the packs here would be code of
	// our own (go-git's RepackObjects searches deltas anew among all objects,
	// in memory).
	maxPacks = 50
	// cloneSlack is how much larger than twice its first size the clone may
	// grow before it is made anew.
	cloneSlack = 32 * mebi
)

// Fetch takes one look at the remote and returns the commit that is selected
// there, which is then in the clone with its tree and all its ancestors. One
// that is there already costs the advertisement and nothing else, one that is
// selected by its id not even that. Whatever goes wrong, the clone keeps what
// it had. History may be rewritten, and tags may move: the commit returned need
// not descend from the one before.
func (r *Repository) Fetch(ctx context.Context) (planner.Commit, error) {
	r.fetching.Lock()
	defer r.fetching.Unlock()
	creds, err := r.settings.credentials(ctx)
	if err != nil {
		return planner.Commit{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.settings.Limits.Time, &remoteError{kind: ErrUnreachable,
		text: fmt.Sprintf("one look at %s took longer than %s", r.settings.remote, r.settings.Limits.Time)})
	defer cancel()
	commit, err := r.look(ctx, creds)
	if errors.Is(err, ErrStorage) && errors.Is(err, fs.ErrNotExist) {
		r.damaged.Store(true) // somebody deleted the folder: the next Fetch makes it again
	}
	if err != nil {
		r.settings.refused(creds, err)
		return planner.Commit{}, newScrubber(creds).error(fmt.Errorf("fetch %s: %w", r.settings.Config, err))
	}
	return commit, nil
}

// look finds the commit and makes the clone have it.
func (r *Repository) look(ctx context.Context, creds Credentials) (planner.Commit, error) {
	adv, err := r.find(ctx, creds)
	if err != nil {
		return planner.Commit{}, err
	}
	if adv.tip == r.refused.tip {
		return planner.Commit{}, r.refused.err
	}
	r.refused = refusal{}
	if adv.tip != r.clone.tip || r.damaged.Load() {
		if err := r.obtain(ctx, creds, adv); err != nil {
			var limit *LimitError
			if errors.As(err, &limit) || errors.Is(err, ErrTagNotFound) {
				r.refused = refusal{tip: adv.tip, err: err}
			}
			return planner.Commit{}, err
		}
	}
	r.following.Store(&adv.following)
	return r.Commit(adv.tip.String())
}

// find asks the remote which commit is selected. One selected by its id is
// known without asking.
func (r *Repository) find(ctx context.Context, creds Credentials) (advertisement, error) {
	by := r.settings.by
	if !by.commit.IsZero() {
		return advertisement{tip: by.commit, following: by.String()}, nil
	}
	adv, err := r.link.look(ctx, creds, by)
	if err == nil && adv.tip.IsZero() {
		err = adv.missing(by)
	}
	return adv, err
}

// obtain is update for every way of selecting a commit.
func (r *Repository) obtain(ctx context.Context, creds Credentials, adv advertisement) error {
	by := r.settings.by
	err := r.update(ctx, creds, adv)
	switch {
	case err == nil:
	case !by.commit.IsZero() && errors.Is(err, ErrUnreachable) && ctx.Err() == nil:
		// Many servers give away only what a reference names.
		return r.searchBranch(ctx, creds, adv, err)
	case by.tagged() && errors.Is(err, errWrongKind):
		return fmt.Errorf("%w: %s stands for no commit", ErrTagNotFound, adv.following)
	case errors.Is(err, errWrongKind):
		return fmt.Errorf("%w: %w", ErrCommitNotFound, err)
	}
	return err
}

// searchBranch looks for a commit in the history of the branch that is named
// beside it.
func (r *Repository) searchBranch(ctx context.Context, creds Credentials, adv advertisement, refused error) error {
	by := r.settings.by
	if by.Branch == "" {
		return fmt.Errorf("%w: the remote does not give it away by its id; name the branch that holds it beside it: %w", ErrCommitNotFound, refused)
	}
	branch, err := r.link.look(ctx, creds, selector{Selection: Selection{Branch: by.Branch}})
	if err == nil && branch.tip.IsZero() {
		err = branch.missing(selector{Selection: Selection{Branch: by.Branch}})
	}
	if err != nil {
		return err
	}
	if branch.tip == r.vain {
		return r.notInBranch()
	}
	adv.want = branch.tip
	if err = r.update(ctx, creds, adv); errors.Is(err, ErrCommitNotFound) {
		r.vain = branch.tip // not to be downloaded again in order to be thrown away
	}
	return err
}

func (r *Repository) notInBranch() error {
	return fmt.Errorf("%w: it is not in branch %s, and the remote does not give it away by its id", ErrCommitNotFound, r.settings.by.Branch)
}

// update brings the tip into the clone: not at all if it is there, by what is
// new if that will do, else by a new clone.
func (r *Repository) update(ctx context.Context, creds Credentials, adv advertisement) error {
	if !r.damaged.Load() && r.clone.store.has(adv.tip) {
		// A branch set back to something we know: nothing to download.
		err := r.accept(ctx, r.clone, r.clone.store, r.clone.store, adv.tip)
		if err == nil || !errors.Is(err, ErrCorrupt) {
			return err
		}
		r.damaged.Store(true)
	}
	if r.damaged.Load() {
		return r.reclone(ctx, creds, adv)
	}
	if err := r.download(ctx, creds, r.clone, adv); err != nil {
		return err
	}
	r.tidy(ctx, creds, adv)
	return nil
}

// download fetches what c lacks of the tip, and moves c to it.
func (r *Repository) download(ctx context.Context, creds Credentials, c *clone, adv advertisement) error {
	first := c.tip.IsZero()
	d, err := r.link.dialect(ctx, creds)
	if err != nil {
		return err
	}
	want := adv.want
	if want.IsZero() {
		want = adv.tip
	}
	service, request, err := packRequest{wants: []plumbing.Hash{want}, haves: haves(ctx, c)}.encode(d)
	if err != nil {
		return transferError(ctx, "download", err)
	}
	body, err := r.link.exchange(ctx, creds, service, request)
	if err != nil {
		return err
	}
	defer body.Close()
	stream, err := newPackStream(body, d)
	if err != nil {
		return transferError(ctx, "download", err)
	}
	q, err := c.receivePack(ctx, stream, r.settings.Limits)
	if err != nil {
		return err
	}
	before := c.store
	drain(body)
	if err := r.verifyPack(ctx, before.with(q.pack), before, want, adv.tip); err != nil {
		q.discard()
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := q.commit(c); err != nil {
		q.discard()
		clear(r.whole) // it counted on the pack
		return err
	}
	if err := c.setTip(adv.tip); err != nil {
		return err
	}
	if first {
		return c.setBase()
	}
	return nil
}

// accept moves c to a tip it holds already.
func (r *Repository) accept(ctx context.Context, c *clone, all, before *store, tip plumbing.Hash) error {
	if err := r.verify(ctx, all, before, tip); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return c.setTip(tip)
}

// verifyPack verifies what was asked for, and the commit that is wanted of it.
func (r *Repository) verifyPack(ctx context.Context, all, before *store, want, tip plumbing.Hash) error {
	if err := r.verify(ctx, all, before, want); want == tip || err != nil && !errors.Is(err, errWrongKind) {
		return err // of another kind than a commit is the tag that stands for tip
	}
	if !all.has(tip) {
		return r.notInBranch()
	}
	return r.verify(ctx, all, before, tip)
}

func (r *Repository) verify(ctx context.Context, all, before *store, tip plumbing.Hash) error {
	v := verifier{ctx: ctx, all: all, before: before, limits: r.settings.Limits, whole: r.whole}
	return v.verify(tip)
}

// reclone downloads everything into a new folder and exchanges it for the
// clone. Commits that the branch no longer reaches are gone after it.
func (r *Repository) reclone(ctx context.Context, creds Credentials, adv advertisement) error {
	if err := errors.Join(os.RemoveAll(r.path(newDir)), os.MkdirAll(r.settings.Dir, 0o700)); err != nil {
		return storageError(err)
	}
	fresh, err := createClone(r.path(newDir))
	if err != nil {
		return err
	}
	clear(r.whole)
	if err := r.download(ctx, creds, fresh, adv); err != nil {
		fresh.close()
		_ = os.RemoveAll(r.path(newDir)) // an error costs disk, nothing else
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.exchange(); err != nil {
		fresh.close()
		return err
	}
	r.clone.close()
	fresh.dir = r.path(cloneDir)
	r.clone = fresh
	r.damaged.Store(false)
	r.settings.Log.Info("clone made anew", "dir", fresh.dir, "bytes", fresh.size())
	return nil
}

// exchange puts the new folder in the place of the clone. Open undoes a half
// one.
func (r *Repository) exchange() error {
	if err := os.RemoveAll(r.path(oldDir)); err != nil {
		return storageError(err)
	}
	if err := os.Rename(r.path(cloneDir), r.path(oldDir)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return storageError(err)
	}
	if err := os.Rename(r.path(newDir), r.path(cloneDir)); err != nil {
		return storageError(err)
	}
	if err := syncDir(r.settings.Dir); err != nil {
		return storageError(err)
	}
	_ = os.RemoveAll(r.path(oldDir)) // an error costs disk, nothing else
	return nil
}

// tidy keeps the clone small. The tip is in it already: an error only means
// that the next fetch tries again.
func (r *Repository) tidy(ctx context.Context, creds Credentials, adv advertisement) {
	if r.clone.size() <= 2*r.clone.base+cloneSlack && len(r.clone.store.packs) <= r.clone.maxPacks {
		return
	}
	if err := r.reclone(ctx, creds, adv); err != nil {
		r.settings.Log.Warn("clone could not be tidied", "dir", r.clone.dir, "err", newScrubber(creds).error(err))
	}
}
