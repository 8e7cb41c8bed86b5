package event

import (
	"context"
	"log/slog"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// LogDecision logs what a lease document that now stands decides: one line for
// each turn of the rollout, and one for the leases it gives and takes, with the
// slots that they are of. why is the decision in the user's words; "" = it is
// told by the leases.
func LogDecision(log *slog.Logger, s planner.Service, before, after planner.LeaseDoc, why string) {
	id := after.Service
	logTurns(log, s, before, after)
	changes := LeaseChanges(before, after)
	var slots, told []string
	for _, c := range changes {
		slots, told = append(slots, c.Slot), append(told, c.Sentence(id))
	}
	if why = strings.TrimPrefix(why, id.String()+": "); why == "" {
		why = strings.Join(told, "; ")
	}
	if why != "" {
		log.LogAttrs(context.Background(), slog.LevelInfo, "leases decided",
			append(about(id, slots), slog.String("reason", why), slog.String("commit", planner.Commit{Hash: after.Commit}.Short()))...)
	}
}

func logTurns(log *slog.Logger, s planner.Service, before, after planner.LeaseDoc) {
	for _, t := range Turns(s, before, after) {
		level := slog.LevelInfo
		if t.Bad {
			level = slog.LevelWarn
		}
		log.LogAttrs(context.Background(), level, t.What, append(about(after.Service, t.Slots), slog.String("reason", t.Reason))...)
	}
}

// LogFirstRelease logs that the first release of a service is rolled out, which its
// document does not say yet.
func LogFirstRelease(log *slog.Logger, doc planner.LeaseDoc, rev planner.Revision) {
	log.LogAttrs(context.Background(), slog.LevelInfo, rolloutCompleted, append(about(doc.Service, nil), slog.String("reason", nameRevision(doc, rev)))...)
}

// about names the service and the slots of it that a line is about.
func about(id planner.ServiceID, names []string) []slog.Attr {
	attrs := []slog.Attr{slog.Any("service", id)}
	var slots []planner.SlotID
	for _, name := range slices.Compact(names) {
		slots = append(slots, planner.SlotID{Service: id, Name: name})
	}
	switch len(slots) {
	case 0:
		return attrs
	case 1:
		return append(attrs, slog.Any("slot", slots[0]))
	}
	return append(attrs, slog.Any("slots", slots))
}
