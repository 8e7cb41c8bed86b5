package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newFloorCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "floor",
		Short: "Show or reset the commit below which what is followed may not go",
		Long: `A fleet, or a node alone (coordination: none), follows its repository only
forward. A branch that was set back or rewritten, a tag that was moved, and in a
fleet records that are older than what was seen before (the Git server was
restored from a backup) change nothing; everything that runs goes on.
"orpheus floor reset" is a person's word that what stands now is meant so.`,
	}
	cmd.AddCommand(newFloorShowCommand(e), newFloorResetCommand(e))
	return cmd
}

// floorReport is what `orpheus floor show` prints.
type floorReport struct {
	Floor      string `json:"floor,omitempty"`      // the commit; "" = there is none yet
	Generation uint64 `json:"generation,omitempty"` // of a fleet's: it rises with each reset
	Followed   string `json:"followed,omitempty"`   // the commit in force
}

func newFloorShowCommand(e *env) *cobra.Command {
	var output string
	cmd := &cobra.Command{
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
			report := floorReport{Floor: st.Repository.Floor, Followed: st.Repository.Applied.Hash}
			if st.Fleet != nil {
				report.Floor, report.Generation = st.Fleet.Floor, st.Fleet.Generation
			}
			if output == "json" {
				return writeJSON(e.stdout, report, false)
			}
			fmt.Fprintf(e.stdout, "floor:      %s\n", orNone(report.Floor))
			if st.Fleet != nil {
				fmt.Fprintf(e.stdout, "generation: %d\n", report.Generation)
			}
			fmt.Fprintf(e.stdout, "followed:   %s\n", orNone(report.Followed))
			return nil
		},
	}
	addOutputFlag(cmd, &output, "text", "json")
	return cmd
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
		Short: "Take repository and records for what they are now",
		Long: `Let what is followed go on from COMMIT (a full id; without it, from the commit
in force). Do this after a branch was rewritten or a tag moved on purpose; the
refusal in "orpheus status" names the command.

In a fleet it also takes the records as they are now for what they should be, as
after the Git server was restored from a backup: slots whose leases the backup
does not know may move. All nodes adopt it. Run it on one node, once; the node
writes it, signed, as soon as it can. With coordination: none it is for this
node alone.`,
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
			st, err := client.Status(cmd.Context()) // before: an error after the reset would say that there was none
			if err != nil {
				return e.explainAgent(err)
			}
			if err := client.ResetFloor(cmd.Context(), commit); err != nil {
				return e.explainAgent(err)
			}
			if st.Fleet == nil {
				fmt.Fprintln(e.stdout, "The floor of this node is reset: what comes after it is followed again.")
				return nil
			}
			fmt.Fprintln(e.stdout, "The floor is being reset: orpheus floor show tells when the generation has risen.")
			return nil
		},
	}
}
