package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/planner"
)

// recordOptions are the flags of the verbs that read records.
type recordOptions struct {
	directory      string
	directoryGiven bool
	path           string
	repository     string
	branch         string
	records        string
	prefix         string
	output         string
}

// recordsHelp is what the help of these verbs says of where they read.
const recordsHelp = `
The records are read with the git program, from where fleet.yaml says they are:
that of the checkout you are in, or of --repository. --records names them
without any fleet.yaml. What was fetched is kept in a cache. On a node without a
checkout the agent's configuration says where they are and how to log in.

Signatures are verified with the keys in the nodes' records, and where manifests
give a node's key, with that. What does not verify is shown as such. Times, and
the sentences in which nodes say what they did, are not signed.

Exit codes: 0 shown, 1 the records cannot be read or have no such thing, 2 wrong
usage, or no checkout of a fleet.`

func (o *recordOptions) addFlags(e *env, cmd *cobra.Command) {
	o.addPlaceFlags(e, cmd)
	addOutputFlag(cmd, &o.output, "text", "json")
}

// addPlaceFlags adds those that say where the records are.
func (o *recordOptions) addPlaceFlags(e *env, cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&o.directory, "directory", "C", ".", "folder in the checkout of the fleet's repository")
	f.StringVar(&o.path, "path", "", "folder of fleet.yaml in the repository (default: the nearest above, or the only one)")
	f.StringVar(&o.repository, "repository", "", "work without a checkout: URL of the fleet's repository, for git")
	f.StringVar(&o.branch, "branch", "", "branch of --repository (default: the one the server names)")
	f.StringVar(&o.records, "records", "", "URL of the repository of the records, for git, whatever fleet.yaml says")
	f.StringVar(&o.prefix, "prefix", "", "where the records' refs begin (default: as in fleet.yaml, else "+gitsync.DefaultPrefix+")")
	f.StringVar(&e.configFile, "config", "", "read with an agent's configuration, on a node")
	dirs := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveFilterDirs
	}
	// These fail only for flags that do not exist.
	_ = cmd.RegisterFlagCompletionFunc("directory", dirs)
	_ = cmd.RegisterFlagCompletionFunc("path", dirs)
	for _, name := range []string{"repository", "branch", "records", "prefix"} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
}

// check refuses flags that contradict each other, and what git could take for
// something else than they are.
func (o *recordOptions) check(e *env, cmd *cobra.Command) error {
	o.directoryGiven = cmd.Flags().Changed("directory")
	checkout := o.directoryGiven || o.path != ""
	switch {
	case o.records != "" && (checkout || o.repository != ""):
		return errors.New("--records names the records alone; remove it, or -C, --path and --repository")
	case o.repository != "" && o.directoryGiven:
		return errors.New("--repository works without a checkout; remove it or -C")
	case o.branch != "" && o.repository == "":
		return errors.New("--branch is for --repository; in a checkout, check out the branch")
	case e.configFile != "" && (checkout || o.repository != "" || o.records != "" || o.prefix != ""):
		return errors.New("--config says where the records are; remove it, or the other flags that do")
	case strings.HasPrefix(o.records, "-"):
		return errors.New("--records begins with a hyphen; write a URL or an absolute path")
	}
	return checkPrefix(o.prefix)
}

func checkPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	if !strings.HasPrefix(prefix, "refs/") || !strings.HasSuffix(prefix, "/") || strings.ContainsAny(prefix, "*:^~?[\\ ") {
		return fmt.Errorf("--prefix %q is not of the form refs/orpheus/", prefix)
	}
	return nil
}

// recordPlace is where the records of a fleet are, and what its manifests say
// of its nodes.
type recordPlace struct {
	url    string // for git
	prefix string
	specs  map[planner.NodeName]planner.NodeSpec // nil = no manifests were read
	// desired is what the manifests say; its Commit is that of the checkout,
	// which may have changes that are in no commit.
	desired planner.Desired
	secret  string // part of the URL that is not shown
	// config is what the checkout says of how to reach its own remote, as keys
	// and values in turn. It is for no other address.
	config []string
}

