package devfleet

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

// The ways nodes get along, as the agent's configuration has them.
const (
	CoordinationLeases = "leases"
	CoordinationNone   = "none"
)

// config is the agent's configuration: what the node is, and what the options
// lay over it.
func (n *Node) config() ([]byte, error) {
	repository := map[string]any{"url": n.hub.RepoURL(), "branch": "main"}
	if n.hub.localPath {
		repository["url"] = n.hub.Repo.Dir
	} else if n.hub.git.TLS {
		repository["caFile"] = n.hub.caFile()
	}
	config := map[string]any{
		"node":         n.nodeConfig(),
		"repository":   repository,
		"coordination": n.opts.coordination,
		"stateDir":     n.StateDir(),
		"runDir":       filepath.Dir(n.Socket()),
		"api":          map[string]any{"address": "none"},
		"process":      map[string]any{"cgroup": strings.TrimPrefix(n.cgroup, "/")},
		"policy":       map[string]any{"drivers": []string{n.opts.driver}},
		"containerd":   map[string]any{"disabled": true},
	}
	if n.opts.coordination == CoordinationLeases {
		config["peer"] = map[string]any{"listen": n.listen().String(), "address": n.Address.String()}
	}
	if n.Containerd != nil {
		config["containerd"] = map[string]any{"address": n.Containerd.Address, "cgroup": n.cgroup}
		config["registries"] = map[string]any{n.hub.Registry.Host: map[string]any{"plainHTTP": true}}
	}
	var more map[string]any
	if err := yaml.UnmarshalStrict([]byte(n.opts.config), &more); err != nil {
		return nil, fmt.Errorf("configuration of the agent: %w", err)
	}
	lay(config, more)
	return yaml.Marshal(config)
}

func (n *Node) nodeConfig() map[string]any {
	node := map[string]any{"name": n.Name}
	capacity := map[string]any{}
	if n.opts.cpu != "" {
		capacity["cpu"] = n.opts.cpu
	}
	if n.opts.memory != "" {
		capacity["memory"] = n.opts.memory
	}
	if len(capacity) > 0 {
		node["capacity"] = capacity
	}
	return node
}

// listen is where the agent waits for its peers: on all addresses of a node
// with a network of its own.
func (n *Node) listen() netip.AddrPort {
	if n.cluster.net == nil {
		return n.Address
	}
	return netip.AddrPortFrom(netip.IPv4Unspecified(), n.Address.Port())
}

// Overlay lays fields over a YAML text of a configuration.
func Overlay(config string, over map[string]any) (string, error) {
	fields := map[string]any{}
	if err := yaml.UnmarshalStrict([]byte(config), &fields); err != nil {
		return "", err
	}
	lay(fields, over)
	text, err := yaml.Marshal(fields)
	return string(text), err
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
