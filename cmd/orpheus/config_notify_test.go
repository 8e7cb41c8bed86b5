//go:build linux

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/agent/notify"
)

func TestConfigNotify(t *testing.T) {
	app := githubAppConfig{AppID: 1, InstallationID: 2, PrivateKeyFile: "/etc/app.pem"}
	for _, row := range []struct {
		name, want string // "" = no fault; several are separated by "; "
		repository repositoryConfig
		notify     notifyConfig
	}{
		{"none", "", repositoryConfig{}, notifyConfig{}},
		{"at GitHub a token is enough", "", repositoryConfig{URL: "git@github.com:team/fleet.git"}, notifyConfig{CommitStatus: &commitStatusConfig{TokenFile: "/t"}}},
		{"or an app", "", repositoryConfig{URL: "https://github.com/team/fleet", GitHubApp: app}, notifyConfig{CommitStatus: &commitStatusConfig{}}},
		{"whose token goes nowhere else", "notify.commitStatus: give tokenFile beside kind or api", repositoryConfig{GitHubApp: app},
			notifyConfig{CommitStatus: &commitStatusConfig{API: "https://git.example.com/api/v1"}}},
		{"no token", "notify.commitStatus.tokenFile: is missing", repositoryConfig{}, notifyConfig{CommitStatus: &commitStatusConfig{}}},
		{"all at once", "notify.commitStatus.kind: ; notify.commitStatus.api: is missing; notify.commitStatus.targetURL: ; notify.webhooks[0].events: \"everything\" is no event",
			repositoryConfig{}, notifyConfig{CommitStatus: &commitStatusConfig{TokenFile: "/t", TargetURL: "x"}, Webhooks: []notifyHookConfig{{URLFile: "/u", Events: []notify.Kind{"everything"}}}}},
		{"no address of a webhook", "notify.webhooks[0]: give urlFile, or url", repositoryConfig{}, notifyConfig{Webhooks: []notifyHookConfig{{}}}},
		{"two", "notify.webhooks[0]: give urlFile, or url", repositoryConfig{}, notifyConfig{Webhooks: []notifyHookConfig{{URL: "https://a/b", URLFile: "/u"}}}},
		{"one that is none", "notify.webhooks[1].url: is no address", repositoryConfig{}, notifyConfig{Webhooks: []notifyHookConfig{{URL: "http://alerts.example.com/x"}, {URL: "alerts"}}}},
		{"a path that depends on where one stands", `notify.webhooks[0].urlFile: "slack" must be an absolute path`, repositoryConfig{}, notifyConfig{Webhooks: []notifyHookConfig{{URLFile: "slack"}}}},
		{"what is wrong with the proxy is said once", "repository.proxy: ", repositoryConfig{URL: "https://github.com/team/fleet", Proxy: "ftp://x"},
			notifyConfig{CommitStatus: &commitStatusConfig{TokenFile: "/t"}}},
	} {
		c := config{Node: nodeConfig{Name: "node-1"}, Repository: row.repository, Notify: row.notify}
		if c.Repository.URL == "" {
			c.Repository.URL = "https://git.example.com/team/fleet.git"
		}
		err := c.complete()
		if row.want == "" {
			if err != nil {
				t.Errorf("%s: %v", row.name, err)
			}
			continue
		}
		wants := strings.Split(row.want, "; ")
		for _, want := range wants {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", row.name, err, want)
			}
		}
		if err != nil && len(strings.Split(err.Error(), "\n")) != len(wants) {
			t.Errorf("%s: %v, want %d faults", row.name, err, len(wants))
		}
	}
}

// TestAttackNotifySecretsOwn: no service may mount what lets others be told, and
// `orpheus agent check` says if it cannot be read.
func TestAttackNotifySecretsOwn(t *testing.T) {
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	c := config{
		Node: nodeConfig{Name: "node-1"}, Repository: repositoryConfig{URL: "https://github.com/team/fleet.git"}, StateDir: dir,
		Notify: notifyConfig{CommitStatus: &commitStatusConfig{TokenFile: token}, Webhooks: []notifyHookConfig{{URLFile: "/etc/orpheus-test/slack-url"}}},
	}
	if err := c.complete(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{token, "/etc/orpheus-test/slack-url"} {
		if !slices.Contains(c.policy().ReservedPaths, path) {
			t.Errorf("a service may mount %s", path)
		}
	}
	faults := func() string {
		var all []string
		for _, err := range c.startFaults() {
			all = append(all, err.Error())
		}
		return strings.Join(all, "\n")
	}
	if text := faults(); !strings.Contains(text, "notify.commitStatus.tokenFile: ") || !strings.Contains(text, "notify.webhooks[0].urlFile: ") {
		t.Errorf("check says %q", text)
	}
	if err := os.WriteFile(token, []byte("t0ken\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n, err := c.newNotifier(nil)
	if err != nil || n == nil {
		t.Fatal(err)
	}
	if shown, err := c.notification().Status.Token(t.Context()); err != nil || shown != "t0ken" {
		t.Errorf("the forge is shown %q, error %v", shown, err)
	}
}
