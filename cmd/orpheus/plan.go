package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/cmd/internal/review"
	"github.com/orpheus-cd/orpheus/planner"
)

// planGarbage is how much garbage a plan leaves lying before it is collected, in
// percent of what is in use: it ends soon, and of 1,000 services a fifth of its time
// went into that.
const planGarbage = 400

// exitChanges answers `plan --exit-code`.
const exitChanges = 3

// planOptions are the flags of `orpheus plan`.
type planOptions struct {
	recordOptions
	offline, exitCode bool
}

// recordsGiven reports whether the user says where the records are: then they have
// to be there.
func (o *planOptions) recordsGiven() bool { return o.records != "" }

func newPlanCommand(e *env) *cobra.Command {
	var o planOptions
	cmd := &cobra.Command{
		Use:   "plan [REV..REV]",
		Short: "Show what a commit will do to the fleet, before it is merged",
		Long: `Show what a commit will do to the fleet: what changes in each service and why,
which slots restart, move, appear and go, on which nodes, in which steps, how
much is asked of the nodes meanwhile, what finds no place, which deletions wait
for approval, and what is wrong with the commit. It is worked out from Git alone,
the manifests of both revisions and the fleet's records, by the planner that the
agents have; nothing is changed, and no agent is asked.

  orpheus plan           what the fleet follows, and the work tree: also files
                         that are not committed, or not added yet. Without records
                         the branch's upstream takes the place of the first,
                         without one HEAD
  orpheus plan A..B      two commits, as git diff takes them; A.. and ..B mean HEAD
  orpheus plan A...B     B, and the commit that it has in common with A
  orpheus plan A         a commit and the work tree

The plan is right as long as nothing else happens: every image can be pulled, what
is started becomes ready, hooks succeed, no node is lost, no other commit comes.
docs/plan.md says what it does not know, and has examples for CI.

Exit codes: 0 nothing stands in the way; 1 the commit has faults, a slot finds no
place because of it or a deletion waits for approval (the plan is shown), or there
is no plan; 2 wrong usage, or no checkout of a fleet. With --exit-code also 3:
nothing stands in the way, and something changes.`,
		Example: `  orpheus plan
  orpheus plan origin/main...HEAD
  orpheus plan HEAD^..HEAD --path envs/prod -o markdown > comment.md
  orpheus plan main --offline          # from the manifests alone`,
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(e, cmd); err != nil {
				return usageError(err)
			}
			if o.offline && o.recordsGiven() {
				return usageError(errors.New("--offline reads no records; remove it or --records"))
			}
			r, err := parseRange(args)
			if err != nil {
				return usageError(err)
			}
			return withInterrupt(cmd.Context(), func(ctx context.Context) error { return e.showPlan(ctx, r, o) })
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.directory, "directory", "C", ".", "folder in the checkout of the fleet's repository")
	f.StringVar(&o.path, "path", "", "folder of fleet.yaml in the repository (default: the nearest above, or the only one)")
	f.StringVar(&o.records, "records", "", "URL of the repository of the records, for git, whatever fleet.yaml says")
	f.StringVar(&o.prefix, "prefix", "", "where the records' refs begin (default: as in fleet.yaml)")
	f.BoolVar(&o.offline, "offline", false, "read no records: say what the manifests alone tell")
	f.BoolVar(&o.exitCode, "exit-code", false, "exit with 3 if something changes")
	addOutputFlag(cmd, &o.output, "text", "markdown", "json")
	dirs := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveFilterDirs
	}
	// These fail only for flags that do not exist.
	_ = cmd.RegisterFlagCompletionFunc("directory", dirs)
	_ = cmd.RegisterFlagCompletionFunc("path", dirs)
	_ = cmd.RegisterFlagCompletionFunc("records", cobra.NoFileCompletions)
	_ = cmd.RegisterFlagCompletionFunc("prefix", cobra.NoFileCompletions)
	return cmd
}

func (e *env) showPlan(ctx context.Context, r planRange, o planOptions) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(planGarbage)
	}
	report, err := e.planReport(ctx, r, o)
	if err != nil {
		return err
	}
	switch o.output {
	case "json":
		err = writeJSON(e.stdout, report, false)
	case "markdown":
		err = review.WriteMarkdown(e.stdout, report)
	default:
		s := e.newScreen()
		drawPlan(s, report)
		err = s.writeTo(e.stdout)
	}
	switch {
	case err != nil:
		return err
	case report.Trouble():
		return &exitError{code: exitFailed}
	case o.exitCode && report.Summary.Changes:
		return &exitError{code: exitChanges}
	}
	return nil
}

// planReport reads all that a plan takes, and makes it.
func (e *env) planReport(ctx context.Context, r planRange, o planOptions) (*review.Report, error) {
	c, err := openWorkTree(ctx, o.directory)
	if err != nil {
		return nil, err
	}
	reader := newPlanReader(c)
	head, done, err := reader.openHead(ctx, r)
	if err != nil {
		return nil, err
	}
	defer done()
	var base, upstream planSide
	if r.base != "" {
		if base, err = reader.side(ctx, r.base); err != nil {
			return nil, err
		}
	} else if own, err := reader.side(ctx, "HEAD"); err == nil {
		base = own // until the records say better
		upstream, _ = reader.side(ctx, "@{upstream}")
	}
	// Where the head has no fleet any more, the others say where it was.
	if reader.folder, err = reader.findFleetIn(ctx, o.path, head.tree, base.tree, upstream.tree); err != nil {
		return nil, err
	}
	// Who may propose a commit does not say where records are fetched from: the
	// base does, where it has a fleet.
	there, err := reader.render(ctx, base)
	if err == nil && (base.tree == "" || there.refused != nil) {
		there, err = reader.render(ctx, head)
	}
	if err != nil {
		return nil, err
	}
	records, err := e.planView(ctx, c, there.desired, o)
	if err != nil {
		return nil, err
	}
	base, notes, err := reader.chooseBase(ctx, r, base, head, records)
	if err != nil {
		return nil, err
	}
	return reader.report(ctx, base, head, records, notes, e.now)
}

