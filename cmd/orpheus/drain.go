package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/planner/manifest"
)

// nodeVerb is one of the verbs that make a commit of what people decide of a
// node.
type nodeVerb struct {
	name    string
	short   string
	effect  string // what the commit does, for its body and the help; %s is the node
	already string // what is said when it does nothing
	want    func(planner.NodeSpec) []fieldChange
	// may refuses nodes that it is not for, by the records; nil = it is for all.
	may func(*env, context.Context, planner.NodeName, nodeOptions) error
}

var nodeVerbs = []nodeVerb{
	{
		name:    "drain",
		short:   "Move everything away from a node, by a commit",
		effect:  "Everything that runs on node %s moves to other nodes, as far as they have room\nfor it, and nothing new comes to it. Services with everyNode stay.",
		already: "node %s drains already",
		want: func(n planner.NodeSpec) []fieldChange {
			if n.Drain {
				return nil
			}
			return []fieldChange{{"drain", true}}
		},
	},
	{
		name:    "cordon",
		short:   "Give a node no new work, by a commit",
		effect:  "Node %s takes no new work, but for services with everyNode. What runs on it\nstays.",
		already: "node %s takes no new work already",
		want: func(n planner.NodeSpec) []fieldChange {
			if n.Drain || n.Unschedulable {
				return nil
			}
			return []fieldChange{{"unschedulable", true}}
		},
	},
	{
		name:    "uncordon",
		short:   "Give a node work again, by a commit",
		effect:  "Node %s takes new work again. What moved away comes back only as it is placed\nanew.",
		already: "node %s takes new work already",
		want: func(n planner.NodeSpec) []fieldChange {
			var changes []fieldChange
			if n.Drain {
				changes = append(changes, fieldChange{"drain", false})
			}
			if n.Unschedulable {
				changes = append(changes, fieldChange{"unschedulable", false})
			}
			return changes
		},
	},
	{
		name:  "abandon",
		short: "Give up the data of a node that is lost for good, by a commit",
		effect: `What node %s has in local volumes is given up, since it will not come back: its
slots go to other nodes, where these volumes begin empty. Nothing is deleted: what
is still on its disks stays there. A node that is live is refused, and keeps all.`,
		already: "node %s is given up already",
		want: func(n planner.NodeSpec) []fieldChange {
			if n.Abandoned {
				return nil
			}
			return []fieldChange{{"abandoned", true}}
		},
		may: (*env).mayAbandon,
	},
}

// nodeOptions are the flags of these verbs.
type nodeOptions struct {
	directory  string
	path       string
	message    string
	repository string
	branch     string
	push       bool
	pushGiven  bool
	noPush     bool
	dryRun     bool
}

// newNodeVerb makes the constructor of one verb's command.
func newNodeVerb(v nodeVerb) func(*env) *cobra.Command {
	return func(e *env) *cobra.Command {
		var o nodeOptions
		cmd := &cobra.Command{
			Use:   v.name + " NODE",
			Short: v.short,
			Long: fmt.Sprintf(v.effect, "NODE") + `

It is a commit like any other: it can be reviewed, and taken back by git revert.
It changes one field in the manifest of the node, by custom nodes/NODE.yaml,
and is made with the git program in the checkout of the fleet's repository you
are in. Nothing else goes into it, whatever is staged. If the branch has an
upstream the commit is pushed to it.

Exit codes: 0 done, or it was so already; 1 it did not work; 2 wrong usage, or
no checkout of a fleet.`,
			Example: strings.ReplaceAll(`  orpheus VERB node-2
  orpheus VERB node-2 --dry-run              # show the change, make no commit
  orpheus VERB node-2 -m "new disks" --no-push
  orpheus VERB node-2 --repository https://git.example.com/team/fleet.git`, "VERB", v.name),
			Args: cobra.ExactArgs(1),
			ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
				if len(args) > 0 || o.repository != "" {
					return nil, cobra.ShellCompDirectiveNoFileComp
				}
				return nodeNames(cmd.Context(), o), cobra.ShellCompDirectiveNoFileComp
			},
			RunE: func(cmd *cobra.Command, args []string) error {
				o.pushGiven = cmd.Flags().Changed("push")
				if err := o.check(); err != nil {
					return usageError(err)
				}
				name, err := parseNodeName(args[0])
				if err != nil {
					return usageError(err)
				}
				// An interrupt ends git, and the file is put back.
				ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
				defer stop()
				if v.may != nil {
					if err := v.may(e, ctx, name, o); err != nil {
						return err
					}
				}
				return e.changeRepo(ctx, v.change(name), o)
			},
		}
		o.addFlags(cmd)
		return cmd
	}
}

