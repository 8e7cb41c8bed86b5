package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/planner/manifest"
)

func newValidateCommand(e *env) *cobra.Command {
	var output, inside string
	cmd := &cobra.Command{
		Use:   "validate [DIR]",
		Short: "Check the manifests in a folder",
		Long: `Check the manifests of the fleet in DIR (default: the current folder), as an
agent would read them from a commit. Every fault is named with its file, line,
field and remedy. Nothing but the folder is read: no agent, no network.

Files as they lie on disk are read, committed or not. Paths of file volumes
start at the top of the repository: the nearest folder above DIR with a .git,
or DIR itself. So do the bases of an overlay: see "orpheus render". With --path,
DIR is the top of the repository and the fleet lies in that folder of it.

Exit codes: 0 no faults (there may be warnings), 1 faults, 2 wrong usage or a
folder that cannot be read.`,
		Example: `  orpheus validate
  orpheus validate fleets/prod -o json
  orpheus validate . --path fleets/prod -o github   # annotations in a workflow`,
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			root, fleet, err := locate(dir, inside)
			if err != nil {
				return usageError(err)
			}
			report, err := validate(cmd.Context(), root, fleet)
			if err != nil {
				return usageError(err)
			}
			if err := writeReport(e.stdout, report, output); err != nil {
				return err
			}
			if report.Broken() > 0 {
				return &exitError{code: exitFailed}
			}
			return nil
		},
	}
	addOutputFlag(cmd, &output, "text", "json", "github")
	cmd.Flags().StringVar(&inside, "path", "", "folder of the fleet inside DIR, which is then the top of the repository")
	return cmd
}

// locate finds the top of the repository and the fleet's folder in it, as a
// slash path.
func locate(dir, inside string) (root, fleet string, err error) {
	if info, err := os.Stat(dir); err != nil {
		return "", "", fmt.Errorf("read the manifests: %w", err)
	} else if !info.IsDir() {
		return "", "", fmt.Errorf("%s is not a folder: name the folder with the fleet.yaml", dir)
	}
	if inside != "" {
		fleet = filepath.ToSlash(filepath.Clean(inside))
		if !fs.ValidPath(fleet) {
			return "", "", fmt.Errorf("--path %s does not lie in %s", inside, dir)
		}
		return dir, fleet, nil
	}
	real, err := filepath.Abs(dir)
	if err == nil {
		real, err = filepath.EvalSymlinks(real)
	}
	if err != nil {
		return "", "", fmt.Errorf("read the manifests: %w", err)
	}
	for top := real; ; top = filepath.Dir(top) {
		// .git is a folder, or a file in a linked work tree or a submodule.
		if _, err := os.Lstat(filepath.Join(top, ".git")); err == nil {
			rel, err := filepath.Rel(top, real)
			return top, filepath.ToSlash(rel), err
		}
		if filepath.Dir(top) == top {
			return real, ".", nil
		}
	}
}

// validate reads a fleet. The error says that it could not be read.
func validate(ctx context.Context, root, fleet string) (manifest.Report, error) {
	top, err := openRepository(root, fleet)
	if err != nil {
		return manifest.Report{}, err
	}
	defer top.Close()
	desired, err := manifest.NewLoader(manifest.Limits{}).Load(ctx, top.FS(), fleet, planner.Commit{})
	var refused *manifest.RefusedError
	if errors.As(err, &refused) {
		return refused.Report(), nil
	} else if err != nil {
		return manifest.Report{}, fmt.Errorf("read the manifests: %w", err)
	}
	return manifest.NewReport(desired), nil
}

// openRepository opens the folder root, in which the fleet must lie. Nothing
// outside of it can be read.
func openRepository(root, fleet string) (*os.Root, error) {
	top, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("read the manifests: %w", err)
	}
	_, err = top.Stat(filepath.FromSlash(fleet))
	switch {
	case err == nil:
		return top, nil
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("there is no folder %s in %s", fleet, root)
	}
	top.Close()
	return nil, fmt.Errorf("read the manifests: %w", err)
}

func writeReport(w io.Writer, r manifest.Report, output string) error {
	switch output {
	case "json":
		return writeJSON(w, r, false)
	case "github":
		return manifest.WriteGitHub(w, r)
	}
	return manifest.WriteText(w, r)
}
