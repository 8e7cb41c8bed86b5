package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/planner/manifest/compose"
	"github.com/orpheus-cd/orpheus/planner/manifest/kubernetes"
	yaml "go.yaml.in/yaml/v3"
)

// convertInputs are the files that are to be converted, by what they are
// written for.
type convertInputs struct {
	kubernetes []kubernetes.File
	compose    []kubernetes.File
	notes      []kubernetes.Note
}

// maxInputs is how many files one call converts, maxInputBytes how large they
// may be together.
const (
	maxInputs     = 2000
	maxInputBytes = 64 << 20
)

var (
	looksKubernetes = regexp.MustCompile(`(?m)^[ \t{]*["']?(apiVersion|kind)["']?[ \t]*:`)
	looksCompose    = regexp.MustCompile(`(?m)^[{ \t]*["']?services["']?[ \t]*:`)
)

// readInputs reads files, folders and the standard input.
func readInputs(stdin io.Reader, args []string, from string) (convertInputs, error) {
	var in convertInputs
	left := int64(maxInputBytes)
	add := func(name string, data []byte, named bool) error {
		if left -= int64(len(data)); left < 0 {
			return fmt.Errorf("the files together are larger than %d MiB: convert some of them", maxInputBytes>>20)
		}
		file := kubernetes.File{Name: filepath.ToSlash(name), Data: data}
		isKubernetes := looksKubernetes.Match(data)
		switch {
		case from == "compose", from == "auto" && !isKubernetes && looksCompose.Match(data):
			in.compose = append(in.compose, file)
		case from == "auto" && !named && !isKubernetes:
			in.notes = append(in.notes, kubernetes.Note{Fault: planner.Fault{File: file.Name, Line: 1, Warning: true,
				Reason: "is neither for Kubernetes nor a Compose file: left out"}})
		default:
			in.kubernetes = append(in.kubernetes, file)
		}
		return nil
	}
	stdinRead := false
	for _, arg := range args {
		if arg == "-" {
			if stdinRead {
				return in, fmt.Errorf("- is named twice")
			}
			stdinRead = true
			data, err := readInput(stdin, "standard input", kubernetes.MaxFileBytes)
			if err == nil {
				err = add("-", data, true)
			}
			if err != nil {
				return in, err
			}
			continue
		}
		names, err := inputFiles(arg)
		if err != nil {
			return in, err
		}
		for _, name := range names {
			data, err := readInputFile(name, kubernetes.MaxFileBytes)
			if err == nil {
				err = add(name, data, name == arg)
			}
			if err != nil {
				return in, err
			}
		}
	}
	return in, nil
}

// inputFiles are the files that an argument means: itself, or of a folder what
// could be a manifest.
func inputFiles(arg string) ([]string, error) {
	info, err := os.Stat(arg)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{arg}, nil
	}
	var names []string
	err = filepath.WalkDir(arg, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name != arg && strings.HasPrefix(d.Name(), "."):
			if d.IsDir() {
				return fs.SkipDir
			}
		case d.Type().IsRegular() && slices.Contains([]string{".yaml", ".yml", ".json"}, strings.ToLower(filepath.Ext(name))):
			if names = append(names, name); len(names) > maxInputs {
				return fmt.Errorf("%s holds more than %d files: convert some of them", arg, maxInputs)
			}
		}
		return nil
	})
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("%s: %w", arg, errNoInput)
	}
	return names, err
}

// compose converts a Compose file.
func (c *conversion) compose(ctx context.Context, file kubernetes.File, target *convertTarget) error {
	source := compose.Source{FS: memTree{"compose.yaml": file.Data}, Path: "compose.yaml"}
	top := ""
	if file.Name != "-" {
		dir, fleet, err := locate(filepath.Dir(filepath.FromSlash(file.Name)), "")
		if err != nil {
			return err
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			return fmt.Errorf("read %s: %w", file.Name, err)
		}
		defer root.Close()
		source = compose.Source{FS: root.FS(), Path: path.Join(fleet, path.Base(file.Name))}
		top = dir
	}
	shown := func(p compose.Position) kubernetes.Position {
		name := p.File
		if p.File == source.Path {
			name = file.Name
		}
		return kubernetes.Position{File: name, Line: p.Line, Field: p.Field}
	}
	project, faults := compose.Load(ctx, source)
	var documents []compose.Document
	if project != nil && !hasFault(faults) {
		var more []planner.Fault
		documents, more = compose.Convert(project)
		faults = append(faults, more...)
	}
	for _, f := range faults {
		f.File = shown(compose.Position{File: f.File}).File
		c.notes = append(c.notes, kubernetes.Note{Fault: f})
	}
	if hasFault(faults) {
		return nil // documents are good only for finding more faults
	}
	elsewhere := top != "" && target.top != "" && !sameFolder(top, target.top)
	for _, doc := range documents {
		made := converted{id: idOf(doc.Root), from: shown(doc.Origin("")), root: doc.Root, contents: map[string][]byte{},
			origin: func(field string) kubernetes.Position { return shown(doc.Origin(field)) }}
		made.from.Object = "service " + doc.Service
		if err := made.takeFiles(doc, source.FS, target, elsewhere); err != nil {
			return err
		}
		c.services = append(c.services, made)
	}
	return nil
}

func hasFault(faults []planner.Fault) bool {
	return slices.ContainsFunc(faults, func(f planner.Fault) bool { return !f.Warning })
}

func sameFolder(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// idOf is the service that a document is about.
func idOf(root *yaml.Node) planner.ServiceID {
	id := planner.ServiceID{Namespace: planner.DefaultNamespace}
	for _, f := range yamlFields(yamlFieldOf(root, "metadata")) {
		switch f.name {
		case "name":
			id.Name = f.value.Value
		case "namespace":
			id.Namespace = f.value.Value
		}
	}
	return id
}

type yamlField struct {
	name  string
	value *yaml.Node
}

func yamlFields(n *yaml.Node) []yamlField {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	var all []yamlField
	for i := 0; i+1 < len(n.Content); i += 2 {
		all = append(all, yamlField{n.Content[i].Value, n.Content[i+1]})
	}
	return all
}

func yamlFieldOf(n *yaml.Node, name string) *yaml.Node {
	for _, f := range yamlFields(n) {
		if f.name == name {
			return f.value
		}
	}
	return nil
}
