package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// place is where a new fleet comes to be: a folder of a repository. Nothing
// outside of the repository is read or written.
type place struct {
	*os.Root        // the top of the repository
	top      string // its path
	fleet    string // folder of the fleet in it, with slashes; "." = the top
	isRepo   bool   // there is a repository already
}

// findPlace finds the repository that dir lies in, and makes dir if need be.
func findPlace(dir, inside string) (*place, error) {
	inside = filepath.ToSlash(filepath.Clean(inside))
	if !fs.ValidPath(inside) {
		return nil, fmt.Errorf("--path %s does not lie in %s", inside, dir)
	}
	if slices.ContainsFunc(strings.Split(inside, "/"), func(part string) bool { return part != "." && strings.HasPrefix(part, ".") }) {
		return nil, fmt.Errorf("--path %s: folders whose names begin with a dot are not read", inside)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of the fleet: %w", err)
	}
	top, below, err := locate(dir, "")
	if err != nil {
		return nil, err
	}
	p := &place{top: top, fleet: path.Join(below, inside)}
	if _, err := os.Lstat(filepath.Join(top, ".git")); err == nil {
		p.isRepo = true
	}
	if p.Root, err = os.OpenRoot(top); err != nil {
		return nil, fmt.Errorf("open the repository: %w", err)
	}
	return p, nil
}

// in is a path in the fleet's folder, from the top of the repository.
func (p *place) in(name string) string { return path.Join(p.fleet, name) }

// called is the folder that names the fleet.
func (p *place) called() string {
	if p.fleet == "." {
		return filepath.ToSlash(p.top)
	}
	return p.fleet
}

// has reports whether there is anything at a path.
func (p *place) has(name string) (bool, error) {
	switch _, err := p.Lstat(filepath.FromSlash(name)); {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	default:
		return false, fmt.Errorf("look for %s: %w", name, err)
	}
}

// inventory is what lies in a folder that becomes a fleet's.
type inventory struct {
	compose   []string // Compose files at its top
	foreign   []string // YAML files that are no manifests
	manifests bool     // there are some

	kubernetes bool // of foreign some are for Kubernetes
}

// composeNames are those that Compose looks for, in its order.
var composeNames = []string{"compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"}

const (
	maxInitEntries = 20_000 // that are looked at
	maxForeign     = 50     // YAML files that are no manifests
	maxSniffed     = 64 << 10
)

// survey looks at the folder of the fleet, as an agent would: without what
// begins with a dot.
func (p *place) survey() (inventory, error) {
	var f inventory
	for _, name := range composeNames {
		if is, err := p.has(p.in(name)); err != nil {
			return f, err
		} else if is {
			f.compose = []string{name} // Compose takes the first, too
			break
		}
	}
	entries := 0
	err := fs.WalkDir(p.FS(), p.fleet, func(name string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && name == p.fleet:
			return fs.SkipAll
		case err != nil:
			return err
		case name != p.fleet && strings.HasPrefix(d.Name(), "."):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if entries++; entries > maxInitEntries {
			return fmt.Errorf("there are more than %d files; name a folder of its own with --path", maxInitEntries)
		}
		rel := strings.TrimPrefix(strings.TrimPrefix(name, p.fleet), "/")
		if p.fleet == "." {
			rel = name
		}
		ext := path.Ext(name)
		if d.IsDir() || ext != ".yaml" && ext != ".yml" || slices.Contains(f.compose, rel) || rel == "fleet.yaml" {
			return nil
		}
		head, err := p.head(name)
		switch {
		case err != nil:
			return err
		case bytes.Contains(head, []byte("apiVersion: orpheus/")):
			f.manifests = true
		default:
			f.foreign = append(f.foreign, rel)
			f.kubernetes = f.kubernetes || looksKubernetes.Match(head)
		}
		if len(f.foreign) > maxForeign {
			return fmt.Errorf("there are more than %d YAML files that are no manifests; name a folder of its own with --path", maxForeign)
		}
		return nil
	})
	if err != nil {
		return f, fmt.Errorf("look into the folder of the fleet: %w", err)
	}
	return f, nil
}

// head is what a file begins with: it tells what the file is.
func (p *place) head(name string) ([]byte, error) {
	file, err := p.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, maxSniffed))
}

// globOf is a pattern that only matches the path.
func globOf(name string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(name)
}

// address is that of the repository's remote; "" where there is none, or no
// telling.
func (p *place) address(ctx context.Context) string {
	if !p.isRepo {
		return ""
	}
	address, err := (&checkout{top: p.top}).git(ctx, "config", "--get", "remote.origin.url")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(address)
}

// dirty reports whether the repository has changes that are in no commit.
func (p *place) dirty(ctx context.Context) bool {
	if !p.isRepo {
		return false
	}
	changes, err := (&checkout{top: p.top}).git(ctx, "status", "--porcelain")
	return err == nil && changes != ""
}

// host is the server that the repository's remote is on, with a dot at its end;
// "" where there is none, or no telling.
func (p *place) host(ctx context.Context) string {
	address := p.address(ctx)
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		return strings.ToLower(u.Hostname()) + "."
	}
	host, _, remote := strings.Cut(address, ":") // USER@HOST:PATH
	if !remote {
		return ""
	}
	return strings.ToLower(host[strings.LastIndexByte(host, '@')+1:]) + "."
}

// makeRepository makes one where there is none.
func (p *place) makeRepository(ctx context.Context) error {
	if p.isRepo {
		return nil
	}
	c := &checkout{top: p.top}
	_, err := c.git(ctx, "init", "--quiet")
	if err == nil {
		_, err = c.git(ctx, "symbolic-ref", "HEAD", "refs/heads/main") // what -b main is to git before 2.28
	}
	if err != nil {
		return fmt.Errorf("make a Git repository in %s: %w", p.top, err)
	}
	return nil
}

// write makes the repository and the files, each only if there is none.
func (plan *initPlan) write(ctx context.Context, p *place) error {
	if err := p.makeRepository(ctx); err != nil {
		return err
	}
	for _, f := range plan.files {
		name := filepath.FromSlash(f.path)
		if err := p.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return fmt.Errorf("make a folder for %s: %w", f.path, err)
		}
		if err := p.writeNew(name, f.text); err != nil {
			return fmt.Errorf("write %s: %w", f.path, err)
		}
	}
	return nil
}

func (p *place) writeNew(name, text string) error {
	file, err := p.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if _, err := file.WriteString(text); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}