// String names the place without a secret.
func (p recordPlace) String() string {
	shown := p.url
	if p.secret != "" {
		shown = strings.ReplaceAll(shown, p.secret+"@", "")
	}
	return "records below " + p.prefix + " of " + shown
}

// findRecords finds out where the records are.
func findRecords(ctx context.Context, o recordOptions) (recordPlace, error) {
	switch {
	case o.records != "":
		place := recordPlace{url: o.records, prefix: cmp.Or(o.prefix, gitsync.DefaultPrefix), secret: secretOf(o.records)}
		return place, place.absolute(".")
	case o.repository != "":
		c, done, err := cloneFor(ctx, o.repository, o.branch)
		if err != nil {
			return recordPlace{}, err
		}
		defer done()
		own := recordPlace{url: o.repository, secret: c.secret}
		if err := own.absolute("."); err != nil {
			return recordPlace{}, err
		}
		return own.in(ctx, c, o)
	}
	c, err := openWorkTree(ctx, o.directory)
	if err != nil {
		return recordPlace{}, err
	}
	own, err := c.ownRemote(ctx)
	if err != nil {
		return recordPlace{}, err
	}
	return own.in(ctx, c, o)
}

// in is where fleet.yaml of a checkout, whose own remote p is, says the records
// are.
func (p recordPlace) in(ctx context.Context, c *checkout, o recordOptions) (recordPlace, error) {
	d, err := readCheckout(ctx, c, o.path)
	if err != nil {
		return recordPlace{}, err
	}
	if p = p.placed(d.Fleet.Records, o); p.url == "" {
		return recordPlace{}, usageError(fmt.Errorf("the checkout %s has no remote, and its fleet.yaml does not say where the records are; name them with --records URL", c.top))
	}
	p.specs, p.desired = d.Nodes, d
	return p, nil
}

// placed is where fleet.yaml and the flags say the records are; without a word of
// theirs they are where p is.
func (p recordPlace) placed(place *planner.RecordsPlace, o recordOptions) recordPlace {
	if place != nil {
		if place.URL != "" {
			p = recordPlace{url: place.URL, secret: secretOf(place.URL)}
		}
		p.prefix = place.Prefix
	}
	p.prefix = cmp.Or(o.prefix, p.prefix, gitsync.DefaultPrefix)
	return p
}

// readCheckout reads the manifests of a work tree.
func readCheckout(ctx context.Context, c *checkout, inside string) (planner.Desired, error) {
	folder, err := c.findFleet(ctx, inside)
	if err != nil {
		return planner.Desired{}, err
	}
	top, err := os.OpenRoot(c.top)
	if err != nil {
		return planner.Desired{}, fmt.Errorf("read the manifests: %w", err)
	}
	defer top.Close()
	d, err := readFleet(ctx, top.FS(), folder)
	if err != nil {
		return d, fmt.Errorf("%w\nto read the records all the same, name them with --records URL", err)
	}
	if head, err := c.git(ctx, "rev-parse", "--quiet", "--verify", "HEAD^{commit}"); err == nil {
		d.Commit.Hash = strings.TrimSpace(head)
	}
	return d, nil
}

// absolute makes a path of this machine one that git understands elsewhere.
func (p *recordPlace) absolute(from string) error {
	path := p.url
	if !filepath.IsAbs(path) {
		path = filepath.Join(from, path)
	}
	if _, err := os.Stat(path); err != nil || strings.Contains(p.url, "://") {
		return nil // an address
	}
	abs, err := filepath.Abs(path)
	p.url = abs
	return err
}

