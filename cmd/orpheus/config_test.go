//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

// TestConfigFaults: what is wrong is named by its field, with what to write
// instead, and without the words of a parser.
func TestConfigFaults(t *testing.T) {
	for _, row := range []struct {
		name, want string
		spoil      func(*config)
	}{
		{"a driver there is not", `policy.drivers: "docker" is no driver; write containerd, process or the name of a plugin`,
			func(c *config) { c.Policy.Drivers = []string{"docker"} }},
		{"a plugin's driver", "", func(c *config) {
			c.Plugins = []pluginConfig{{Name: "sandbox", Path: "/opt/sandbox", SHA256: strings.Repeat("0", 64)}}
			c.Policy.Drivers = []string{"sandbox"}
		}},
		{"a node named like the slot of a hook", `node.name: "prerollout" is the name of the slot of a hook`, func(c *config) {
			c.Node.Name = "prerollout"
		}},
		{"a plugin by the name of a driver", "plugins[0].name: there is a driver containerd already", func(c *config) {
			c.Plugins = []pluginConfig{{Name: "containerd", Path: "/opt/x", SHA256: strings.Repeat("0", 64)}}
		}},
		{"two plugins of one name", "plugins[1].name: there is a driver a already", func(c *config) {
			c.Plugins = []pluginConfig{{Name: "a"}, {Name: "a"}}
		}},
		{"a plugin's name that leads out of its folder", `plugins[0].name: "../a" is not a DNS label`, func(c *config) {
			c.Plugins = []pluginConfig{{Name: "../a"}}
		}},
		{"a plugin without a checksum", "plugins[0].sha256: is not what sha256sum prints", func(c *config) {
			c.Plugins = []pluginConfig{{Name: "a", Path: "/opt/a"}}
		}},
		{"a plugin found by the PATH", `plugins[0].path: "a" must be an absolute path`, func(c *config) {
			c.Plugins = []pluginConfig{{Name: "a", Path: "a", SHA256: strings.Repeat("0", 64)}}
		}},
		{"a prefix too long", `network.subnet: "10.0.0.0/33" is no subnet; write one such as 10.231.0.0/20`,
			func(c *config) { c.Network.Subnet = "10.0.0.0/33" }},
		{"an IPv4 subnet for IPv6", `network.subnet6: "10.0.0.0/24" is no IPv6 subnet; write one such as fd00:1:2:3::/64, or none`,
			func(c *config) { c.Network.Subnet6 = "10.0.0.0/24" }},
		{"one host port", `network.hostPorts: "20000" is no range of ports`, func(c *config) { c.Network.HostPorts = "20000" }},
		{"a port too high", `network.hostPorts: "60000-70000" is no range of ports`, func(c *config) { c.Network.HostPorts = "60000-70000" }},
		{"host ports with the peer port", "network.hostPorts: 7000-7999 holds port 7718 of peer.listen", func(c *config) { c.Network.HostPorts, c.Peer.Listen = "7000-7999", ":7718" }},
		{"the webhook's port on the bridge", "api.bridgePort: 7719 is the port of webhook.listen", func(c *config) { c.API.BridgePort, c.Webhook.Listen = 7719, ":7719" }},
		{"no IPv6, other host ports", "", func(c *config) { c.Network.Subnet6, c.Network.HostPorts = "none", "40000-40999" }},
		{"bytes after a quantity", `logs.maxSize: "10MB" is no size; write one such as 10Mi`,
			func(c *config) { c.Logs.MaxSize = "10MB" }},
		{"a token for whatever address fleet.yaml names", "records.tokenFile: give records.url beside it: credentials are only sent to the address they are meant for",
			func(c *config) { c.Records.TokenFile = "/etc/orpheus/token" }},
		{"a password for it", "records.passwordFile: give records.url beside it",
			func(c *config) { c.Records.PasswordFile = "/etc/orpheus/password" }},
		{"a user for it", "records.username: give records.url beside it",
			func(c *config) { c.Records.Username = "fleet" }},
		{"a token and its address", "",
			func(c *config) {
				c.Records = recordsConfig{TokenFile: "/etc/orpheus/token", URL: "https://git.example.com/records.git"}
			}},
		{"no port for peers: it is listen that says so", `peer.address: "none" is no address`,
			func(c *config) { c.Peer.Address = "none" }},
		{"a key and no address: keys are not sent", "",
			func(c *config) { c.Records.SSHKeyFile = "/etc/orpheus/key" }},
		{"a mirror with a password in its URL", "registries[docker.io].mirrors[1]: a mirror's URL holds no credentials; give registries.m.example.com", func(c *config) {
			c.Registries = map[string]registryConfig{"docker.io": {Mirrors: []string{"m.example.com", "https://u:p@m.example.com"}}}
		}},
		{"docker's configuration somewhere", `dockerConfig: "config.json" must be an absolute path`, func(c *config) { c.DockerConfig = "config.json" }},
		{"mirrors", "", func(c *config) {
			c.Registries = map[string]registryConfig{"docker.io": {Mirrors: []string{"m.example.com:5000", "https://m.example.com/v2/hub"}}}
		}},
		{"nothing", "", func(*config) {}},
	} {
		c := config{Node: nodeConfig{Name: "node-1"}, Repository: repositoryConfig{URL: "https://git.example.com/fleet.git"}}
		row.spoil(&c)
		err := c.complete()
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
}

// TestAttack21AgentsOwnPaths: a host path leads to what is the agent's own by
// another name than the configuration has for it, in a folder that is allowed.
func TestAttack21AgentsOwnPaths(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	real := filepath.Join(top, "run")
	link := filepath.Join(top, "link")
	if err := os.Mkdir(real, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	c := config{
		Node: nodeConfig{Name: "node-1"}, StateDir: filepath.Join(link, "state"), RunDir: filepath.Join(link, "agent"),
		Repository:   repositoryConfig{URL: "https://git.example.com/fleet.git", TokenFile: filepath.Join(link, "token")},
		Containerd:   containerdConfig{Address: filepath.Join(link, "containerd", "containerd.sock")},
		Registries:   map[string]registryConfig{"registry.example.com": {Username: "u", PasswordFile: filepath.Join(link, "password")}},
		DockerConfig: filepath.Join(link, "config.json"),
		Plugins:      []pluginConfig{{Name: "sandbox", Path: filepath.Join(link, "sandbox"), SHA256: strings.Repeat("0", 64)}},
		Policy:       policyConfig{HostPaths: []string{top}},
	}
	if err := c.complete(); err != nil {
		t.Fatal(err)
	}
	for path, allowed := range map[string]bool{
		"run/state":                      false, // not there yet
		"link/state/volumes":             false,
		"run/agent/orpheus.sock":         false,
		"run/containerd":                 false,
		"run/containerd/containerd.sock": false,
		"run/token":                      false,
		"link/token":                     false,
		"run/password":                   false,
		"run/config.json":                false, // docker's
		"run/sandbox":                    false, // a plugin's file
		"run":                            false, // all of them
		"run/other":                      true,
	} {
		s := planner.Service{Template: planner.Template{
			Driver: c.Policy.Drivers[0], Containers: []planner.Container{{Name: "main"}},
			Volumes: []planner.Volume{{Name: "v", HostPath: &planner.HostPathVolume{Path: filepath.Join(top, path)}}},
		}}
		if reasons := planner.Admit(c.policy(), s); (len(reasons) == 0) != allowed {
			t.Errorf("%s: %q; want it allowed: %t", path, reasons, allowed)
		}
	}
}
