package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/planner/manifest"
	"github.com/orpheus-cd/orpheus/planner/manifest/compose"
	"github.com/orpheus-cd/orpheus/planner/manifest/kubernetes"
	yaml "go.yaml.in/yaml/v3"
)

// converted is a service that was made.
type converted struct {
	id       planner.ServiceID
	from     kubernetes.Position
	root     *yaml.Node
	contents map[string][]byte // files that come with it, by path in the repository
	beside   map[string][]byte // files that it mounts and the repository has already
	origin   func(field string) kubernetes.Position
	file     string // in the folder that is written into
}

func (c converted) document() manifest.Document {
	return manifest.Made("Service", c.id.Namespace, c.id.Name, c.root)
}

// takeFiles finds the files that a document of a Compose file mounts. Those
// that the repository does not have, and all if what is made goes elsewhere, are
// put where others are.
func (c *converted) takeFiles(doc compose.Document, repository fs.FS, target *convertTarget, elsewhere bool) error {
	c.beside = map[string][]byte{}
	volumes := yamlFieldOf(yamlFieldOf(doc.Root, "spec"), "volumes")
	if volumes == nil {
		return nil
	}
	for i, v := range volumes.Content {
		file := yamlFieldOf(v, "file")
		if file == nil {
			continue
		}
		data, made := doc.Contents[file.Value]
		if !made {
			var err error
			if data, err = readRepositoryFile(repository, file.Value); err != nil {
				return err
			}
		}
		if !made && !elsewhere {
			c.beside[file.Value] = data
			continue
		}
		file.Value = path.Join(target.files(), c.id.Name, fmt.Sprintf("%d-%s.txt", i, path.Base(file.Value)))
		c.contents[file.Value] = data
	}
	return nil
}

// maxMounted is more than a manifest may mount.
const maxMounted = 2 << 20

func readRepositoryFile(repository fs.FS, name string) ([]byte, error) {
	f, err := repository.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read what is mounted: %w", err)
	}
	defer f.Close()
	return readInput(f, name, maxMounted)
}

// convertTarget is where manifests are written to.
type convertTarget struct {
	dir string // as it was named, "" = nowhere
	top string // of the repository that it is in
	rel string // of dir in it
}