// ownRemote is the remote that the branch follows; without one origin, or the
// only one. Without any its url is empty.
func (c *checkout) ownRemote(ctx context.Context) (recordPlace, error) {
	var failed *gitError
	if err := c.findBranch(ctx); errors.Is(err, errNoGit) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return recordPlace{}, err
	}
	name := c.remote // none where no branch is checked out
	if name == "" || name == "." {
		out, err := c.git(ctx, "remote")
		if err != nil {
			return recordPlace{}, err
		}
		remotes := strings.Fields(out)
		switch {
		case strings.Contains("\n"+out, "\norigin\n"):
			name = "origin"
		case len(remotes) == 1:
			name = remotes[0]
		case len(remotes) == 0:
			return recordPlace{}, nil
		default:
			return recordPlace{}, usageError(fmt.Errorf("the branch in %s follows none of its remotes; check out one that does, or name the records with --records URL", c.top))
		}
	}
	out, err := c.git(ctx, "remote", "get-url", "--", name)
	if errors.As(err, &failed) {
		return recordPlace{}, fmt.Errorf("find the remote of %s: %w\nname the records with --records URL", c.top, err)
	} else if err != nil {
		return recordPlace{}, err
	}
	address := strings.TrimRight(out, "\r\n")
	place := recordPlace{url: address, secret: secretOf(address)}
	if err := place.absolute(c.top); err != nil {
		return recordPlace{}, err
	}
	place.config = c.accessConfig(ctx)
	return place, nil
}

// accessConfig is what the checkout's own configuration says of how to reach
// its remote: where CI systems put their tokens.
func (c *checkout) accessConfig(ctx context.Context) []string {
	out, err := c.git(ctx, "config", "--local", "--includes", "-z", "--get-regexp", `^(http|credential)\.|^core\.sshcommand$`)
	if err != nil {
		return nil // there is nothing of the kind
	}
	var pairs []string
	for entry := range strings.SplitSeq(strings.TrimRight(out, "\x00"), "\x00") {
		if key, value, ok := strings.Cut(entry, "\n"); ok {
			pairs = append(pairs, key, value)
		}
	}
	return pairs
}

// recordStore holds the records of a fleet as one look found them.
type recordStore interface {
	// values are the newest values of the refs that were asked for.
	values() map[planner.Ref]planner.Hash
	// read reads one of them, or an older one that one names as its parent. Its
	// error is about that record alone, unless it is an errStore.
	read(ref planner.Ref, id planner.Hash) (planner.Record, error)
	close()
}

// errStore says that no record can be read any more.
var errStore = errors.New("records cannot be read")

// wantedRecords is what a verb asks for.
type wantedRecords struct {
	rooms []string // patterns of refs below the prefix
	depth int      // how many values of each ref, the newest first
}

// readRecords opens the records that the flags mean. The caller closes the
// store.
func (e *env) readRecords(ctx context.Context, o recordOptions, want wantedRecords) (recordStore, recordPlace, error) {
	place, err := recordPlace{}, error(nil)
	if e.configFile == "" {
		place, err = findRecords(ctx, o)
	}
	if e.configFile != "" || e.onNode(o, err) {
		return readConfigured(ctx, e.configFile, want)
	}
	if err != nil {
		return nil, place, err
	}
	store, err := fetchRecords(ctx, place, want)
	if err == nil && len(store.values()) == 0 {
		store.close()
		err = &noRecordsError{place}
	}
	if err != nil {
		return nil, place, err
	}
	return store, place, nil
}

// noRecordsError says that a place has none.
type noRecordsError struct{ place recordPlace }

func (e *noRecordsError) Error() string {
	return fmt.Sprintf("there are no %s yet: no agent has registered there; a node that stands alone (coordination: none) writes none, ask it with \"orpheus why\" and \"orpheus events\" on it", e.place)
}

// onNode reports whether this is a node, and nobody said to look in a checkout
// where there is none.
func (e *env) onNode(o recordOptions, err error) bool {
	return errors.Is(err, errNoCheckout) && !o.directoryGiven && o.path == "" && hasAgentConfig()
}

// withInterrupt runs f until it ends or the user interrupts it.
func withInterrupt(ctx context.Context, f func(context.Context) error) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	return f(ctx)
}
