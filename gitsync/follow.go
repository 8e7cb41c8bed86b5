package gitsync

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// Fetcher takes one look; *Repository is one.
type Fetcher interface {
	Fetch(context.Context) (planner.Commit, error)
}

var _ Fetcher = (*Repository)(nil)

// FollowOptions say how often Follow looks. Zero values are the defaults.
type FollowOptions struct {
	// Interval is asked for anew before every wait, so that fleet.yaml can
	// change it; nil or 0 = 5 s. Waits differ from it by up to 10 %.
	Interval func() time.Duration
	// MaxBackoff bounds the wait after failures; 0 = 5 min.
	MaxBackoff time.Duration
	// Hints end a wait at once: a hint that comes during a look causes another
	// one. More than hintBurst in a row are thinned out to one per second. A
	// closed channel gives no more hints.
	Hints <-chan struct{}
	Log   *slog.Logger // nil = discard
}

const (
	defaultInterval = 5 * time.Second
	minInterval     = 100 * time.Millisecond
	defaultBackoff  = 5 * time.Minute
	hintBurst       = 5
	hintRefill      = time.Second
)

// Update is the whole state of following, not a difference: whoever misses one
// has missed nothing.
type Update struct {
	Commit planner.Commit // the last one found; Hash "" = none yet
	At     time.Time      // when the look ended that this tells of
	Err    error          // of the last look; nil = it succeeded
	Since  time.Time      // when the looks began to fail; zero if Err is nil
}

// Follow looks at the repository until ctx ends, then closes the channel. An
// update is sent for the first look, for every new commit, when looks begin to
// fail, fail differently, and succeed again, and whenever the remote asked for a
// pause. The channel holds the latest update only: a slow reader misses what is
// outdated and holds nothing up.
func Follow(ctx context.Context, repo Fetcher, opts FollowOptions) <-chan Update {
	f := &follower{repo: repo, opts: opts, out: make(chan Update, 1), bucket: bucket{tokens: hintBurst}}
	f.opts.MaxBackoff = cmp.Or(opts.MaxBackoff, defaultBackoff)
	if f.opts.Log == nil {
		f.opts.Log = slog.New(slog.DiscardHandler)
	}
	hints := make(chan struct{}, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		coalesce(ctx, opts.Hints, hints)
	}()
	go func() {
		defer close(f.out)
		f.run(ctx, hints)
		<-done
	}()
	return f.out
}

// coalesce turns any number of hints into one pending hint.
func coalesce(ctx context.Context, in <-chan struct{}, out chan<- struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-in:
			if !ok {
				return
			}
			select {
			case out <- struct{}{}:
			default:
			}
		}
	}
}

type follower struct {
	repo   Fetcher
	opts   FollowOptions
	out    chan Update
	bucket bucket

	started  bool
	state    Update
	failures int
}

func (f *follower) run(ctx context.Context, hints <-chan struct{}) {
	for {
		commit, err := f.repo.Fetch(ctx)
		if ctx.Err() != nil {
			return
		}
		f.note(commit, err)
		if !f.wait(ctx, hints, RetryAfter(err)) {
			return
		}
	}
}

// note takes in the outcome of one look and sends an update if it is news.
func (f *follower) note(commit planner.Commit, err error) {
	now := time.Now()
	before := f.state
	f.state.At, f.state.Err = now, err
	if err == nil {
		f.failures, f.state.Since, f.state.Commit = 0, time.Time{}, commit
	} else {
		f.failures++
		if before.Err == nil {
			f.state.Since = now
		}
	}
	switch {
	case err != nil && before.Err == nil:
		f.opts.Log.Warn("repository cannot be followed, what runs stays as it is", "err", err)
	case err != nil && !SameFailure(err, before.Err):
		f.opts.Log.Warn("repository still cannot be followed", "err", err, "since", f.state.Since)
	case err == nil && before.Err != nil:
		f.opts.Log.Info("repository is followed again", "commit", commit.Hash, "after", now.Sub(before.Since).Round(time.Second))
	case err != nil && RetryAfter(err) > 0: // until another time than it said before
	case err == nil && commit.Hash != before.Commit.Hash:
		f.opts.Log.Info("new commit", "commit", commit.Hash, "subject", commit.Subject)
	case f.started:
		return
	}
	f.started = true
	select { // the only sender: after this there is room
	case <-f.out:
	default:
	}
	f.out <- f.state
}

// SameFailure reports whether b tells a person nothing new after a: the texts
// differ at most in numbers, such as the port a connection came from, or the
// time before which a server does not want to be asked.
func SameFailure(a, b error) bool {
	return withoutDigits(a.Error()) == withoutDigits(b.Error())
}

func withoutDigits(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, text)
}

// wait returns at the next look's time, false when ctx has ended. What the
// remote asked for is honoured even against hints.
func (f *follower) wait(ctx context.Context, hints <-chan struct{}, retryAfter time.Duration) bool {
	if retryAfter > 0 && !sleep(ctx, retryAfter) {
		return false
	}
	timer := time.NewTimer(f.delay())
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	case <-hints:
		return sleep(ctx, f.bucket.take(time.Now()))
	}
}

// delay is the interval ± 10 %, or after failures anything up to the interval
// doubled once per failure ("full jitter": a fleet whose server comes back
// does not come back to it at once).
func (f *follower) delay() time.Duration {
	interval := defaultInterval
	if f.opts.Interval != nil {
		interval = max(minInterval, cmp.Or(f.opts.Interval(), defaultInterval))
	}
	if f.failures == 0 {
		return interval + time.Duration((rand.Float64()*2-1)*0.1*float64(interval))
	}
	top := interval
	for i := 0; i < f.failures && top < f.opts.MaxBackoff; i++ {
		top *= 2
	}
	return max(minInterval, time.Duration(rand.Float64()*float64(min(top, f.opts.MaxBackoff))))
}

func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// bucket thins out hints.
type bucket struct {
	tokens int
	last   time.Time // when the last token was counted in
}

// take spends a token and returns how long to wait for it.
func (b *bucket) take(now time.Time) time.Duration {
	if b.last.IsZero() {
		b.last = now
	}
	if n := int(now.Sub(b.last) / hintRefill); n > 0 {
		b.tokens = min(hintBurst, b.tokens+n)
		b.last = b.last.Add(time.Duration(n) * hintRefill)
	}
	if b.tokens > 0 {
		b.tokens--
		return 0
	}
	b.last = b.last.Add(hintRefill)
	return b.last.Sub(now)
}
