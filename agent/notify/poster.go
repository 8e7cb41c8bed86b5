package notify

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/orpheus-cd/orpheus/gitsync/redact"
	"github.com/orpheus-cd/orpheus/planner"
)

const (
	// requestEvery and requestBurst bound what is asked of a forge.
	requestEvery = 2 * time.Second
	requestBurst = 20
	// maxTries is how often one status is tried that a person would have to
	// help: for some hours. maxUnfit is the same where the forge finds the
	// status itself unfit, or has no such commit.
	maxTries = 100
	maxUnfit = 3
	// maxRank bounds how long a node waits for those before it.
	maxRank = 30
)

// poster brings the status of commits to a forge. It looks what stands there
// before it posts, so that several nodes may do it: each waits a while for those
// that rank before it, and finds nothing left to do if they did it. Nobody writes
// over the status of a commit that was rolled out.
type poster struct {
	cfg    StatusConfig
	forge  forge
	client client
	limit  *rate.Limiter
	pace   pace
	count  func(result string)
	told   func(error) // how it fares

	mu      sync.Mutex
	wake    chan struct{}
	entries []entry
	work    map[string]*posting // by commit
	rank    int
	context string
	hold    bool // what is wanted may be out of date, or is not known yet, or whose task it is
	changed bool // entries, since they were last asked for

	// Of the goroutine that posts.
	acting   bool // those before this node in rank do not post
	failures int
	pause    time.Time // not before
}

// posting is where one status is.
type posting struct {
	want   Verdict
	since  time.Time // want's state is wanted
	posted time.Time // its last text
	tries  int
	wait   time.Time // not before
	// again is when a status that stands is looked at once more: a late post,
	// of this node or another, may have been written over it. Zero = not.
	again time.Time
}

func newPoster(c StatusConfig, count func(string), told func(error)) (*poster, error) {
	f, err := newForge(c)
	if err != nil {
		return nil, err
	}
	cl, err := newClient(c.Route)
	if err != nil {
		return nil, err
	}
	return &poster{
		cfg: c, forge: f, client: cl, pace: usualPace, count: count, told: told, limit: rate.NewLimiter(rate.Every(requestEvery), requestBurst),
		wake: make(chan struct{}, 1), work: map[string]*posting{}, hold: true,
	}, nil
}

// follow takes in facts. It does not wait for anything.
func (p *poster) follow(f Facts) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hold, p.rank, p.context = f.Stale || f.Unsettled, min(f.Rank, maxRank), p.cfg.contextOf(f.Fleet)
	next := follow(p.entries, f)
	p.changed = p.changed || !slices.Equal(next, p.entries)
	p.entries = next
	now := time.Now()
	known := map[string]bool{}
	for _, e := range next {
		known[e.Commit] = true
		w := p.work[e.Commit]
		if w == nil {
			w = &posting{since: now}
			p.work[e.Commit] = w
		}
		if w.want.State != e.Want.State {
			w.since = now
		}
		if w.want != e.Want {
			w.want, w.tries, w.again = e.Want, 0, time.Time{}
		}
	}
	for commit := range p.work {
		if !known[commit] {
			delete(p.work, commit)
		}
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// contextOf is the name under which the status of a fleet stands.
func (c StatusConfig) contextOf(fleet string) string {
	switch {
	case c.Context != "":
		return c.Context
	case fleet != "":
		return planner.OneLine("orpheus/"+fleet, maxContext)
	}
	return "orpheus"
}

// ledger is what is to be kept on disk, and whether it has changed.
func (p *poster) ledger() ([]entry, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	changed := p.changed
	p.changed = false
	return p.entries, changed
}

// run posts until ctx ends. saved is called when there is something to keep.
func (p *poster) run(ctx context.Context, saved func()) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		commit, wait := p.next(time.Now())
		if commit != "" {
			p.settle(ctx, commit)
			saved()
			if ctx.Err() != nil {
				return
			}
			continue
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		case <-timer.C:
		}
	}
}

// next is the commit whose status is to be seen to now, or how long there is
// none.
func (p *poster) next(now time.Time) (commit string, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	soonest := now.Add(time.Hour)
	if p.hold {
		return "", time.Hour
	}
	for _, e := range slices.Backward(p.entries) { // the newest first
		at := p.due(e)
		if at.IsZero() {
			continue
		}
		if at = later(at, p.pause); !at.After(now) {
			return e.Commit, 0
		}
		if at.Before(soonest) {
			soonest = at
		}
	}
	return "", soonest.Sub(now)
}

// due is when a status is to be seen to; zero = there is nothing to do.
func (p *poster) due(e entry) time.Time {
	w := p.work[e.Commit]
	switch {
	case e.Settled == e.Want && w.again.IsZero():
		return time.Time{}
	case e.Settled == e.Want:
		return later(w.again, w.wait)
	case e.Settled.State != e.Want.State:
		return later(w.since.Add(p.patience()), w.wait)
	case p.rank == 0 || p.acting: // only its text is another
		return later(w.posted.Add(p.pace.rewrite), w.wait)
	}
	return time.Time{}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// patience is how long this node leaves a status to those that rank before it.
func (p *poster) patience() time.Duration {
	if p.acting {
		return min(p.pace.acting, time.Duration(p.rank)*p.pace.standIn)
	}
	return time.Duration(p.rank) * p.pace.standIn
}

// settle sees to the status of one commit.
func (p *poster) settle(ctx context.Context, commit string) {
	p.mu.Lock()
	w := p.work[commit]
	want, name, leads := w.want, p.context, p.rank == 0 || p.acting
	p.mu.Unlock()
	posted, err := p.bring(ctx, commit, name, want, leads)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		if p.failed(commit, w, want, time.Now(), err) {
			p.told(err)
		}
	default:
		p.stands(commit, w, want, time.Now(), posted)
		p.told(nil)
	}
}

