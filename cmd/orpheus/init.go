package main

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/examples/ci"
)

// initOptions are what a user says of a new fleet.
type initOptions struct {
	path string // of the fleet in DIR
	name string // "" = that of its folder
	ci   string

	ciGiven bool // ci is what the user wants, not the default
}

const (
	ciAuto = "auto"
	ciNone = "none"
)

func newInitCommand(e *env) *cobra.Command {
	var o initOptions
	forges := []string{ciAuto}
	for _, f := range ci.Forges() {
		forges = append(forges, f.Name)
	}
	forges = append(forges, ciNone)
	cmd := &cobra.Command{
		Use:   "init [DIR]",
		Short: "Make a repository for a fleet",
		Long: `Write what a fleet begins with into DIR (default: the current folder), which is
made if it is missing: fleet.yaml and an example service, a job that shows what
a pull request would do, settings for editors, a .gitignore. Where DIR lies in
no Git repository, one is made, with the branch main. Nothing is committed.

A Compose file in the folder becomes part of the fleet: fleet.yaml lists it, and
no example is written. Other YAML files that are there are listed in
spec.ignore.

No file that is there is changed. Where fleet.yaml or the example would have to
be, nothing is written; other files are left out. With --ci a fleet that is there
already gets the job, and nothing else.`,
		Example: `  orpheus init shop && cd shop
  orpheus init --path fleets/prod --ci gitlab   # in a repository that has more than the fleet`,
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			place, err := findPlace(dir, o.path)
			if err != nil {
				return usageError(err)
			}
			defer place.Close()
			o.ciGiven = cmd.Flags().Changed("ci")
			plan, err := planInit(cmd.Context(), place, o)
			if err != nil {
				return err
			}
			if err := plan.write(cmd.Context(), place); err != nil {
				return err
			}
			return e.reportInit(cmd.Context(), place, plan)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.path, "path", "", "folder of the fleet in DIR (default: DIR itself)")
	f.StringVar(&o.name, "name", "", "what the fleet is called (default: as its folder)")
	o.ci = ciAuto
	f.Var(choice{&o.ci, forges}, "ci", "the forge that runs the job; auto goes by the address of the remote origin")
	// It fails only for a flag that does not exist.
	_ = cmd.RegisterFlagCompletionFunc("ci", cobra.FixedCompletions(forges, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// initFile is a file of a new fleet, with slashes from the top of the
// repository.
type initFile struct {
	path, text string
	must       bool // without it there is no point in the others
	note       string
}

// initPlan is what init does.
type initPlan struct {
	files   []initFile
	left    []string // are there already
	found   inventory
	forge   *ci.Forge // nil = no job
	asked   bool      // nobody said which forge, and no remote did
	jobOnly bool      // the fleet is there already
	dirty   bool      // there are changes that are no part of it
}

// planInit decides what is written. The error lists all files in the way.
func planInit(ctx context.Context, p *place, o initOptions) (*initPlan, error) {
	found, err := p.survey()
	if err != nil {
		return nil, err
	}
	plan := &initPlan{found: found, dirty: p.dirty(ctx)}
	if err := plan.chooseForge(ctx, p, o.ci); err != nil {
		return nil, err
	}
	name := labelOf(path.Base(p.called()))
	if o.name != "" {
		if name = labelOf(o.name); name != o.name {
			return nil, usageError(fmt.Errorf("a fleet cannot be called %q; write it like %s", o.name, name))
		}
	}
	files := []initFile{{path: p.in("fleet.yaml"), text: plan.fleetFile(p, name), must: true, note: "the fleet: what all nodes must agree on"}}
	if len(found.compose) == 0 && !found.manifests {
		files = append(files, initFile{path: p.in(exampleAt), text: exampleManifest(p), must: true, note: "an example service"})
	}
	settings, err := editorSettings(p)
	if err != nil {
		return nil, err
	}
	schema, err := schemaFile()
	if err != nil {
		return nil, err
	}
	files = append(files,
		initFile{path: schemaAt, text: schema, note: "what editors know of manifests"},
		initFile{path: ".vscode/settings.json", text: settings, note: "has VS Code use it"},
		initFile{path: ".gitignore", text: gitIgnore, note: "keeps keys out"},
		initFile{path: "README.md", text: readme(p, name), note: "for who comes next"})
	if plan.forge != nil {
		files = append(files, initFile{path: plan.forge.File, text: plan.forge.Job(p.fleet), note: "shows what a pull request would do"})
	}
	there, err := p.has(p.in("fleet.yaml"))
	if err != nil {
		return nil, err
	}
	if there && o.ciGiven && plan.forge != nil {
		plan.jobOnly, files = true, files[len(files)-1:]
		files[0].must = true
	}
	return plan, plan.sort(p, files)
}

// sort finds which files can be written.
func (plan *initPlan) sort(p *place, files []initFile) error {
	var inTheWay []string
	for _, f := range files {
		is, err := p.has(f.path)
		switch {
		case err != nil:
			return err
		case is && f.must:
			inTheWay = append(inTheWay, f.path)
		case is:
			plan.left = append(plan.left, f.path)
		default:
			plan.files = append(plan.files, f)
		}
	}
	if len(inTheWay) > 0 {
		remedy := "name another folder with --path"
		if plan.jobOnly {
			remedy = "it is not written anew"
		} else if inTheWay[0] == p.in("fleet.yaml") {
			remedy = "orpheus validate checks this fleet, --ci FORGE adds the job for pull requests; for another one name another folder with --path"
		}
		return fmt.Errorf("nothing was written: %s %s there already; %s", strings.Join(inTheWay, " and "), isOrAre(len(inTheWay)), remedy)
	}
	return nil
}

func isOrAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// chooseForge goes by what the user says, or else by where the repository
// comes from.
func (plan *initPlan) chooseForge(ctx context.Context, p *place, asked string) error {
	host := p.host(ctx)
	for _, f := range ci.Forges() {
		known := slices.ContainsFunc(f.Hosts, func(part string) bool { return strings.Contains(host, part) })
		if f.Name == asked || asked == ciAuto && known && plan.forge == nil {
			plan.forge = &f
		}
	}
	plan.asked = plan.forge == nil && asked == ciAuto
	if plan.forge != nil && strings.Trim(p.fleet, jobPath) != "" {
		return usageError(fmt.Errorf("the folder %q cannot be named in a job: it has more than letters, digits and ._-/; write --ci none, or name it otherwise", p.fleet))
	}
	return nil
}

// jobPath is what a path may have that stands in a script.
const jobPath = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/"
