package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/planner/manifest/reference"
)

func newSchemaCommand(e *env) *cobra.Command {
	var output string
	var overlay bool
	cmd := &cobra.Command{
		Use:   "schema [KIND]",
		Short: "Print the JSON Schema of manifests, for editors",
		Long: `Print the JSON Schema (draft 7) of all manifests, or of one kind. Editors that
use the YAML language server complete, explain and check with it as you type;
"orpheus init" sets that up in a repository. "orpheus validate" knows more: what
concerns several fields or documents, and how YAML is written.

--overlay is for manifests that are laid over those of a base: nothing but what
says which document is meant is required, a field may be null, and $patch says
how to merge.`,
		Example: `  orpheus schema > .orpheus/schema.json
  orpheus schema Service
  orpheus schema --overlay > .orpheus/overlay.json`,
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var kinds []string
			for _, k := range reference.Read().Kinds {
				kinds = append(kinds, k.Name)
			}
			return kinds, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			options, book := reference.Options{Overlay: overlay}, reference.Read()
			if len(args) > 0 {
				kind, err := book.Find(args[0])
				if err != nil {
					return usageError(err)
				}
				options.Kind = kind.Path
			}
			text, err := book.Schema(options)
			if err != nil {
				return usageError(err)
			}
			if _, err := e.stdout.Write(text); err != nil {
				return fmt.Errorf("print the schema: %w", err)
			}
			return nil
		},
	}
	addOutputFlag(cmd, &output, "json")
	cmd.Flags().BoolVar(&overlay, "overlay", false, "for manifests that are laid over those of a base")
	return cmd
}
