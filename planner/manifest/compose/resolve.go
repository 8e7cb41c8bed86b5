package compose

import (
	"maps"
	"path"
	"slices"
	"strings"
)

// rebase makes relative paths of a model, which begin in folder from, begin in
// folder to: what is read from elsewhere becomes part of who reads it.
func (l *load) rebase(m *model, to, from string) {
	r := rebaser{relative(to, from)}
	r.model(m.dict)
	if to != from {
		r.model(m.raw)
	}
}

// relative is the way from one folder of the repository to another.
func relative(from, to string) string {
	split := func(dir string) []string {
		if dir == "." || dir == "" {
			return nil
		}
		return strings.Split(dir, "/")
	}
	a, b := split(from), split(to)
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return path.Clean(strings.Repeat("../", len(a)-n) + strings.Join(b[n:], "/"))
}

// rebaser rewrites paths, in compose-go's canonical form and as people write
// them.
type rebaser struct{ way string }

// path is one path. What is absolute, remote or of a home folder stays.
func (r rebaser) path(p string) string {
	switch {
	case p == "", strings.HasPrefix(p, "/"), strings.HasPrefix(p, "~"), strings.Contains(p, "://"), strings.Contains(p, `\`), hasDrive(p):
		return p
	}
	return path.Join(r.way, p)
}

// hasDrive reports whether p begins like a path of Windows.
func hasDrive(p string) bool {
	return len(p) > 1 && p[1] == ':' && (p[0] >= 'a' && p[0] <= 'z' || p[0] >= 'A' && p[0] <= 'Z')
}

// field rewrites a path that stands at a key.
func (r rebaser) field(in map[string]any, key string) {
	switch v := in[key].(type) {
	case string:
		in[key] = r.path(v)
	case []any:
		for i, item := range v {
			switch item := item.(type) {
			case string:
				v[i] = r.path(item)
			case map[string]any:
				r.field(item, "path")
			}
		}
	}
}

func (r rebaser) model(m map[string]any) {
	for _, kind := range []string{"services", "jobs"} {
		all := mapping(m[kind])
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if s := mapping(all[name]); s != nil {
				r.service(s)
			}
		}
	}
	for _, kind := range []string{"configs", "secrets"} {
		for _, object := range mapping(m[kind]) {
			if o := mapping(object); o != nil {
				r.field(o, "file")
			}
		}
	}
	for _, volume := range mapping(m["volumes"]) {
		v := mapping(volume)
		if options := mapping(v["driver_opts"]); v["driver"] == "local" && options["o"] == "bind" {
			r.field(options, "device")
		}
	}
}

func (r rebaser) service(s map[string]any) {
	r.container(s)
	r.field(mapping(s["extends"]), "file")
	hooks, _ := s["pre_start"].([]any)
	for _, hook := range hooks {
		if h := mapping(hook); h != nil {
			r.container(h)
		}
	}
	watches, _ := mapping(s["develop"])["watch"].([]any)
	for _, watch := range watches {
		if w := mapping(watch); w != nil {
			r.field(w, "path")
		}
	}
	switch build := s["build"].(type) {
	case string:
		s["build"] = r.context(build)
	case map[string]any:
		r.build(build)
	}
}

func (r rebaser) build(b map[string]any) {
	if context, ok := b["context"].(string); ok {
		b["context"] = r.context(context)
	}
	extra := mapping(b["additional_contexts"])
	for name, context := range extra {
		if s, ok := context.(string); ok {
			extra[name] = r.context(s)
		}
	}
}

// context is where an image is built: a path, an address or a service.
func (r rebaser) context(c string) string {
	for _, prefix := range []string{"service:", "github.com/", "git@"} {
		if strings.HasPrefix(c, prefix) {
			return c
		}
	}
	return r.path(c)
}

func (r rebaser) container(c map[string]any) {
	r.field(c, "env_file")
	r.field(c, "label_file")
	volumes, _ := c["volumes"].([]any)
	for i, volume := range volumes {
		switch v := volume.(type) {
		case map[string]any:
			if v["type"] == "bind" {
				r.field(v, "source")
			}
		case string:
			source, rest, ok := strings.Cut(v, ":")
			if ok && strings.HasPrefix(source, ".") {
				if source = r.path(source); !strings.HasPrefix(source, ".") {
					source = "./" + source
				}
				volumes[i] = source + ":" + rest
			}
		}
	}
}