func (o *nodeOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&o.directory, "directory", "C", ".", "folder in the checkout to work in")
	f.StringVar(&o.path, "path", "", "folder of fleet.yaml in the repository (default: the nearest above, or the only one)")
	f.StringVarP(&o.message, "message", "m", "", "why, for the body of the commit")
	f.BoolVar(&o.push, "push", true, "push the commit, and commits before it that are not pushed")
	f.BoolVar(&o.noPush, "no-push", false, "leave the commit in the checkout")
	f.BoolVar(&o.dryRun, "dry-run", false, "show the change and do nothing")
	f.StringVar(&o.repository, "repository", "", "work without a checkout: URL of the repository, for git")
	f.StringVar(&o.branch, "branch", "", "branch of --repository (default: the one the server names)")
	dirs := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveFilterDirs
	}
	// These fail only for flags that do not exist.
	_ = cmd.RegisterFlagCompletionFunc("directory", dirs)
	_ = cmd.RegisterFlagCompletionFunc("path", dirs)
	_ = cmd.RegisterFlagCompletionFunc("message", cobra.NoFileCompletions)
	_ = cmd.RegisterFlagCompletionFunc("repository", cobra.NoFileCompletions)
	_ = cmd.RegisterFlagCompletionFunc("branch", cobra.NoFileCompletions)
}

// check refuses flags that contradict each other.
func (o nodeOptions) check() error {
	switch {
	case o.pushGiven && o.push && o.noPush:
		return errors.New("--push and --no-push contradict each other")
	case o.repository != "" && (o.noPush || !o.push) && !o.dryRun:
		return errors.New("with --repository the commit lives only where it is pushed to; remove --no-push")
	case o.repository != "" && o.directory != ".":
		return errors.New("--repository works without a checkout; remove it or -C")
	case o.branch != "" && o.repository == "":
		return errors.New("--branch is for --repository; in a checkout, check out the branch")
	}
	return nil
}

var nodeLabel = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

func parseNodeName(s string) (planner.NodeName, error) {
	if !nodeLabel.MatchString(s) {
		return "", fmt.Errorf("%q is no name of a node: lower case letters, digits and hyphens, at most 63", s)
	}
	return planner.NodeName(s), nil
}

// cloneAttempts bounds how often a commit is made anew because another push
// came first.
const cloneAttempts = 3

// repoChange is one commit that a verb makes.
type repoChange struct {
	subject string // "drain node-1"
	body    string // unless the user gives one
	already string // what is said when there is nothing to change
	// plan works out what changes in the fleet in a folder of the work tree; nil
	// = nothing.
	plan func(ctx context.Context, fsys fs.FS, folder string) (*fileChange, error)
}

func (v nodeVerb) change(name planner.NodeName) repoChange {
	return repoChange{
		subject: v.name + " " + string(name), body: fmt.Sprintf(v.effect, name), already: fmt.Sprintf(v.already, name),
		plan: func(ctx context.Context, fsys fs.FS, folder string) (*fileChange, error) {
			return changeNode(ctx, fsys, folder, name, v.want)
		},
	}
}

func (e *env) changeRepo(ctx context.Context, change repoChange, o nodeOptions) error {
	if o.repository == "" {
		c, err := openCheckout(ctx, o.directory)
		if err != nil {
			return err
		}
		return e.changeIn(ctx, c, change, o)
	}
	for attempt := 1; ; attempt++ {
		err := e.changeInClone(ctx, change, o)
		if !errors.Is(err, errRejected) || attempt == cloneAttempts {
			return err
		}
	}
}

func (e *env) changeInClone(ctx context.Context, change repoChange, o nodeOptions) error {
	c, done, err := cloneFor(ctx, o.repository, o.branch)
	if err != nil {
		return err
	}
	defer done()
	return e.changeIn(ctx, c, change, o)
}

