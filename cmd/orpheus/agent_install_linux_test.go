package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// staged is a folder that stands for / of an image.
func staged(t *testing.T, args ...string) (root, out string, code int) {
	t.Helper()
	root = t.TempDir()
	code, stdout, stderr := orpheus(t, root, append([]string{"agent", "install", "--root", root}, args...)...)
	return root, stdout + stderr, code
}

// TestInstallStaged: an image gets program, configuration, unit and the link
// that starts it; what its owner has changed since stays.
func TestInstallStaged(t *testing.T) {
	flags := []string{
		"--repository", "https://git.example.com/fleet.git", "--branch", "prod", "--path", "fleets/a", "--token-file", "/etc/orpheus/token",
		"--node", "node-7", "--label", "disk=ssd", "--coordination", "none",
	}
	root, out, code := staged(t, flags...)
	if code != 0 {
		t.Fatalf("code %d:\n%s", code, out)
	}
	for _, line := range []string{
		"done  write /usr/local/bin/orpheus", "done  write /etc/orpheus/agent.yaml",
		"done  write /etc/systemd/system/orpheus.service", "done  link /etc/systemd/system/multi-user.target.wants/orpheus.service",
	} {
		if !strings.Contains(out, line) {
			t.Errorf("no %q in\n%s", line, out)
		}
	}
	file := filepath.Join(root, defaultConfigFile)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the configuration: %v, %v", info, err)
	}
	c, err := loadConfig(file)
	if err != nil || c.complete() != nil || c.Repository.URL != "https://git.example.com/fleet.git" || c.Repository.Branch != "prod" ||
		c.Repository.Path != "fleets/a" || c.Repository.TokenFile != "/etc/orpheus/token" || c.Node.Name != "node-7" ||
		c.Node.Labels["disk"] != "ssd" || c.Coordination != "none" {
		t.Errorf("the configuration says %+v, %v", c, err)
	}
	if info, err := os.Stat(filepath.Join(root, "usr/local/bin/orpheus")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the program: %v, %v", info, err)
	}
	if to, err := os.Readlink(filepath.Join(root, "etc/systemd/system/multi-user.target.wants", unitName)); err != nil || to != "/etc/systemd/system/orpheus.service" {
		t.Errorf("the link leads to %q, %v", to, err)
	}

	// Again, after its owner has written into it.
	own := "repository: {url: /srv/git/fleet.git}\ncontainerd: {disabled: true}\n"
	if err := os.WriteFile(file, []byte(own), 0o640); err != nil {
		t.Fatal(err)
	}
	code, again, errs := orpheus(t, root, append([]string{"agent", "install", "--root", root}, flags...)...)
	if code != 0 || !strings.Contains(again, "kept  /usr/local/bin/orpheus: it is this version") || !strings.Contains(again, "it is yours") ||
		!strings.Contains(again, "done  write /etc/systemd/system/orpheus.service") {
		t.Errorf("again: code %d\n%s%s", code, again, errs)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != own {
		t.Errorf("the configuration is now\n%s%v", text, err)
	}
	if text, _ := os.ReadFile(filepath.Join(root, "etc/systemd/system", unitName)); strings.Contains(string(text), "containerd") {
		t.Errorf("the unit waits for containerd, which this node does without:\n%s", text)
	}

	code, gone, errs := orpheus(t, root, "agent", "uninstall", "--root", root)
	if code != 0 {
		t.Fatalf("uninstall: code %d\n%s%s", code, gone, errs)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != own {
		t.Errorf("uninstall touched the configuration: %s%v", text, err)
	}
	for _, path := range []string{"usr/local/bin/orpheus", "etc/systemd/system/orpheus.service", "etc/systemd/system/multi-user.target.wants/orpheus.service"} {
		if exists(filepath.Join(root, path)) {
			t.Errorf("%s is still there", path)
		}
	}
}

// TestInstallRefused: what cannot be done is said before anything is.
func TestInstallRefused(t *testing.T) {
	for _, row := range []struct {
		name string
		args []string
		want string
	}{
		{"nothing to follow", nil, "repository.url: is missing"},
		{"a label without a value", []string{"--repository", "/srv/x.git", "--label", "disk"}, "write KEY=VALUE"},
		{"every fault at once", []string{"--node", "Node_7", "--coordination", "some"}, `coordination: "some" is neither`},
		{"a place that no unit can name", []string{"--repository", "/srv/x.git", "--prefix", "/opt/my programs"}, "cannot stand in a systemd unit"},
		{"a place that a unit would take for something else", []string{"--repository", "/srv/x.git", "--prefix", "/opt/%h"}, "cannot stand in a systemd unit"},
	} {
		root, out, code := staged(t, row.args...)
		if code == 0 || !strings.Contains(out, row.want) {
			t.Errorf("%s: code %d\n%s", row.name, code, out)
		}
		if left, err := os.ReadDir(root); err != nil || len(left) > 0 {
			t.Errorf("%s: left %v, %v", row.name, left, err)
		}
	}
	for _, row := range []struct{ args, want string }{
		{"agent uninstall --purge", "--stop-workloads"},
		{"agent uninstall --root /x --stop-workloads", "--root removes files only"},
		{"agent install now", "cannot be read with 1 arguments"},
	} {
		if code, _, errs := orpheus(t, t.TempDir(), strings.Fields(row.args)...); code != exitUsage || !strings.Contains(errs, row.want) {
			t.Errorf("%s: code %d\n%s", row.args, code, errs)
		}
	}
}

// TestInstallFromAnyFolder: what flags name is meant as seen from where they are
// written, while the agent is started elsewhere. In an image only whole paths
// make sense.
func TestInstallFromAnyFolder(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	i := &installation{source: "orpheus"}
	r := &i.flags.config.Repository
	i.flags.file, r.TokenFile, r.CAFile, r.SSHKeyFile, r.KnownHostsFile = "agent.yaml", "./token", "sub/../ca", "key", "/etc/hosts"
	if err := i.absolute(); err != nil {
		t.Fatal(err)
	}
	got := []string{i.source, i.flags.file, r.TokenFile, r.CAFile, r.SSHKeyFile, r.KnownHostsFile}
	want := []string{dir + "/orpheus", dir + "/agent.yaml", dir + "/token", dir + "/ca", dir + "/key", "/etc/hosts"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	_, out, code := staged(t, "--repository", "/srv/x.git", "--token-file", "./token", "--ca-file", "ca")
	if code == 0 || !strings.Contains(out, `repository.tokenFile: "./token" must be an absolute path`) ||
		!strings.Contains(out, `repository.caFile: "ca" must be an absolute path`) {
		t.Errorf("an image: code %d\n%s", code, out)
	}
}

// TestInstallWithoutSystemd: the machine's owner is told what to do instead,
// and nothing is changed.
func TestInstallWithoutSystemd(t *testing.T) {
	if _, err := findSystemd(); err == nil {
		t.Skip("systemd runs this machine")
	}
	prefix := t.TempDir()
	code, out, errs := orpheus(t, prefix, "agent", "install", "--repository", "/srv/x.git", "--prefix", prefix, "--config", filepath.Join(prefix, "agent.yaml"))
	want := "not run by systemd"
	if !isRoot() {
		want = "run it with sudo"
	}
	if code != exitFailed || !strings.Contains(errs, want) {
		t.Errorf("code %d\n%s%s", code, out, errs)
	}
	if left, err := os.ReadDir(prefix); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	code, out, errs = orpheus(t, prefix, "agent", "install", "--dry-run", "--repository", "/srv/x.git", "--prefix", prefix, "--config", filepath.Join(prefix, "agent.yaml"))
	if code != 0 || !strings.Contains(out, "todo  systemctl restart orpheus.service") || !strings.Contains(out, "KillMode=process") {
		t.Errorf("--dry-run: code %d\n%s%s", code, out, errs)
	}
	if left, err := os.ReadDir(prefix); err != nil || len(left) > 0 {
		t.Errorf("--dry-run left %v, %v", left, err)
	}
}

// TestUnit has systemd itself read the unit, and holds what keeps the node's
// workloads alive.
func TestUnit(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := unit(self, "/srv/agent.yaml", true)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"Type=notify", "ExecStart=" + self + " agent --config /srv/agent.yaml", "KillMode=process", "Delegate=yes", "Restart=always",
		"StartLimitIntervalSec=0", "OOMPolicy=continue", "After=network-online.target containerd.service", "Wants=network-online.target containerd.service",
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("the unit has no %s", line)
		}
	}
	// Each of these gives the unit mounts of its own, or reaches into what it
	// starts, or has systemd remove or chown the agent's folders.
	for _, harmful := range []string{"Protect", "PrivateTmp", "PrivateMounts", "ReadOnlyPaths", "NoNewPrivileges", "SystemCallFilter",
		"RuntimeDirectory", "StateDirectory", "Requires", "BindsTo", "PartOf"} {
		if strings.Contains(text, "\n"+harmful) {
			t.Errorf("the unit has %s", harmful)
		}
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze on the PATH: what systemd says of the unit is not known (Debian: apt install systemd)")
	}
	file := filepath.Join(t.TempDir(), unitName)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", file)
	if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), unitName) {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// TestGivenFields: a written configuration says what was said, and no more.
func TestGivenFields(t *testing.T) {
	fields, err := givenFields(config{Repository: repositoryConfig{URL: "/srv/x.git"}, Logs: logsConfig{Files: 3}})
	if err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(fields)
	if err != nil || string(text) != "logs:\n  files: 3\nrepository:\n  url: /srv/x.git\n" {
		t.Errorf("%s%v", text, err)
	}
}
