//go:build linux

package main

import (
	"strings"
	"testing"
)

// TestConfigFaults: what is wrong is named by its field, with what to write
// instead, and without the words of a parser.
func TestConfigFaults(t *testing.T) {
	for _, row := range []struct {
		name, want string
		spoil      func(*config)
	}{
		{"a driver there is not", `policy.drivers: "docker" is no driver; write containerd or process`,
			func(c *config) { c.Policy.Drivers = []string{"docker"} }},
		{"a prefix too long", `network.subnet: "10.0.0.0/33" is no subnet; write one such as 10.231.0.0/20`,
			func(c *config) { c.Network.Subnet = "10.0.0.0/33" }},
		{"bytes after a quantity", `logs.maxSize: "10MB" is no size; write one such as 10Mi`,
			func(c *config) { c.Logs.MaxSize = "10MB" }},
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