// changeIn makes the commit in a checkout, and pushes it.
func (e *env) changeIn(ctx context.Context, c *checkout, change repoChange, o nodeOptions) error {
	file, err := c.plan(ctx, o.path, change)
	if err != nil {
		return err
	}
	if file == nil {
		return e.nothingToDo(ctx, c, change.already)
	}
	if err := c.clean(ctx, file.path); err != nil {
		return err
	}
	if o.dryRun {
		return e.showChange(ctx, c, file)
	}
	push := o.push && !o.noPush && c.remote != ""
	if o.pushGiven && o.push && c.remote == "" {
		return fmt.Errorf("branch %s has no upstream to push to; set one with git push -u, or write --no-push", c.branch)
	}
	if n := c.ahead(ctx); push && !o.pushGiven && n > 0 {
		return fmt.Errorf("branch %s is %s ahead of its upstream, and they would go along; write --push to push all, or --no-push", c.branch, commits(n))
	}
	change.subject = cmp.Or(file.subject, change.subject)
	body := cmp.Or(o.message, file.body, change.body)
	hash, err := c.commit(ctx, file, change.subject, body)
	if err != nil {
		return err
	}
	commit := planner.Commit{Hash: hash}.Short()
	if !push {
		_, err = fmt.Fprintf(e.stdout, "%s: commit %s changes %s; it is not pushed\n", change.subject, commit, manifest.Printable(file.path))
		return err
	}
	if err := c.push(ctx); err != nil {
		return notPushed(err, commit, o)
	}
	_, err = fmt.Fprintf(e.stdout, "%s: commit %s changes %s; pushed to %s\n", change.subject, commit, manifest.Printable(file.path), manifest.Printable(strings.TrimPrefix(c.merge, "refs/heads/")))
	return err
}

// plan works out the change in the work tree.
func (c *checkout) plan(ctx context.Context, inside string, change repoChange) (*fileChange, error) {
	folder, err := c.findFleet(ctx, inside)
	if err != nil {
		return nil, err
	}
	top, err := os.OpenRoot(c.top)
	if err != nil {
		return nil, fmt.Errorf("read the manifests: %w", err)
	}
	defer top.Close()
	return change.plan(ctx, top.FS(), folder)
}

// nothingToDo says so, and what may be the reason that agents do not know.
func (e *env) nothingToDo(ctx context.Context, c *checkout, already string) error {
	text := already + ": nothing to commit"
	if n := c.ahead(ctx); n > 0 {
		text += fmt.Sprintf("; %s of branch %s not pushed yet: git push", commits(n), manifest.Printable(c.branch))
	}
	_, err := fmt.Fprintln(e.stdout, text)
	return err
}

func commits(n int) string {
	if n == 1 {
		return "1 commit"
	}
	return fmt.Sprintf("%d commits", n)
}

// showChange prints the change as a patch in which nothing acts on a terminal.
func (e *env) showChange(ctx context.Context, c *checkout, f *fileChange) error {
	patch, err := c.diff(ctx, f)
	if err != nil {
		return err
	}
	for line := range strings.Lines(patch) {
		if _, err := fmt.Fprintln(e.stdout, manifest.Printable(strings.TrimRight(line, "\r\n"))); err != nil {
			return err
		}
	}
	return nil
}

// notPushed says where the commit is, and how to go on.
func notPushed(err error, commit string, o nodeOptions) error {
	if o.repository != "" {
		return fmt.Errorf("nothing is changed: %w", err)
	}
	if errors.Is(err, errRejected) {
		return fmt.Errorf("commit %s is made here but not pushed, others pushed before: git pull --rebase && git push\n%w", commit, err)
	}
	return fmt.Errorf("commit %s is made here but not pushed; push it when that works: git push\n%w", commit, err)
}

// nodeNames lists the nodes that the fleet names, for completion.
func nodeNames(ctx context.Context, o nodeOptions) []string {
	ctx, cancel := context.WithTimeout(ctx, completionTime)
	defer cancel()
	c, err := openCheckout(ctx, o.directory)
	if err != nil {
		return nil
	}
	folder, err := c.findFleet(ctx, o.path)
	if err != nil {
		return nil
	}
	d, err := readFleet(ctx, os.DirFS(c.top), filepath.ToSlash(folder))
	if err != nil {
		return nil
	}
	nodes := slices.AppendSeq(slices.Clone(d.Fleet.Nodes), maps.Keys(d.Nodes))
	slices.Sort(nodes)
	var names []string
	for _, n := range slices.Compact(nodes) {
		names = append(names, string(n))
	}
	return names
}
