package gitsync_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
)

// openBoard opens a board that is closed with the test.
func openBoard(t testing.TB, cfg gitsync.BoardConfig) *gitsync.RefBoard {
	t.Helper()
	b, err := gitsync.NewBoard(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// boardServer serves an empty repository that can be pushed to.
func boardServer(t testing.TB, opts gitsynctest.Options) (*gitsynctest.Server, *gitsynctest.Repo, gitsync.BoardConfig) {
	t.Helper()
	opts.Push = true
	srv := gitsynctest.NewServer(t, opts)
	repo := gitsynctest.Must(srv.NewRepo("records.git"))(t)
	cfg := gitsync.BoardConfig{URL: srv.RepoURL(repo)}
	if opts.TLS {
		cfg.CAFile = filepath.Join(t.TempDir(), "ca.pem")
		if err := srv.WriteCA(cfg.CAFile); err != nil {
			t.Fatal(err)
		}
	}
	return srv, repo, cfg
}

// TestBoard holds every way to a board against the same promises.
func TestBoard(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(t *testing.T) func() gitsync.Board
	}{
		{"memory", func(*testing.T) func() gitsync.Board {
			m := gitsynctest.NewMemory()
			return func() gitsync.Board { return m.Board() }
		}},
		{"local path", func(t *testing.T) func() gitsync.Board {
			repo := newRepo(t)
			return func() gitsync.Board { return openBoard(t, gitsync.BoardConfig{URL: repo.Dir}) }
		}},
		{"http", func(t *testing.T) func() gitsync.Board {
			_, _, cfg := boardServer(t, gitsynctest.Options{})
			return func() gitsync.Board { return openBoard(t, cfg) }
		}},
		{"https with own CA and a token", func(t *testing.T) func() gitsync.Board {
			_, _, cfg := boardServer(t, gitsynctest.Options{TLS: true, Token: "t0ken"})
			cfg.Credentials = credentials(gitsync.Credentials{Token: "t0ken"})
			return func() gitsync.Board { return openBoard(t, cfg) }
		}},
		{"below refs/heads", func(t *testing.T) func() gitsync.Board {
			_, _, cfg := boardServer(t, gitsynctest.Options{})
			cfg.Prefix = "refs/heads/orpheus/"
			return func() gitsync.Board { return openBoard(t, cfg) }
		}},
		{"version 0", func(t *testing.T) func() gitsync.Board {
			srv, _, cfg := boardServer(t, gitsynctest.Options{})
			srv.SetFault(gitsynctest.OnlyVersion0())
			return func() gitsync.Board { return openBoard(t, cfg) }
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, c := range gitsynctest.BoardSuite() {
				t.Run(c.Name, func(t *testing.T) { c.Run(t, tt.make(t)) })
			}
		})
	}
}

func credentials(c gitsync.Credentials) func(context.Context) (gitsync.Credentials, error) {
	return func(context.Context) (gitsync.Credentials, error) { return c, nil }
}
