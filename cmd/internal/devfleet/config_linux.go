package devfleet

import (
	"fmt"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

// config is the agent's configuration: what the fleet is, and what the options
// lay over it.
func (f *Fleet) config() ([]byte, error) {
	repository := map[string]any{"url": f.RepoURL(), "branch": "main"}
	if f.opts.LocalPath {
		repository["url"] = f.Repo.Dir
	} else if f.opts.Git.TLS {
		repository["caFile"] = f.caFile()
	}
	config := map[string]any{
		"node":       map[string]any{"name": "node-1"},
		"repository": repository,
		"stateDir":   f.StateDir(),
		"runDir":     filepath.Dir(f.Socket()),
		"api":        map[string]any{"address": "none"},
		"process":    map[string]any{"cgroup": strings.TrimPrefix(f.Cgroup(), "/")},
		"policy":     map[string]any{"drivers": []string{f.opts.Driver}},
		"containerd": map[string]any{"disabled": true},
	}
	if f.Containerd != nil {
		config["containerd"] = map[string]any{"address": f.Containerd.Address, "cgroup": f.Cgroup()}
		config["registries"] = map[string]any{f.Registry.Host: map[string]any{"plainHTTP": true}}
	}
	var more map[string]any
	if err := yaml.UnmarshalStrict([]byte(f.opts.Config), &more); err != nil {
		return nil, fmt.Errorf("configuration of the agent: %w", err)
	}
	lay(config, more)
	return yaml.Marshal(config)
}

// lay puts one object over another: fields of objects one by one, everything
// else as a whole.
func lay(under, over map[string]any) {
	for key, value := range over {
		below, ok := under[key].(map[string]any)
		if above, both := value.(map[string]any); ok && both {
			lay(below, above)
		} else {
			under[key] = value
		}
	}
}
