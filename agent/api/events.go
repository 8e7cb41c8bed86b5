package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/orpheus-cd/orpheus/agent/event"
)

// EventRequest says which events are wanted.
type EventRequest struct {
	Target string    // a service or slot, as people call it; "" = all
	Since  time.Time // zero = all that is kept
	Tail   int       // so many of the last; below 0 = all that is kept
	Follow bool      // go on with those to come
}

func (e EventRequest) values() url.Values {
	q := url.Values{}
	if e.Target != "" {
		q.Set("target", e.Target)
	}
	if !e.Since.IsZero() {
		q.Set("since", e.Since.UTC().Format(time.RFC3339Nano))
	}
	if e.Tail >= 0 {
		q.Set("tail", strconv.Itoa(e.Tail))
	}
	if e.Follow {
		q.Set("follow", "1")
	}
	return q
}

func parseEventRequest(q url.Values) (EventRequest, error) {
	e := EventRequest{Target: q.Get("target"), Tail: -1}
	var err error
	if q.Has("since") {
		if e.Since, err = time.Parse(time.RFC3339Nano, q.Get("since")); err != nil {
			return e, errors.New("parameter since must be a time like 2026-12-24T18:00:00Z")
		}
	}
	if q.Has("tail") {
		if e.Tail, err = strconv.Atoi(q.Get("tail")); err != nil || e.Tail < 0 || e.Tail > maxTail {
			return e, fmt.Errorf("parameter tail must be a number from 0 to %d", maxTail)
		}
	}
	if q.Has("follow") {
		if e.Follow, err = strconv.ParseBool(q.Get("follow")); err != nil {
			return e, errors.New("parameter follow must be 1 or 0")
		}
	}
	return e, nil
}

// pick takes the events that a request is about.
func (e EventRequest) pick(events []event.Event) []event.Event {
	return slices.DeleteFunc(events, func(ev event.Event) bool { return !ev.About(e.Target) || ev.At.Before(e.Since) })
}

// events streams events as JSON, one a line, until all is said or, when
// following, until the client leaves or the agent stops.
func (s *server) events(w http.ResponseWriter, r *http.Request) {
	req, err := parseEventRequest(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if s.Events == nil {
		http.Error(w, "this agent keeps no events", http.StatusNotFound)
		return
	}
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		http.Error(w, fmt.Sprintf("%d streams are open already: close one", maxStreams), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // the request has been read; the server's deadline would end the stream
	buffer := bufio.NewWriterSize(w, 32<<10)
	enc := json.NewEncoder(deadlineWriter{buffer, control})
	enc.SetEscapeHTML(false)
	seen := uint64(0)
	for first := true; ; first = false {
		events, more := s.Events.After(seen)
		if len(events) > 0 {
			seen = events[len(events)-1].Seq
		}
		events = req.pick(events)
		if first && req.Tail >= 0 {
			events = events[max(0, len(events)-req.Tail):]
		}
		for _, e := range events {
			if enc.Encode(e) != nil {
				return
			}
		}
		_ = control.SetWriteDeadline(time.Now().Add(streamStall))
		if buffer.Flush() != nil || control.Flush() != nil || !req.Follow {
			return
		}
		select {
		case <-more:
		case <-r.Context().Done():
			return
		}
	}
}

// Events hands over events one by one, oldest first. It ends with the last of
// them, with the context (nil), with an error of emit, or, when following, with
// an error that says why the agent ended the stream.
func (c *Client) Events(ctx context.Context, req EventRequest, emit func(event.Event) error) error {
	res, err := c.do(ctx, http.MethodGet, "/v1/events", req.values(), "")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if err := c.expect(res, http.StatusOK); err != nil {
		return err
	}
	return readLines(ctx, c.address, "events", res.Body, req.Follow, emit)
}
