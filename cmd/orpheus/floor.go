package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

func newFloorCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "floor",
		Short: "Show or reset the commit below which the fleet's branch may not go",
		Long: `The fleet follows its branch only forward. A branch that was set back or
rewritten, and records that are older than what was seen before (the Git server
was restored from a backup), stop every decision; everything that runs goes on.
"orpheus floor reset" is a person's word that what stands now is meant so.`,
	}
	cmd.AddCommand(newFloorShowCommand(e), newFloorResetCommand(e))
	return cmd
}

func newFloorShowCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Show the floor as this node knows it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := e.client()
			if err != nil {
				return err
			}
			defer client.Close()
			st, err := client.Status(cmd.Context())
			if err != nil {
				return e.explainAgent(err)
			}
			if st.Fleet == nil {
				return errors.New("this node takes part in no fleet (coordination: none)")
			}
			floor := st.Fleet.Floor
			if floor == "" {
				floor = "none yet"
			}
			fmt.Fprintf(e.stdout, "floor:      %s\ngeneration: %d\nfollowed:   %s\n", floor, st.Fleet.Generation, orNone(st.Repository.Applied.Hash))
			return nil
		},
	}
}

func orNone(s string) string {
	if s == "" {
		return "none yet"
	}
	return s
}

func newFloorResetCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "reset [COMMIT]",
		Short: "Take branch and records for what they are now",
		Long: `Take the records as they are now for what they should be, and let the branch go
on from COMMIT (a full id; without it, from the commit in force). All nodes
adopt it. Run it on one node of the fleet, once; the node writes it, signed, as
soon as it can.

Do this after the Git server was restored from a backup, or after the branch was
rewritten on purpose. Slots whose leases the backup does not know may move.`,
		Example: `  orpheus floor reset
  orpheus floor reset 4f1e0c5d0a3b2c1d9e8f7a6b5c4d3e2f1a0b9c8d`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := e.client()
			if err != nil {
				return err
			}
			defer client.Close()
			commit := ""
			if len(args) > 0 {
				commit = args[0]
			}
			if err := client.ResetFloor(cmd.Context(), commit); err != nil {
				return e.explainAgent(err)
			}
			fmt.Fprintln(e.stdout, "The floor is being reset: orpheus floor show tells when the generation has risen.")
			return nil
		},
	}
}
