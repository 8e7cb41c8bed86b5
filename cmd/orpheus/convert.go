package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/planner/manifest"
	"github.com/orpheus-cd/orpheus/planner/manifest/kubernetes"
)

// convertFlags are what `orpheus convert` is asked for.
type convertFlags struct {
	output, from, to string
}

func newConvertCommand(e *env) *cobra.Command {
	var f convertFlags
	cmd := &cobra.Command{
		Use:   "convert FILE|DIR|- ...",
		Short: "Make manifests of those of Kubernetes, or of Compose files",
		Long: `Make manifests of kind Service of what is written for Kubernetes or Compose, and
tell what was lost or changed on the way.

Files are converted together: a Service gives its ports to the Deployment that
it selects, a ConfigMap is put in where it is used. Of a folder all files that
end in .yaml, .yml or .json are read; - is the standard input. Compose files are
told by their services:. Compose files need no conversion to be run: a fleet
lists them in spec.compose.

Manifests are printed, or with --to written into a folder of a repository, one
file for each service and one for each file that a service mounts. Nothing is
overwritten. Notes go to standard error.

Exit codes: 0 all was converted (there may be notes), 1 something was not
converted or what came out has faults, 2 wrong usage, what cannot be read, or
files that are in the way.`,
		Example: `  orpheus convert deployment.yaml service.yaml > web.yaml
  helm template shop ./chart | orpheus convert - --to fleet/shop
  orpheus convert k8s/ --to fleet/shop && orpheus validate fleet`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.convert(cmd.Context(), cmd.InOrStdin(), args, f)
		},
	}
	addOutputFlag(cmd, &f.output, "yaml", "json")
	f.from = "auto"
	from := choice{&f.from, []string{"auto", "kubernetes", "compose"}}
	cmd.Flags().Var(from, "from", "what the files are written for")
	_ = cmd.RegisterFlagCompletionFunc("from", cobra.FixedCompletions(from.words, cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().StringVar(&f.to, "to", "", "folder to write into instead of printing")
	_ = cmd.MarkFlagDirname("to")
	return cmd
}

// conversion is what inputs became.
type conversion struct {
	services []converted
	notes    []kubernetes.Note
	written  []string
}

func (e *env) convert(ctx context.Context, stdin io.Reader, args []string, f convertFlags) error {
	target, err := newConvertTarget(f.to)
	if err != nil {
		return usageError(err)
	}
	inputs, err := readInputs(stdin, args, f.from)
	if err != nil {
		return usageError(err)
	}
	result := conversion{notes: inputs.notes}
	if err := result.kubernetes(inputs.kubernetes, target); err != nil {
		return usageError(err)
	}
	for _, file := range inputs.compose {
		if err := result.compose(ctx, file, target); err != nil {
			return usageError(err)
		}
	}
	target.place(result.services)
	if err := result.check(ctx); err != nil {
		return err
	}
	if f.to != "" {
		if err := target.write(&result); err != nil {
			return err
		}
	} else {
		result.leftFiles()
	}
	return e.tellConversion(result, f)
}

// tellConversion prints what was made, and the notes.
func (e *env) tellConversion(result conversion, f convertFlags) error {
	if err := result.writeNotes(e.stderr); err != nil {
		return err
	}
	var err error
	switch {
	case f.output == "json":
		err = writeJSON(e.stdout, result.json(), false)
	case f.to != "":
		for _, name := range result.written {
			if _, err = fmt.Fprintln(e.stdout, manifest.Printable(name)); err != nil {
				break
			}
		}
	default:
		documents := make([]manifest.Document, len(result.services))
		for i, s := range result.services {
			documents[i] = s.document()
		}
		err = writeDocuments(e.stdout, documents, false)
	}
	if err == nil && result.incomplete() {
		err = &exitError{code: exitFailed}
	}
	return err
}

// incomplete reports whether something was not converted.
func (c *conversion) incomplete() bool {
	for _, n := range c.notes {
		if !n.Warning {
			return true
		}
	}
	return len(c.services) == 0
}

// writeNotes prints the notes, one a line, and how many there are.
func (c *conversion) writeNotes(w io.Writer) error {
	failed := 0
	for _, n := range c.notes {
		kind := "note"
		if !n.Warning {
			kind, failed = "not converted", failed+1
		}
		line := kind + ": "
		if n.Object != "" {
			line += n.Object + ": "
		}
		if n.Field != "" {
			line += n.Field + ": "
		}
		reason := n.Reason
		if !n.Warning {
			reason = strings.TrimPrefix(reason, "is not converted: ")
		}
		line += reason
		if n.Remedy != "" {
			line += "; " + n.Remedy
		}
		if n.File != "" {
			line = fmt.Sprintf("%s:%d: %s", n.File, max(n.Line, 1), line)
		}
		if _, err := fmt.Fprintln(w, manifest.Printable(line)); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%s; %s, %s\n", count(len(c.services), "service"), count(len(c.notes)-failed, "note"), count(failed, "thing")+" not converted")
	return err
}

// kubernetes converts the files for Kubernetes, together.
func (c *conversion) kubernetes(files []kubernetes.File, target *convertTarget) error {
	if len(files) == 0 {
		return nil
	}
	result, err := kubernetes.Convert(files, target.files())
	if err != nil {
		return err
	}
	c.notes = append(c.notes, result.Notes...)
	for _, doc := range result.Documents {
		c.services = append(c.services, converted{id: doc.ID, from: doc.From, root: doc.Root, contents: doc.Contents, origin: doc.Origin})
	}
	return nil
}

// errNoInput says that there is nothing to convert.
var errNoInput = errors.New("there are no files that end in .yaml, .yml or .json")

// readInput reads at most limit bytes.
func readInput(r io.Reader, name string, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is larger than %d MiB: split it", name, limit>>20)
	}
	return data, nil
}

func readInputFile(name string, limit int64) ([]byte, error) {
	info, err := os.Stat(name)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("read %s: it is no regular file", name)
	}
	if err != nil {
		return nil, err
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readInput(f, name, limit)
}
