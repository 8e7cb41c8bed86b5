package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/planner/manifest"
)

// renderFlags are what `orpheus render` is asked for.
type renderFlags struct {
	output, inside, service string
	origin                  bool
}

func newRenderCommand(e *env) *cobra.Command {
	var f renderFlags
	cmd := &cobra.Command{
		Use:   "render [DIR]",
		Short: "Print the manifests of a folder as they are in force",
		Long: `Print the manifests of the fleet in DIR (default: the current folder) as an
agent would put them together from a commit: its bases and overlays merged, its
variables put in. What is printed are manifests too.

With --origin each value has a comment that tells where it was written, and the
variables it was made with.

As with "orpheus validate", files are read as they lie on disk, committed or
not, and nothing else is: no agent, no network. All faults are printed to
standard error; what they hold back is left out.

Exit codes: 0 no faults (there may be warnings), 1 faults, or no such service,
2 wrong usage or a folder that cannot be read.`,
		Example: `  orpheus render envs/prod
  orpheus render envs/prod --origin --service web
  diff <(orpheus render envs/staging) <(orpheus render envs/prod)`,
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			return e.render(cmd.Context(), dir, f)
		},
	}
	addOutputFlag(cmd, &f.output, "yaml", "json")
	cmd.Flags().StringVar(&f.inside, "path", "", "folder of the fleet inside DIR, which is then the top of the repository")
	cmd.Flags().StringVar(&f.service, "service", "", "print only this one: NAME or NAMESPACE/NAME")
	cmd.Flags().BoolVar(&f.origin, "origin", false, "tell where each value was written")
	return cmd
}

func (e *env) render(ctx context.Context, dir string, f renderFlags) error {
	root, fleet, err := locate(dir, f.inside)
	if err != nil {
		return usageError(err)
	}
	documents, report, err := renderFleet(ctx, root, fleet)
	if err != nil {
		return usageError(err)
	}
	if len(report.Faults) > 0 {
		if err := manifest.WriteText(e.stderr, report); err != nil {
			return err
		}
	}
	if f.service != "" && len(documents) > 0 {
		if documents, err = oneService(documents, f.service); err != nil {
			return err
		}
	}
	if f.output == "json" {
		err = writeJSON(e.stdout, newRendering(documents, report, f.origin), false)
	} else {
		err = writeDocuments(e.stdout, documents, f.origin)
	}
	if err == nil && report.Broken() > 0 {
		err = &exitError{code: exitFailed}
	}
	return err
}

// renderFleet reads a fleet; of one that is refused there are no documents.
// The error says that it could not be read.
func renderFleet(ctx context.Context, root, fleet string) ([]manifest.Document, manifest.Report, error) {
	top, err := openRepository(root, fleet)
	if err != nil {
		return nil, manifest.Report{}, err
	}
	defer top.Close()
	documents, desired, err := manifest.Render(ctx, top.FS(), fleet, manifest.Limits{})
	var refused *manifest.RefusedError
	if errors.As(err, &refused) {
		return nil, refused.Report(), nil
	} else if err != nil {
		return nil, manifest.Report{}, fmt.Errorf("read the manifests: %w", err)
	}
	return documents, manifest.NewReport(desired), nil
}

// oneService picks the service that is called so.
func oneService(documents []manifest.Document, name string) ([]manifest.Document, error) {
	namespace, plain, found := strings.Cut(name, "/")
	if !found {
		namespace, plain = planner.DefaultNamespace, name
	}
	var names []string
	for _, doc := range documents {
		if doc.Kind != "Service" {
			continue
		}
		if doc.Namespace == namespace && doc.Name == plain {
			return []manifest.Document{doc}, nil
		}
		names = append(names, planner.ServiceID{Namespace: doc.Namespace, Name: doc.Name}.String())
	}
	const listed = 20
	there := "there is none"
	if len(names) > 0 {
		there = "there are " + strings.Join(names[:min(len(names), listed)], ", ")
		if more := len(names) - listed; more > 0 {
			there += fmt.Sprintf(" and %d more", more)
		}
	}
	return nil, fmt.Errorf("no service %s is in force here; %s", name, there)
}

func writeDocuments(w io.Writer, documents []manifest.Document, origin bool) error {
	for i, doc := range documents {
		if i > 0 {
			if _, err := io.WriteString(w, "---\n"); err != nil {
				return err
			}
		}
		if err := doc.WriteYAML(w, origin); err != nil {
			return err
		}
	}
	return nil
}

// rendering is the form of -o json.
type rendering struct {
	Documents []rendered      `json:"documents"`
	Faults    []planner.Fault `json:"faults"`
}

type rendered struct {
	Kind      string           `json:"kind"`
	Namespace string           `json:"namespace,omitempty"`
	Name      string           `json:"name"`
	Revision  planner.Revision `json:"revision,omitempty"`
	Files     []string         `json:"files"` // it is made from
	Manifest  any              `json:"manifest"`
	// Origin tells for each field where its value was written; with --origin.
	Origin map[string]string `json:"origin,omitempty"`
}

func newRendering(documents []manifest.Document, report manifest.Report, origin bool) rendering {
	r := rendering{Documents: []rendered{}, Faults: append([]planner.Fault{}, report.Faults...)} // never null
	for _, doc := range documents {
		one := rendered{doc.Kind, doc.Namespace, doc.Name, doc.Revision, doc.Files, doc.Value(), nil}
		if origin {
			one.Origin = doc.Origins()
		}
		r.Documents = append(r.Documents, one)
	}
	return r
}
