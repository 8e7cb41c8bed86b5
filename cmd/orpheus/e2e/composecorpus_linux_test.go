package e2e

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/planner/manifest"
)

// composeCorpus holds Compose files as people write them, each in a folder with
// what it needs and a file expect.txt: what becomes of it, and why.
const composeCorpus = "testdata/compose"

// expectFile is beside each: "runs" and what it is there for, or "refused" and a
// line "KEY: why" for each key that is refused, or "held" and a line "SERVICE:
// why" for each service that no node takes, while the others run.
const expectFile = "expect.txt"

// composeCase is one Compose file of the corpus.
type composeCase struct {
	folder string // of composeCorpus: 01-web-db-cache
	file   string // in the folder
	// refused are the keys with faults, held the services that no node takes, in
	// order.
	refused, held []string
}

func (c composeCase) loads() bool { return len(c.refused) == 0 }

func (c composeCase) runs() bool { return c.loads() && len(c.held) == 0 }

// path is the file's in a repository.
func (c composeCase) path() string { return c.folder + "/" + c.file }

// composeCases reads the corpus in the order of its numbers.
func composeCases(t *testing.T) []composeCase {
	t.Helper()
	folders, err := os.ReadDir(composeCorpus)
	if err != nil {
		t.Fatalf("read the corpus: %v", err)
	}
	var cases []composeCase
	for _, folder := range folders {
		c := composeCase{folder: folder.Name()}
		for _, name := range []string{"compose.yaml", "docker-compose.yml", "docker-stack.yml", "stack.yml"} {
			if _, err := os.Stat(path.Join(composeCorpus, c.folder, name)); err == nil {
				c.file = name
			}
		}
		if c.file == "" {
			t.Fatalf("%s has no Compose file", c.folder)
		}
		c.expect(t)
		cases = append(cases, c)
	}
	return cases
}

// expect reads what is expected of a case.
func (c *composeCase) expect(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(path.Join(composeCorpus, c.folder, expectFile))
	if err != nil {
		t.Fatalf("read what is expected: %v", err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	var names []string
	for _, line := range lines[1:] {
		name, why, _ := strings.Cut(line, ": ")
		if why == "" && lines[0] != "runs" {
			t.Errorf("%s of %s has no reason for %s", expectFile, c.folder, name)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	switch {
	case len(names) == 0:
		t.Fatalf("%s of %s has no reason", expectFile, c.folder)
	case lines[0] == "runs":
	case lines[0] == "refused":
		c.refused = names
	case lines[0] == "held":
		c.held = names
	default:
		t.Fatalf("%s of %s says %q", expectFile, c.folder, lines[0])
	}
}

// repositoryWith is a repository of some cases, with one line about them in its
// fleet.yaml.
func repositoryWith(t *testing.T, fleet string, cases ...composeCase) map[string]string {
	t.Helper()
	var listed []string
	files := map[string]string{}
	for _, c := range cases {
		listed = append(listed, c.path())
		tree := os.DirFS(composeCorpus)
		err := fs.WalkDir(tree, c.folder, func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || path.Base(name) == expectFile {
				return err
			}
			data, err := fs.ReadFile(tree, name)
			files[name] = string(data)
			return err
		})
		if err != nil {
			t.Fatalf("read %s: %v", c.folder, err)
		}
	}
	files["fleet.yaml"] = fleet + "  compose: [" + strings.Join(listed, ", ") + "]\n"
	return files
}

// loadCompose reads cases as an agent reads a commit.
func loadCompose(t *testing.T, cases ...composeCase) planner.Desired {
	t.Helper()
	tree := fstest.MapFS{}
	for name, text := range repositoryWith(t, defaults+"spec:\n", cases...) {
		tree[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
	}
	d, err := manifest.NewLoader(manifest.Limits{}).Load(context.Background(), tree, ".", planner.Commit{})
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	return d
}

// faultLines lists all that is said of a commit.
func faultLines(d planner.Desired) string {
	var b strings.Builder
	for _, f := range d.Faults {
		fmt.Fprintln(&b, f)
	}
	return b.String()
}
