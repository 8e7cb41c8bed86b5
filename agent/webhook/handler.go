package webhook

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"time"
)

// Results of a call, as they are counted.
const (
	resultAccepted   = "accepted"        // signed: the node looks
	resultTooMany    = "too_many"        // signed, beyond the limit: the node looks a little later
	resultUnsigned   = "unauthenticated" // does not show the secret
	resultNotHeard   = "not_heard"       // from an address that failed to show it too often
	resultTooLarge   = "too_large"
	resultIncomplete = "incomplete" // the body did not come, or not in time
	resultNotFound   = "not_found"  // another path or method
	resultNoSecret   = "no_secret"  // the secret cannot be read
)

// ServeHTTP answers a call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	switch { // not told to the log: the whole network knocks at open ports
	case r.URL.Path != s.config.Path:
		s.answer(w, resultNotFound, http.StatusNotFound, "there is nothing here")
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		s.answer(w, resultNotFound, http.StatusMethodNotAllowed, "send a POST")
	default:
		s.call(w, r, sender(r))
	}
}

// call answers a POST to the path. What is cheap is looked at before what is
// not: the body is read last, and only of calls that claim to be signed.
func (s *Server) call(w http.ResponseWriter, r *http.Request, from netip.Addr) {
	if wait := s.strangers.wait(from); wait > 0 {
		retryAfter(w, wait)
		s.refuse(w, from, resultNotHeard, http.StatusTooManyRequests, "too many calls without the secret came from there")
		return
	}
	secret, err := readSecret(s.config.SecretFile)
	if err != nil {
		s.complain(from, err.Error())
		s.answer(w, resultNoSecret, http.StatusServiceUnavailable, "the node cannot read its secret")
		return
	}
	if r.ContentLength > MaxBody {
		s.refuse(w, from, resultTooLarge, http.StatusRequestEntityTooLarge, tooLarge)
		return
	}
	if !claims(r.Header) {
		s.unsigned(w, from)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		s.refuse(w, from, resultTooLarge, http.StatusRequestEntityTooLarge, tooLarge)
	case err != nil:
		s.refuse(w, from, resultIncomplete, http.StatusBadRequest, "the body did not come")
	case !signed(r.Header, body, secret):
		s.unsigned(w, from)
	default:
		s.accept(w)
	}
}

var tooLarge = fmt.Sprintf("a call has at most %d bytes", MaxBody)

func (s *Server) accept(w http.ResponseWriter) {
	wait := s.looks.ask()
	if wait > 0 {
		s.calls.WithLabelValues(resultTooMany).Inc()
		retryAfter(w, wait)
		http.Error(w, "too many calls: the repository is looked at a little later", http.StatusTooManyRequests)
		return
	}
	s.calls.WithLabelValues(resultAccepted).Inc()
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, "looking at the repository\n") // who has gone need not know
}

// unsigned is one answer to all that do not show the secret: it does not tell
// which check failed.
func (s *Server) unsigned(w http.ResponseWriter, from netip.Addr) {
	s.strangers.failed(from)
	s.refuse(w, from, resultUnsigned, http.StatusUnauthorized, "the call is not signed with the secret of this node")
}

// refuse answers, and tells the log now and then.
func (s *Server) refuse(w http.ResponseWriter, from netip.Addr, result string, code int, text string) {
	s.complain(from, text)
	s.answer(w, result, code, text)
}

// answer counts and answers a call that is refused. The connection is not
// kept: what is left of the body is not read.
func (s *Server) answer(w http.ResponseWriter, result string, code int, text string) {
	s.calls.WithLabelValues(result).Inc()
	w.Header().Set("Connection", "close")
	http.Error(w, text, code)
}

// complain tells the log of refused calls: at once, then after a minute, and
// ever less often as they go on. Whoever can reach the address makes as many as
// he likes, and must not wash other events away.
func (s *Server) complain(from netip.Addr, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused++
	now := time.Now()
	quiet := now.Sub(s.told)
	switch {
	case s.told.IsZero() || quiet >= 2*complainLate:
		s.gap = complainEvery
	case quiet < s.gap:
		return
	default:
		s.gap = min(2*s.gap, complainLate)
	}
	s.log.Warn("webhook refused", "reason", why, "from", from, "refused", s.refused)
	s.told, s.refused = now, 0
}

func retryAfter(w http.ResponseWriter, wait time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(wait.Seconds())))))
}

// sender is the address that calls, the zero one if that cannot be told.
func sender(r *http.Request) netip.Addr {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return from.Addr()
}
