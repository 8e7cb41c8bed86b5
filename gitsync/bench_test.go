package gitsync_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
)

// manifests is a fleet of n services in folders of 100.
func manifests(n int) map[string]string {
	files := map[string]string{"fleet.yaml": "kind: Fleet\n"}
	for i := range n {
		files[fmt.Sprintf("team%03d/service%05d.yaml", i/100, i)] =
			fmt.Sprintf("apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: s%d}\nspec: {replicas: 1, image: example/%d}\n%s", i, i, strings.Repeat("# filler\n", 20))
	}
	return files
}

// BenchmarkFetch measures looks at a repository of 10,000 manifests; the
// numbers hold the server's work, too.
func BenchmarkFetch(b *testing.B) {
	srv := gitsynctest.NewServer(b, gitsynctest.Options{})
	repo := gitsynctest.Must(srv.NewRepo("fleet.git"))(b)
	gitsynctest.Must(repo.Commit(manifests(10_000), "all"))(b)
	for name, url := range map[string]string{"local": repo.Dir, "http": srv.RepoURL(repo)} {
		cfg := gitsync.Config{URL: url, Branch: "main", Dir: filepath.Join(b.TempDir(), name)}
		r, err := gitsync.Open(cfg)
		if err != nil {
			b.Fatal(err)
		}
		look := func(b *testing.B) {
			if _, err := r.Fetch(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(name+"/clone", func(b *testing.B) {
			for range b.N {
				fresh, err := gitsync.Open(gitsync.Config{URL: url, Branch: "main", Dir: b.TempDir()})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := fresh.Fetch(b.Context()); err != nil {
					b.Fatal(err)
				}
				fresh.Close()
			}
		})
		look(b)
		b.Run(name+"/nothing new", func(b *testing.B) {
			for range b.N {
				look(b)
			}
		})
		b.Run(name+"/one file", func(b *testing.B) {
			for i := range b.N {
				b.StopTimer()
				gitsynctest.Must(repo.Commit(map[string]string{"team050/service05000.yaml": fmt.Sprint(b.N, i)}, "one"))(b)
				b.StartTimer()
				look(b)
			}
		})
		r.Close()
	}
}
