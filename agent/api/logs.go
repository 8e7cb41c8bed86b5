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
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// LogLine is one record of /v1/logs: a line as a container wrote it, without
// its end. What is not UTF-8 in it was replaced.
type LogLine struct {
	Slot      string `json:"slot,omitempty"`
	Container string `json:"container,omitempty"`
	Line      string `json:"line"`
	// More says that the line goes on in a later record of this container: it
	// was longer than 16 KiB, or its end has not been written yet.
	More bool `json:"more,omitempty"`
	// Error ends a stream that could not go on; nothing else is set.
	Error string `json:"error,omitempty"`
}

// LogRequest says whose lines are wanted.
type LogRequest struct {
	Service   planner.ServiceID
	Slot      string // "" = all
	Container string // "" = all
	Tail      int    // so many last lines of each container; below 0 = all that is kept
	Follow    bool   // go on with what is written from now on
}

const (
	// streamStall is how long a client may leave a stream unread.
	streamStall = 5 * time.Minute
	// maxTail bounds the request, not the memory: nothing is held.
	maxTail = 1_000_000
)

// values is the query of the request.
func (l LogRequest) values() url.Values {
	q := url.Values{"service": {l.Service.Namespace + "/" + l.Service.Name}}
	if l.Slot != "" {
		q.Set("slot", l.Slot)
	}
	if l.Container != "" {
		q.Set("container", l.Container)
	}
	if l.Tail >= 0 {
		q.Set("tail", strconv.Itoa(l.Tail))
	}
	if l.Follow {
		q.Set("follow", "1")
	}
	return q
}

// parseLogRequest reads a query. Its names become parts of a path, so nothing
// but names gets through.
func parseLogRequest(q url.Values) (LogRequest, error) {
	for key, values := range q {
		if !slices.Contains([]string{"service", "slot", "container", "tail", "follow"}, key) || len(values) != 1 {
			return LogRequest{}, fmt.Errorf("parameter %.20q is unknown or given twice; there are service, slot, container, tail and follow", key)
		}
	}
	l := LogRequest{Service: planner.ParseServiceID(q.Get("service")), Slot: q.Get("slot"), Container: q.Get("container"), Tail: -1}
	switch {
	case !isName(l.Service.Namespace, false) || !isName(l.Service.Name, false):
		return l, errors.New("parameter service must be NAME or NAMESPACE/NAME")
	case q.Has("slot") && !isName(l.Slot, true):
		return l, errors.New("parameter slot must be a slot's name")
	case q.Has("container") && !isName(l.Container, false):
		return l, errors.New("parameter container must be a container's name")
	}
	if q.Has("tail") {
		n, err := strconv.Atoi(q.Get("tail"))
		if err != nil || n < 0 || n > maxTail {
			return l, fmt.Errorf("parameter tail must be a number of lines from 0 to %d", maxTail)
		}
		l.Tail = n
	}
	if q.Has("follow") {
		follow, err := strconv.ParseBool(q.Get("follow"))
		if err != nil {
			return l, errors.New("parameter follow must be 1 or 0")
		}
		l.Follow = follow
	}
	return l, nil
}

// isName reports whether s is a DNS label or, with dots, several: never "..",
// a hidden name, or anything with a separator.
func isName(s string, dots bool) bool {
	if len(s) > 253 || !dots && strings.Contains(s, ".") {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if len(label) == 0 || len(label) > 63 {
			return false
		}
		for i := range len(label) {
			c := label[i]
			alnum := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
			if !alnum && (c != '-' || i == 0 || i == len(label)-1) {
				return false
			}
		}
	}
	return true
}

// logs streams the lines of a service as JSON, one record a line, until all is
// said or, when following, until the client leaves or the agent stops.
func (s *server) logs(w http.ResponseWriter, r *http.Request) {
	req, err := parseLogRequest(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if s.LogRoot == "" {
		http.Error(w, "this agent does not serve logs", http.StatusNotFound)
		return
	}
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		http.Error(w, fmt.Sprintf("%d log streams are open already: close one", maxStreams), http.StatusServiceUnavailable)
		return
	}
	reader := newLogReader(s.LogRoot, req)
	if err := reader.scan(); err != nil {
		s.Log.Warn("read logs", "service", req.Service.String(), "err", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if len(reader.files) == 0 {
		if missing := s.missing(req, reader.others); missing != "" {
			http.Error(w, missing, http.StatusNotFound)
			return
		}
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	s.stream(w, r.Context(), reader)
}

// missing says why a request without any file can have none, "" if the files
// may still come.
func (s *server) missing(req LogRequest, others []string) string {
	if len(others) > 0 {
		return fmt.Sprintf("service %s has no container %s; it has %s", req.Service, req.Container, strings.Join(others, ", "))
	}
	here := false
	for _, known := range s.Status().Services {
		if known.ID() != req.Service {
			continue
		}
		here = true
		if req.Slot == "" || slices.ContainsFunc(known.Instances, func(i Instance) bool { return i.Slot == req.Slot }) {
			return ""
		}
	}
	if slices.Contains(planner.HookKinds, planner.HookKind(req.Slot)) {
		return fmt.Sprintf("no %s hook of %s has written anything on this node within the last day", planner.HookKind(req.Slot).Field(), req.Service)
	}
	if here {
		return fmt.Sprintf("service %s has no slot %s on this node", req.Service, req.Slot)
	}
	return fmt.Sprintf("there is no service %s on this node", req.Service)
}

func (s *server) stream(w http.ResponseWriter, ctx context.Context, reader *logReader) {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // the request has been read; the server's deadline would end the stream
	buffer := bufio.NewWriterSize(w, 32<<10)
	enc := json.NewEncoder(deadlineWriter{buffer, control})
	enc.SetEscapeHTML(false)
	flush := func() error {
		_ = control.SetWriteDeadline(time.Now().Add(streamStall))
		return errors.Join(buffer.Flush(), control.Flush())
	}
	err := reader.run(ctx, func(l LogLine) error { return enc.Encode(l) }, flush)
	if err != nil && ctx.Err() == nil {
		_ = enc.Encode(LogLine{Error: err.Error()})
		_ = flush()
	}
}

// deadlineWriter gives the client time anew whenever the buffer has to go out.
type deadlineWriter struct {
	*bufio.Writer
	control *http.ResponseController
}

func (d deadlineWriter) Write(p []byte) (int, error) {
	if d.Available() < len(p) {
		_ = d.control.SetWriteDeadline(time.Now().Add(streamStall))
	}
	return d.Writer.Write(p)
}
