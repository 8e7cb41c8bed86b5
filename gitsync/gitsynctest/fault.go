package gitsynctest

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"
)

// Fault changes how a server answers.
type Fault func(http.Handler) http.Handler

// OnPack applies a fault to downloads only; the list of references is true.
func OnPack(f Fault) Fault {
	return func(next http.Handler) http.Handler {
		faulty := f(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body) // an error shows in what the handlers make of the rest
			r.Body = io.NopCloser(bytes.NewReader(body))
			if r.Method == http.MethodPost && bytes.Contains(body, []byte("want ")) {
				faulty.ServeHTTP(w, r)
			} else {
				next.ServeHTTP(w, r)
			}
		})
	}
}

// OnlyVersion0 makes the server one that knows nothing of version 2 of the
// protocol.
func OnlyVersion0() Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("Git-Protocol")
			next.ServeHTTP(w, r)
		})
	}
}

// Status answers every request with a status, and a Retry-After if given.
func Status(code int, retryAfter, body string) Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if retryAfter != "" {
				w.Header().Set("Retry-After", retryAfter)
			}
			http.Error(w, body, code)
		})
	}
}

// Redirect sends every request elsewhere, keeping path and query.
func Redirect(to string) Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, to+r.URL.RequestURI(), http.StatusFound)
		})
	}
}

// Cut closes the connection after n bytes of the answer.
func Cut(n int64) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(&cutWriter{ResponseWriter: w, left: n}, r)
		})
	}
}

type cutWriter struct {
	http.ResponseWriter
	left int64
}

func (c *cutWriter) Write(b []byte) (int, error) {
	if int64(len(b)) <= c.left {
		c.left -= int64(len(b))
		return c.ResponseWriter.Write(b)
	}
	_, _ = c.ResponseWriter.Write(b[:c.left])
	_ = http.NewResponseController(c.ResponseWriter).Flush()
	panic(http.ErrAbortHandler) // net/http's way to cut a connection
}

// Stall sends nothing until the client gives up.
func Stall() Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // the server notices a lost client only once the body is read
			<-r.Context().Done()
		})
	}
}

// Drip sends one byte of the answer at every interval.
func Drip(interval time.Duration) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body := record(next, w, r)
			tick := time.NewTicker(interval)
			defer tick.Stop()
			for i := range body {
				_, _ = w.Write(body[i : i+1])
				_ = http.NewResponseController(w).Flush()
				select {
				case <-tick.C:
				case <-r.Context().Done():
					return
				}
			}
		})
	}
}

// Replace changes every occurrence of a text in answers by one of the same
// length: a server that lies about a tip, or sends damaged packs.
func Replace(from, to string) Fault {
	if len(from) != len(to) {
		panic("gitsynctest: replacement of another length")
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body := record(next, w, r)
			_, _ = w.Write([]byte(strings.ReplaceAll(string(body), from, to)))
		})
	}
}

// Damage flips a bit in the middle of every answer.
func Damage() Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body := bytes.Clone(record(next, w, r))
			body[len(body)/2] ^= 1
			_, _ = w.Write(body)
		})
	}
}

// record runs next, passes its header on and returns its body.
func record(next http.Handler, w http.ResponseWriter, r *http.Request) []byte {
	rec := httptest.NewRecorder()
	next.ServeHTTP(rec, r)
	for key, values := range rec.Header() {
		w.Header()[key] = values
	}
	w.Header().Del("Content-Length")
	w.WriteHeader(rec.Code)
	return rec.Body.Bytes()
}
