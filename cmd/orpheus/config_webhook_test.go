//go:build linux

package main

import (
	"slices"
	"strings"
	"testing"
)

func TestConfigWebhook(t *testing.T) {
	for _, row := range []struct {
		name, want string
		webhook    webhookConfig
	}{
		{"none", "", webhookConfig{}},
		{"the least", "", webhookConfig{Listen: ":7719", SecretFile: "/etc/secret"}},
		{"all of it", "", webhookConfig{Listen: "10.0.0.5:7719", Path: "/hooks/fleet", SecretFile: "/s", CertFile: "/c", KeyFile: "/k"}},
		{"no secret", "webhook.secretFile: is missing: without a secret anybody could call", webhookConfig{Listen: ":7719"}},
		{"nowhere to listen", "webhook: give listen beside the other fields", webhookConfig{SecretFile: "/s"}},
		{"no port", `webhook.listen: "10.0.0.5" is no address`, webhookConfig{Listen: "10.0.0.5", SecretFile: "/s"}},
		{"a port that is none", `webhook.listen: ":99999" is no address`, webhookConfig{Listen: ":99999", SecretFile: "/s"}},
		{"a URL", `webhook.listen: "https://node-1:7719/" is no address`, webhookConfig{Listen: "https://node-1:7719/", SecretFile: "/s"}},
		{"half a certificate", "webhook: give certFile and keyFile, or neither", webhookConfig{Listen: ":7719", SecretFile: "/s", CertFile: "/c"}},
		{"a path that cannot be called", `webhook.path: "hook" is no path`, webhookConfig{Listen: ":7719", SecretFile: "/s", Path: "hook"}},
	} {
		c := config{Node: nodeConfig{Name: "node-1"}, Repository: repositoryConfig{URL: "https://git.example.com/fleet.git"}, Webhook: row.webhook}
		err := c.complete()
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
}

// TestAttack40WebhooksOwn: what the address needs is the agent's own.
func TestAttack40WebhooksOwn(t *testing.T) {
	c := config{
		Node: nodeConfig{Name: "node-1"}, Repository: repositoryConfig{URL: "https://git.example.com/fleet.git"},
		Webhook: webhookConfig{Listen: ":7719", SecretFile: "/etc/orpheus-test/secret", CertFile: "/etc/c", KeyFile: "/etc/orpheus-test/key"},
	}
	if err := c.complete(); err != nil {
		t.Fatal(err)
	}
	p := c.policy()
	if !slices.Contains(p.ReservedPorts, 7719) {
		t.Error("a service may publish the webhooks' port")
	}
	for _, path := range []string{"/etc/orpheus-test/secret", "/etc/orpheus-test/key"} {
		if !slices.Contains(p.ReservedPaths, path) {
			t.Errorf("a service may mount %s", path)
		}
	}
}
