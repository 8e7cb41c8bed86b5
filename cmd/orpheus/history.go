package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/orpheus-cd/orpheus/agent/event"
	"github.com/orpheus-cd/orpheus/planner"
)

// maxHistory bounds how many entries are asked for.
const maxHistory = 1000

func newHistoryCommand(e *env) *cobra.Command {
	var o recordOptions
	most := 20
	cmd := &cobra.Command{
		Use:   "history [SERVICE]",
		Short: "Show what the fleet decided about its services, from its records",
		Long: `Show what the fleet decided about its services, the newest first: when, by which
node, for which commit, and why; with a SERVICE (NAME or NAMESPACE/NAME) also
which leases were given, moved and taken. No agent is asked: access to the
repository is enough. The history of a service goes when its records go.
` + recordsHelp,
		Example: `  orpheus history
  orpheus history shop/web -n 50
  orpheus history web -o json`,
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 || o.repository != "" || o.records != "" {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return manifestServices(cmd.Context(), o), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(e, cmd); err != nil {
				return usageError(err)
			}
			if most < 1 || most > maxHistory {
				return usageError(fmt.Errorf("-n %d: write a number from 1 to %d", most, maxHistory))
			}
			var service planner.ServiceID
			if len(args) > 0 {
				service = planner.ParseServiceID(args[0])
				if planner.LeasesRef(service, 0).Parse().Kind != planner.RefLeases {
					return usageError(fmt.Errorf("%q is no name of a service: write NAME or NAMESPACE/NAME", args[0]))
				}
			}
			return withInterrupt(cmd.Context(), func(ctx context.Context) error { return e.showHistory(ctx, service, most, o) })
		},
	}
	o.addFlags(e, cmd)
	cmd.Flags().IntVarP(&most, "number", "n", most, "how many entries to show")
	_ = cmd.RegisterFlagCompletionFunc("number", cobra.NoFileCompletions) // fails only for a flag that does not exist
	return cmd
}

// historyReport is what `orpheus history` prints.
type historyReport struct {
	Records string         `json:"records"`
	Entries []historyEntry `json:"entries"` // newest first
}

// historyEntry is one value of a lease document.
type historyEntry struct {
	Time    time.Time         `json:"time,omitzero"` // by its writer's calendar
	By      planner.NodeName  `json:"by,omitempty"`
	Service planner.ServiceID `json:"service"`
	Shard   int               `json:"shard,omitempty"`
	Commit  string            `json:"commit,omitempty"` // it was decided on
	Record  planner.Hash      `json:"record"`
	Subject string            `json:"subject,omitempty"`
	// Changes are what this value made of the leases of the one before, Turns
	// what became of the rollout, where both are verified.
	Changes []event.LeaseChange `json:"changes,omitempty"`
	Turns   []event.Turn        `json:"turns,omitempty"`
	// NotVerified says why nothing but Record is known; By, Commit, Changes
	// and Turns are then missing.
	NotVerified string `json:"notVerified,omitempty"`

	doc    planner.LeaseDoc
	parent planner.Hash
}

func (e *env) showHistory(ctx context.Context, service planner.ServiceID, most int, o recordOptions) error {
	rooms := []string{"nodes/*", "leases/*"}
	if service.Name != "" {
		rooms[1] = string(planner.LeasesRef(service, 0)) + "*" // its shards, too
	}
	// The value before the last one that is shown tells what that one changed.
	store, place, err := e.readRecords(ctx, o, wantedRecords{rooms: rooms, depth: most + 1})
	if err != nil {
		return err
	}
	defer store.close()
	b, err := readBook(store, place.specs)
	if err != nil {
		return err
	}
	b.manifests = place.desired.Services
	report := historyReport{Records: place.String()}
	if report.Entries, err = b.history(service, most); err != nil {
		return err
	}
	switch {
	case len(report.Entries) == 0 && service.Name != "":
		return fmt.Errorf("there are no leases of service %s among the %s: it was never given a node, or it is deleted", service, place)
	case o.output == "json":
		return writeJSON(e.stdout, report, false)
	}
	s := e.newScreen()
	drawHistory(s, report, service.Name != "")
	return s.writeTo(e.stdout)
}

// history merges the values of the lease documents, of one service or of all,
// by time. The order within each document is that of its values, whatever
// times they bear.
func (b *recordBook) history(service planner.ServiceID, most int) ([]historyEntry, error) {
	entries := []historyEntry{}
	heads := map[planner.Ref]historyEntry{}
	refs := slices.DeleteFunc(b.refs(planner.RefLeases), func(r planner.Ref) bool {
		return service.Name != "" && r.Parse().Service != service
	})
	for _, ref := range refs {
		head, err := b.entry(ref, b.store.values()[ref])
		if err != nil {
			return nil, err
		}
		heads[ref] = head
	}
	for len(entries) < most && len(refs) > 0 {
		newest := slices.MaxFunc(refs, func(x, y planner.Ref) int { return heads[x].Time.Compare(heads[y].Time) })
		entry := heads[newest]
		if entry.parent == "" {
			refs = slices.DeleteFunc(refs, func(r planner.Ref) bool { return r == newest })
			entry.compare(b.manifests[entry.Service], planner.LeaseDoc{})
		} else {
			before, err := b.entry(newest, entry.parent)
			if err != nil {
				return nil, err
			}
			if before.NotVerified == "" {
				entry.compare(b.manifests[entry.Service], before.doc)
			}
			heads[newest] = before
		}
		entries = append(entries, entry)
	}
	return entries, nil
}

// entry reads one value of a lease document. Its error means that nothing can
// be read any more.
func (b *recordBook) entry(ref planner.Ref, id planner.Hash) (historyEntry, error) {
	parts := ref.Parse()
	e := historyEntry{Record: id, Service: parts.Service, Shard: parts.Shard}
	record, err := b.store.read(ref, id)
	if err == nil {
		e.Time, e.parent = writtenAt(record), record.Parent
		if m, parseErr := planner.ParseMessage(record.Message); parseErr == nil {
			e.Subject = planner.Subject(m.Subject)
		}
		e.doc, err = b.document(ref, record)
	}
	switch {
	case errors.Is(err, errStore):
		return e, err
	case err != nil:
		e.NotVerified = err.Error()
	default:
		e.By, e.Commit = e.doc.By, e.doc.Commit
	}
	return e, nil
}

// compare notes what the entry made of the document before. Whether a service goes
// back is taken from its manifest of now: the records do not tell.
func (e *historyEntry) compare(manifest planner.Service, before planner.LeaseDoc) {
	if e.NotVerified == "" {
		e.Changes = event.LeaseChanges(before, e.doc)
		e.Turns = event.Turns(planner.Service{ID: e.Service, Update: planner.Update{NoRevert: manifest.Update.NoRevert}}, before, e.doc)
	}
}
