//go:build linux

package main

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

type policyConfig struct {
	Drivers      []string `json:"drivers"`
	HostPaths    []string `json:"hostPaths"`
	Devices      []string `json:"devices"`
	Capabilities []string `json:"capabilities"`
	Privileged   bool     `json:"privileged"`
	HostNetwork  bool     `json:"hostNetwork"`
	Registries   []string `json:"registries"`
}

// policy is what the node allows, with what is the agent's own reserved.
func (c *config) policy() planner.Policy {
	p := planner.Policy{
		Drivers: c.Policy.Drivers, HostPaths: c.Policy.HostPaths, Devices: c.Policy.Devices,
		Privileged: c.Policy.Privileged, HostNetwork: c.Policy.HostNetwork, Registries: c.Policy.Registries,
		ReservedPaths: c.reservedPaths(),
	}
	for _, name := range c.Policy.Capabilities {
		p.Capabilities = append(p.Capabilities, strings.TrimPrefix(strings.ToUpper(name), "CAP_"))
	}
	for host, r := range c.Registries {
		if r.described() {
			p.KnownRegistries = append(p.KnownRegistries, host)
		}
	}
	for _, own := range c.ownPorts() {
		p.ReservedPorts = append(p.ReservedPorts, own.port)
	}
	return p
}

// ownPort is a port that the agent listens on, and the field that says so.
type ownPort struct {
	field string
	port  int
}

func (c *config) ownPorts() (all []ownPort) {
	add := func(field, listen string) {
		if port, ok := portOf(listen); ok {
			all = append(all, ownPort{field, port})
		}
	}
	add("api.address", c.API.Address)
	if c.API.BridgePort > 0 {
		all = append(all, ownPort{"api.bridgePort", c.API.BridgePort})
	}
	add("webhook.listen", c.Webhook.Listen)
	if c.Coordination != coordinationNone {
		add("peer.listen", c.Peer.Listen)
	}
	return all
}

// reservedPaths are the agent's own: its folders, its credentials, the socket
// of containerd. Each stands with the place it really leads to (/var/run is a
// link), because host paths are judged by where they lead.
func (c *config) reservedPaths() []string {
	own := []string{c.StateDir, c.RunDir, filepath.Dir(c.containerdAddress()), c.Webhook.SecretFile, c.Webhook.KeyFile}
	own = append(own, c.DockerConfig)
	own = append(own, c.gitSecretFiles()...)
	own = append(own, c.notifySecretFiles()...)
	for _, r := range c.Registries {
		own = append(own, r.PasswordFile)
	}
	for _, p := range c.Plugins {
		own = append(own, p.Path)
	}
	var all []string
	for _, path := range own {
		if path == "" {
			continue
		}
		if abs, err := filepath.Abs(path); err == nil {
			path = abs
		}
		all = append(all, path, realPath(path))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// realPath follows the links in a path as far as it exists.
func realPath(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	dir := filepath.Dir(path)
	if dir == path {
		return path
	}
	return filepath.Join(realPath(dir), filepath.Base(path))
}