// newConvertTarget finds the repository that a folder is in, which need not be
// there yet. Without one the fleet that it is in is taken for the top, or else
// the folder itself.
func newConvertTarget(dir string) (*convertTarget, error) {
	t := &convertTarget{dir: dir, rel: "."}
	if dir == "" {
		return t, nil
	}
	there, below := dir, "."
	for {
		info, err := os.Stat(there)
		if err == nil && !info.IsDir() {
			return nil, fmt.Errorf("%s is not a folder", there)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		below = filepath.Join(filepath.Base(there), below)
		there = filepath.Dir(there)
	}
	top, rel, err := locate(there, "")
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(filepath.Join(top, ".git")); err != nil {
		return t, t.outsideGit()
	}
	t.top, t.rel = top, path.Join(rel, filepath.ToSlash(below))
	return t, nil
}

// outsideGit finds the fleet that the folder is in.
func (t *convertTarget) outsideGit() error {
	dir, err := filepath.Abs(t.dir)
	if err != nil {
		return err
	}
	t.top = dir
	for top := dir; ; top = filepath.Dir(top) {
		if _, err := os.Stat(filepath.Join(top, "fleet.yaml")); err == nil {
			rel, err := filepath.Rel(top, dir)
			t.top, t.rel = top, filepath.ToSlash(rel)
			return err
		}
		if filepath.Dir(top) == top {
			return nil
		}
	}
}

// files is the folder in the repository for files that services mount.
func (t *convertTarget) files() string { return path.Join(t.rel, "files") }

// place gives each service the file that it is written to. Where there are
// several namespaces, each is a folder.
func (t *convertTarget) place(services []converted) {
	namespaces := map[string]bool{}
	for _, s := range services {
		namespaces[s.id.Namespace] = true
	}
	taken := map[string]bool{"fleet": true} // fleet.yaml marks a fleet
	for i := range services {
		s := &services[i]
		base := labelOf(s.id.Name)
		if len(namespaces) > 1 {
			base = path.Join(labelOf(s.id.Namespace), base)
		}
		name := base
		for n := 2; taken[name] || path.Base(name) == "fleet"; n++ {
			name = fmt.Sprintf("%s-%d", base, n)
		}
		taken[name] = true
		s.file = name + ".yaml"
	}
}

// write writes all services and their files, or, where one of them is there
// already, none.
func (t *convertTarget) write(c *conversion) error {
	files := map[string][]byte{} // relative to the folder
	for _, s := range c.services {
		var b bytes.Buffer
		if err := s.document().WriteYAML(&b, false); err != nil {
			return err
		}
		files[s.file] = b.Bytes()
		for name, data := range s.contents {
			rel := name
			if t.rel != "." {
				rel = strings.TrimPrefix(name, t.rel+"/")
			}
			files[rel] = data
		}
	}
	var inTheWay []string
	for _, name := range sortedNames(files) {
		full := filepath.Join(t.dir, filepath.FromSlash(name))
		if _, err := os.Lstat(full); !errors.Is(err, fs.ErrNotExist) {
			inTheWay = append(inTheWay, full)
		}
	}
	if len(inTheWay) > 0 {
		return usageError(fmt.Errorf("nothing was written, since there is something already:\n%s\nremove it, or choose another folder", strings.Join(inTheWay, "\n")))
	}
	if err := os.MkdirAll(t.dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(t.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, name := range sortedNames(files) {
		if err := writeNew(root, name, files[name]); err != nil {
			return fmt.Errorf("write %s: %w", filepath.Join(t.dir, name), err)
		}
		c.written = append(c.written, filepath.Join(t.dir, filepath.FromSlash(name)))
	}
	return nil
}

// writeNew writes a file that must not be there.
func writeNew(root *os.Root, name string, data []byte) error {
	if err := root.MkdirAll(filepath.FromSlash(path.Dir(name)), 0o755); err != nil {
		return err
	}
	f, err := root.OpenFile(filepath.FromSlash(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

func sortedNames(files map[string][]byte) []string { return slices.Sorted(maps.Keys(files)) }

// leftFiles says of services that are printed which files they need.
func (c *conversion) leftFiles() {
	for _, s := range c.services {
		if len(s.contents) > 0 {
			c.notes = append(c.notes, kubernetes.Note{Object: s.from.Object, Fault: planner.Fault{File: s.from.File, Line: s.from.Line, Warning: true,
				Reason: "mounts files that are not printed: " + strings.Join(sortedNames(s.contents), ", "), Remedy: "--to DIR writes them"}})
		}
	}
}

// checkedFleet is the folder in which what was made is checked. Nobody else
// knows it.
const checkedFleet = "fleet-that-is-checked"

var checkedFile = regexp.MustCompile(checkedFleet + `/\d+\.yaml( line \d+)?`)

// check reads what was made as an agent would, and notes its faults in the
// words of the inputs.
func (c *conversion) check(ctx context.Context) error {
	if len(c.services) == 0 {
		return nil
	}
	tree := memTree{checkedFleet + "/fleet.yaml": []byte("apiVersion: orpheus/v1\nkind: Fleet\nmetadata: {name: converted}\n")}
	made := map[string]converted{}
	for i, s := range c.services {
		var b bytes.Buffer
		if err := s.document().WriteYAML(&b, false); err != nil {
			return err
		}
		name := fmt.Sprintf("%s/%d.yaml", checkedFleet, i)
		tree[name], made[name] = b.Bytes(), s
		maps.Copy(tree, s.contents)
		maps.Copy(tree, s.beside)
	}
	desired, err := manifest.NewLoader(manifest.Limits{}).Load(ctx, tree, checkedFleet, planner.Commit{})
	var refused *manifest.RefusedError
	var faults []planner.Fault
	switch {
	case errors.As(err, &refused):
		faults = refused.Report().Faults
	case err != nil:
		return fmt.Errorf("check what was made: %w", err)
	default:
		faults = desired.Faults
	}
	for _, f := range faults {
		n := kubernetes.Note{Fault: f}
		f.Reason = checkedFile.ReplaceAllStringFunc(f.Reason, func(at string) string {
			file, _, _ := strings.Cut(at, " line ")
			from := made[file].from
			return fmt.Sprintf("%s line %d", from.File, max(from.Line, 1))
		})
		if s, ok := made[f.File]; ok {
			at := s.origin(f.Field)
			n.File, n.Line, n.Column, n.Object = at.File, at.Line, 0, s.from.Object
			n.Reason = "the manifest of " + s.id.String() + " has a fault: " + f.Reason
			if f.Warning {
				n.Reason = "of the manifest of " + s.id.String() + ": " + f.Reason
			}
		}
		c.notes = append(c.notes, n)
	}
	return nil
}

// conversionJSON is the form of -o json.
type conversionJSON struct {
	Services []convertedJSON   `json:"services"`
	Notes    []kubernetes.Note `json:"notes"`
	Written  []string          `json:"written,omitempty"`
}

type convertedJSON struct {
	Namespace string              `json:"namespace"`
	Name      string              `json:"name"`
	From      string              `json:"from"` // file:line
	Object    string              `json:"object,omitempty"`
	Manifest  any                 `json:"manifest"`
	Files     []convertedFileJSON `json:"files"` // that come with it
}

type convertedFileJSON struct {
	Path   string `json:"path"` // in the repository
	Text   string `json:"text,omitempty"`
	Base64 string `json:"base64,omitempty"` // of what is no text
}

func (c *conversion) json() conversionJSON {
	out := conversionJSON{Services: []convertedJSON{}, Notes: append([]kubernetes.Note{}, c.notes...), Written: c.written}
	for _, s := range c.services {
		one := convertedJSON{s.id.Namespace, s.id.Name, fmt.Sprintf("%s:%d", s.from.File, max(s.from.Line, 1)), s.from.Object, s.document().Value(), []convertedFileJSON{}}
		for _, name := range sortedNames(s.contents) {
			f := convertedFileJSON{Path: name}
			if data := s.contents[name]; utf8.Valid(data) {
				f.Text = string(data)
			} else {
				f.Base64 = base64.StdEncoding.EncodeToString(data)
			}
			one.Files = append(one.Files, f)
		}
		out.Services = append(out.Services, one)
	}
	return out
}