// openHead finds the head, and opens the repository's objects.
func (r *planReader) openHead(ctx context.Context, asked planRange) (head planSide, done func(), err error) {
	done = func() {}
	var env []string
	if asked.head != "" {
		head, err = r.side(ctx, asked.head)
	} else {
		head.Name = "work tree"
		var remove func()
		if head.tree, env, remove, err = r.workTree(ctx); err == nil {
			done, head.commit = remove, planner.Commit{Hash: head.tree}
			if own, err := r.side(ctx, "HEAD"); err == nil && own.tree == head.tree {
				head = own // nothing is changed here
			}
		}
	}
	if err != nil {
		return head, done, err
	}
	if r.objects, err = newTreeReader(ctx, r.checkout, env...); err != nil {
		done()
		return head, done, err
	}
	remove := done
	return head, func() { r.objects.close(); remove() }, nil
}

// chooseBase settles what the head is compared with.
func (r *planReader) chooseBase(ctx context.Context, asked planRange, base, head planSide, records planRecords) (planSide, []string, error) {
	var notes []string
	name, tip := base.Name, head.Commit
	if tip == "" {
		tip = "HEAD"
	}
	followed := records.followedCommits()
	switch {
	case asked.merged, base.Commit == "":
	case asked.base != "":
		if len(followed) > 0 && followed[0] != base.Commit {
			notes = append(notes, "the fleet follows "+planner.Commit{Hash: followed[0]}.Short()+", not the base: slots are where the records have them now")
		}
		if head.Commit != "" && !r.contains(ctx, tip, base.Commit) {
			notes = append(notes, fmt.Sprintf("%s does not come after %s: what that has since is shown as undone, and agents refuse a branch that goes back; %s...%s leaves it out", head.Name, base.Name, base.Name, head.Name))
		}
		return base, notes, nil
	default:
		if len(followed) > 0 && r.has(ctx, followed[0]) {
			name = followed[0]
		} else if _, err := r.side(ctx, "@{upstream}"); err == nil {
			name = "@{upstream}"
		}
		if len(followed) > 0 && name != followed[0] {
			notes = append(notes, "the fleet follows "+planner.Commit{Hash: followed[0]}.Short()+", which is not here: fetch it for a plan against that")
		}
		if len(followed) > 1 {
			notes = append(notes, "nodes follow "+count(len(followed), "different commit")+" now; the plan begins at the one that most follow")
		}
	}
	if base.Commit == "" {
		return base, notes, nil
	}
	from, err := r.side(ctx, name)
	if err != nil {
		return from, notes, err
	}
	if r.contains(ctx, tip, from.Commit) {
		from.Name = nameOfBase(asked, name, from)
		return from, notes, nil
	}
	common, err := r.mergeBase(ctx, from.Commit, tip)
	if err != nil {
		return from, notes, err
	}
	note := fmt.Sprintf("%s has commits that %s lacks: the plan begins at %s, which both have", nameOfBase(asked, name, from), head.Name, planner.Commit{Hash: common}.Short())
	from, err = r.side(ctx, common)
	from.Name = planner.Commit{Hash: common}.Short()
	return from, append(notes, note), err
}

// nameOfBase is what people call the base.
func nameOfBase(asked planRange, name string, s planSide) string {
	switch {
	case asked.base != "":
		return asked.base
	case name == "@{upstream}":
		return "the upstream branch"
	case name == "HEAD":
		return name
	}
	return "what the fleet follows"
}

// report makes the plan of two sides.
func (r *planReader) report(ctx context.Context, base, head planSide, records planRecords, notes []string, now func() time.Time) (*review.Report, error) {
	before, err := r.settle(ctx, base, records.running())
	if err != nil {
		return nil, err
	}
	after, err := r.render(ctx, head)
	if err != nil {
		return nil, err
	}
	in := review.Input{
		Base: base.Side, Head: head.Side, Path: r.folder, Before: before.followed, After: before.followed,
		Old: before.documents, New: after.documents, BaseFaults: before.faults, Faults: after.desired.Faults,
		Records: records.from, NoRecords: records.why, Now: now(),
	}
	in.Notes = append(append(append(in.Notes, notes...), before.notes...), records.notes...)
	if before.followed.Commit.Hash == "" && base.tree != "" {
		in.Notes = append(in.Notes, "agents would refuse the base, and no commit before it is known: all is taken for new")
	}
	if after.refused != nil {
		in.Refused, in.Faults = after.refused.Why(), after.refused.Faults
		return review.Build(in), nil
	}
	to := head.Commit
	if to == "" {
		to = "HEAD"
	}
	var approved []string
	if base.Commit != "" && base.Commit != to {
		if approved, err = r.approvals(ctx, base.Commit, to); err != nil {
			return nil, err
		}
	}
	in.After = planner.Settle(before.followed, after.desired, approved)
	if records.view != nil {
		view := *records.view
		view.Nodes = maps.Clone(view.Nodes)
		if err := r.learnTemplates(ctx, &view, in.Before.Services, in.After.Services); err != nil {
			return nil, err
		}
		in.View = &view
	}
	return review.Build(in), nil
}
