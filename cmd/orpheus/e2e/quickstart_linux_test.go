package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestQuickStart does what docs/quickstart.md says: on a laptop, on three
// servers with systemd, and with a forge, which is sshd and the test itself where
// the page has people click.
func TestQuickStart(t *testing.T) {
	needsUnits(t)
	blocks := readBlocks(t, "docs/quickstart.md")
	w := newWorld(t)
	w.image(t, "nginx:1.29-alpine", "80", "")
	git := newForge(t, w)
	servers, hosts := newServers(t, w)
	laptop := w.laptop(t, w.folder(t, "work"), hosts)
	withOrpheus(t, w)
	laptop.env = append(laptop.env, "GIT_SSH_COMMAND=ssh -i "+git.KeyFile+" -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR")
	cgroups := map[string]string{} // the machine's are all servers'
	for _, one := range servers {
		cgroups[one.site.name] = one.Cgroup()
	}
	s := &stage{t: t, state: w.folder(t, "state"), heard: git.takeKey,
		sites: map[string][]*site{"the laptop": {laptop}},
		words: map[string]func(*site) string{"repository, and cgroups beside those of other servers": func(at *site) string {
			group := cgroups[at.name]
			return "containerd: {cgroup: " + group + "}\nprocess: {cgroup: " + strings.TrimPrefix(group, "/") + "}\nrepository:"
		}}}
	for _, one := range servers {
		s.sites["the servers"] = append(s.sites["the servers"], one.site)
		s.sites[one.site.name] = []*site{one.site}
	}
	t.Cleanup(func() {
		for _, one := range servers {
			if t.Failed() {
				out, _ := s.run(one.site, "orpheus status")
				t.Logf("%s in the end:\n%s\n%s", one.site.name, out, one.AgentLog(30))
			}
			_, _ = s.run(one.site, "orpheus agent uninstall --stop-workloads") // it is gone already, unless something failed
		}
	})
	copyTo(t, w, servers)
	s.play(blocks)
}

// withOrpheus has the laptop's owner have the program already.
func withOrpheus(t *testing.T, w *world) {
	t.Helper()
	out, err := exec.Command("install", orpheus, filepath.Join(w.dir, "programs", "orpheus")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// copyTo gives the laptop an scp that knows the servers' folders of root, and
// nothing else.
func copyTo(t *testing.T, w *world, servers []*server) {
	t.Helper()
	script := "#!/bin/sh\nset -e\ncase $2 in\n"
	for _, one := range servers {
		inbox := filepath.Join(one.Dir, "inbox")
		if err := os.MkdirAll(inbox, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := one.Within(func() error { return os.Symlink(filepath.Join(inbox, "orpheus"), "/root/orpheus") }); err != nil {
			t.Fatal(err)
		}
		script += "root@" + one.site.name + ":) cp \"$1\" " + inbox + ";;\n"
	}
	script += "*) echo \"no such server: $2\" >&2; exit 1;;\nesac\n"
	if err := os.WriteFile(filepath.Join(w.dir, "tools", "scp"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
}