// stands notes that what was wanted stands at the forge.
func (p *poster) stands(commit string, w *posting, want Verdict, now time.Time, posted bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failures, p.pause = 0, time.Time{}
	w.tries, w.wait = 0, time.Time{}
	again := !w.again.IsZero()
	if posted {
		w.posted = now
		p.count("sent")
	}
	if posted || !again { // else it found what it posted itself
		p.acting = posted && p.rank > 0
	}
	if w.want == want {
		w.again = time.Time{}
		if posted && want.State != Pending && !again {
			w.again = now.Add(p.pace.recheck)
		}
	}
	p.settled(commit, want)
}

// settled notes that nothing is left to do for what was wanted.
func (p *poster) settled(commit string, want Verdict) {
	if k := slices.IndexFunc(p.entries, func(e entry) bool { return e.Commit == commit }); k >= 0 && p.entries[k].Settled != want {
		p.entries = slices.Clone(p.entries)
		p.entries[k].Settled, p.changed = want, true
	}
}

// failed notes that a status could not be brought, and when it is tried again. It
// reports whether people are to know: one failure that may pass is none yet.
func (p *poster) failed(commit string, w *posting, want Verdict, now time.Time, err error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count("failed")
	w.tries++
	p.failures++
	pause := p.pace.backoff(p.failures, err)
	tries := maxTries
	var f *failure
	if errors.As(err, &f) && f.lasting && (f.status == 400 || f.status == 404 || f.status == 422) {
		w.wait = now.Add(p.pace.backoff(w.tries, err)) // of this commit, perhaps of no other
		tries = maxUnfit
	} else {
		p.pause = now.Add(pause)
	}
	if w.tries >= tries && w.want == want {
		p.count("dropped")
		w.again = time.Time{}
		p.settled(commit, want)
	}
	return p.failures > 1 || f != nil && f.lasting
}

// bring makes what is wanted stand at the forge, and reports whether it had to
// be posted. Who does not lead leaves the text of the right state to others.
func (p *poster) bring(ctx context.Context, commit, name string, want Verdict, leads bool) (posted bool, err error) {
	token, err := p.cfg.token(ctx)
	if err != nil {
		return false, p.named(err)
	}
	stands, err := p.read(ctx, commit, name, token)
	var f *failure
	switch {
	case errors.As(err, &f) && f.lasting: // perhaps it may only be posted
	case err != nil:
		return false, p.named(err)
	case stands.State == want.State && (stands.Text == want.Text || !leads || p.forge.kind == GitLab && want.State == Pending):
		return false, nil
	case stands.final():
		return false, nil
	}
	return true, p.named(p.post(ctx, commit, name, token, want))
}

// token is what the forge is shown.
func (c StatusConfig) token(ctx context.Context) (string, error) {
	token, err := c.Token(ctx)
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case err != nil:
		return "", &failure{text: "its token: " + redact.Printable(err.Error(), 300), lasting: true}
	case token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", &failure{text: "its token: the file is empty, or holds something else than a token", lasting: true}
	}
	return token, nil
}

// Check says why no status could be posted: what is wrong with c, its token, or
// the way to the forge; whether the token may set a status is only seen when one
// is set.
func (c StatusConfig) Check(ctx context.Context) (forge string, err error) {
	p, err := newPoster(c, func(string) {}, func(error) {})
	if err != nil {
		return "", err
	}
	token, err := c.token(ctx)
	if err == nil {
		_, err = p.ask(ctx, call{method: http.MethodGet, url: p.forge.repo()}, token)
	}
	return fmt.Sprintf("%s, repository %s", p.forge, p.forge.repository), p.named(err)
}

func (p *poster) named(err error) error {
	var f *failure
	if errors.As(err, &f) {
		named := *f
		named.text = fmt.Sprintf("%s, repository %s: %s", p.forge, p.forge.repository, f.text)
		return &named
	}
	return err
}

// read asks for the status that stands; the zero value = there is none.
func (p *poster) read(ctx context.Context, commit, name, token string) (Verdict, error) {
	a, err := p.ask(ctx, p.forge.read(commit, name), token)
	if err != nil {
		return Verdict{}, err
	}
	v, err := p.forge.standing(a.body, name)
	if err != nil {
		return Verdict{}, &failure{text: err.Error(), lasting: true, status: a.status}
	}
	return v, nil
}

func (p *poster) post(ctx context.Context, commit, name, token string, want Verdict) error {
	r, err := p.forge.post(commit, name, p.cfg.TargetURL, want)
	if err != nil {
		return err
	}
	_, err = p.ask(ctx, r, token)
	var f *failure
	if errors.As(err, &f) && p.forge.unchanged(f.status, f.said) {
		return nil
	}
	return err
}

// ask makes a request in the forge's own way.
func (p *poster) ask(ctx context.Context, r call, token string) (answer, error) {
	if err := p.limit.Wait(ctx); err != nil {
		return answer{}, err
	}
	r.header = map[string][]string{}
	p.forge.authorize(r.header, token)
	r.secrets = redact.Token(token)
	return p.client.do(ctx, r)
}
