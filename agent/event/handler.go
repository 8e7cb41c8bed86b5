package event

import (
	"context"
	"log/slog"
	"slices"
)

// Handler hands each line of a log on, and keeps those from Info up. Lines
// within groups are handed on only.
func (l *Log) Handler(next slog.Handler) slog.Handler { return &handler{log: l, next: next} }

type handler struct {
	log     *Log
	next    slog.Handler
	attrs   []slog.Attr
	grouped bool
}

func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || h.next.Enabled(ctx, level)
}

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo && !h.grouped {
		h.log.add(fromRecord(r, h.attrs))
	}
	if h.next.Enabled(ctx, r.Level) {
		return h.next.Handle(ctx, r)
	}
	return nil
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.next = h.next.WithAttrs(attrs)
	if !h.grouped {
		with.attrs = append(slices.Clip(h.attrs), attrs...)
	}
	return &with
}

func (h *handler) WithGroup(name string) slog.Handler {
	with := *h
	with.next, with.grouped = h.next.WithGroup(name), h.grouped || name != ""
	return &with
}
