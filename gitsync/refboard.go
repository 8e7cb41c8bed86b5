package gitsync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/orpheus-cd/orpheus/planner"
)

// BoardConfig says where the records are. What it shares with Config means the
// same here.
type BoardConfig struct {
	URL                        string
	Credentials                func(context.Context) (Credentials, error)
	Refused                    func(Credentials)
	CAFile                     string
	Proxy                      string
	ProxyLogin                 func(context.Context) (username, password string, err error)
	SSHKeyFile, KnownHostsFile string
	// Limits bound each call. Of its fields Advertisement, Time and Idle count;
	// Time is 1 min and Idle 15 s by default.
	Limits Limits
	Log    *slog.Logger

	// Prefix is where the records' refs begin; "" = refs/orpheus/. Where a host
	// allows only branches, refs/heads/orpheus/.
	Prefix string
	// Branch is that of the manifests, where they are in the same repository:
	// List looks at it, too.
	Branch string
}

// String names the repository, without credentials.
func (c BoardConfig) String() string { return "records of " + shownURL(c.URL) }

// GoString is String: the URLs may hold credentials.
func (c BoardConfig) GoString() string { return c.String() }

// LogValue is String: the URLs may hold credentials.
func (c BoardConfig) LogValue() slog.Value { return slog.StringValue(c.String()) }

// DefaultPrefix is where the records' refs begin unless configured otherwise.
const DefaultPrefix = "refs/orpheus/"

// maxRecords bounds the refs of records. With a document per service and
// three refs per node, a fleet of 500 nodes and 10,000 services stays below.
const maxRecords = 20_000

// RefBoard is a Board on the refs of a Git repository.
type RefBoard struct {
	settings settings
	link     *link
	prefix   string
	branch   string // full name of a ref; "" = none
}

var _ Board = (*RefBoard)(nil)

// NewBoard checks cfg. It never touches the network. Close lets the board's
// connections go.
func NewBoard(cfg BoardConfig) (*RefBoard, error) {
	b, err := cfg.validate()
	if err != nil {
		return nil, fmt.Errorf("records configuration: %w", err)
	}
	s := b.settings
	b.link = &link{remote: newRemote(s), limits: s.Limits}
	if s.remote.scheme == "http" && !s.remote.loopback() {
		s.Log.Warn("records are exchanged over plain http: anybody on the way can change what runs here", "url", s.remote.String())
	}
	return b, nil
}

// validate lists everything wrong with cfg, without a secret in any text. The
// board, which there always is, has no link yet.
func (cfg BoardConfig) validate() (*RefBoard, error) {
	cfg.Limits.Time = cmp.Or(cfg.Limits.Time, time.Minute)
	cfg.Limits.Idle = cmp.Or(cfg.Limits.Idle, 15*time.Second)
	s, err := Config{URL: cfg.URL, Credentials: cfg.Credentials, Refused: cfg.Refused, CAFile: cfg.CAFile,
		Proxy: cfg.Proxy, ProxyLogin: cfg.ProxyLogin, SSHKeyFile: cfg.SSHKeyFile,
		KnownHostsFile: cfg.KnownHostsFile, Limits: cfg.Limits, Log: cfg.Log}.validateRemote()
	faults := []error{err}
	b := &RefBoard{settings: s, prefix: cmp.Or(cfg.Prefix, DefaultPrefix)}
	if !strings.HasPrefix(b.prefix, "refs/") || !strings.HasSuffix(b.prefix, "/") || !goodRefName(strings.TrimSuffix(b.prefix, "/")) || len(b.prefix) < len("refs/a/") {
		faults = append(faults, fmt.Errorf("prefix of the records %q is not of the form refs/orpheus/ or refs/heads/orpheus/", printable(b.prefix, 80)))
	}
	if cfg.Branch != "" {
		faults = append(faults, checkBranch(cfg.Branch))
		if b.branch = branchPrefix + cfg.Branch; strings.HasPrefix(b.branch+"/", b.prefix) {
			faults = append(faults, fmt.Errorf("branch %s lies where the records are, below %s", cfg.Branch, b.prefix))
		}
	}
	return b, errors.Join(faults...)
}

// URL is the repository's address, without credentials.
func (b *RefBoard) URL() string { return b.settings.remote.String() }

// String names the repository and the prefix, without credentials.
func (b *RefBoard) String() string { return "records below " + b.prefix + " of " + b.URL() }

// Close lets idle connections go.
func (b *RefBoard) Close() error {
	b.link.close()
	return nil
}

// List implements Board. More refs of records than maxRecords are an error, as
// is a list longer than Limits.Advertisement: with some refs left out, others
// would look as if they were gone.
func (b *RefBoard) List(ctx context.Context) (Listing, error) {
	l := Listing{Refs: map[planner.Ref]planner.Hash{}}
	err := b.look(ctx, func(name string, id plumbing.Hash) error {
		short, below := strings.CutPrefix(name, b.prefix)
		switch {
		case name == b.branch:
			l.Tip = planner.Hash(id.String())
		case !below:
		case planner.Ref(short).Parse().Kind == planner.RefOther:
			l.Ignored++
		case len(l.Refs) == maxRecords:
			return &LimitError{Limit: "records", What: "refs of records", Max: maxRecords}
		default:
			l.Refs[planner.Ref(short)] = planner.Hash(id.String())
		}
		return nil
	})
	if err != nil {
		return Listing{}, err
	}
	return l, nil
}

// look lists the records and the branch.
func (b *RefBoard) look(ctx context.Context, visit visitor) error {
	prefixes := []string{b.prefix}
	if b.branch != "" {
		prefixes = append(prefixes, b.branch)
	}
	return b.call(ctx, "look at", func(ctx context.Context, creds Credentials) error {
		return b.link.listRefs(ctx, creds, prefixes, visit)
	})
}

// call runs one exchange within its time, with credentials read anew, and
// keeps these out of its error.
func (b *RefBoard) call(ctx context.Context, what string, f func(context.Context, Credentials) error) error {
	creds, err := b.settings.credentials(ctx)
	if err != nil {
		return notDone(err)
	}
	limit := b.settings.Limits.Time
	ctx, cancel := context.WithTimeoutCause(ctx, limit, &remoteError{kind: ErrUnreachable,
		text: fmt.Sprintf("it took longer than %s", limit)})
	defer cancel()
	if ctx.Err() != nil {
		return notDone(fmt.Errorf("%s %s: %w", what, b, context.Cause(ctx)))
	}
	if err := f(ctx, creds); err != nil {
		b.settings.refused(creds, err)
		return newScrubber(creds).error(fmt.Errorf("%s %s: %w", what, b, err))
	}
	return nil
}
