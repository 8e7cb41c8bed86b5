package gitsynctest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"

	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest/gitformat"
)

// OnPush applies a fault to pushes only.
func OnPush(f Fault) Fault {
	return func(next http.Handler) http.Handler {
		faulty := f(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/git-receive-pack") {
				faulty.ServeHTTP(w, r)
			} else {
				next.ServeHTTP(w, r)
			}
		})
	}
}

// LoseReply carries the request out and cuts the connection instead of
// answering.
func LoseReply() Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		})
	}
}

// LoseRequest reads the request and cuts the connection without having done
// anything.
func LoseRequest() Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			panic(http.ErrAbortHandler)
		})
	}
}

// IgnoreAtomic makes the server one that does not know atomic pushes, and
// carries them out change by change.
func IgnoreAtomic() Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body) // an error shows in what git makes of the rest
			// As long as the word, so that the packet keeps its length.
			body = bytes.Replace(body, []byte(" atomic"), []byte(" quiet "), 1)
			r.Body = io.NopCloser(bytes.NewReader(body))
			next.ServeHTTP(w, r)
		})
	}
}

// IgnoreOld makes the server one that does not compare: whatever old value a
// push names, it is given the present one.
func IgnoreOld(repo *Repo) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err == nil {
				body, err = presentOld(repo, body)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
			next.ServeHTTP(w, r)
		})
	}
}

// presentOld rewrites the commands at the start of a push.
func presentOld(repo *Repo, push []byte) ([]byte, error) {
	var out bytes.Buffer
	for len(push) >= 4 {
		n, err := strconv.ParseUint(string(push[:4]), 16, 16)
		if err != nil {
			return nil, fmt.Errorf("push: %w", err)
		}
		if n == 0 {
			break
		}
		line := string(push[4:n])
		push = push[n:]
		name, _, _ := strings.Cut(line[82:], "\x00")
		old, err := repo.Git("", "for-each-ref", "--format=%(objectname)", strings.TrimSpace(name))
		if err != nil {
			return nil, err
		}
		if old == "" {
			old = strings.Repeat("0", 40)
		}
		out.WriteString(gitformat.Packet(old + line[40:]))
	}
	out.Write(push)
	return out.Bytes(), nil
}
