package manifest

import (
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

// mounting is a service that mounts one file of the repository.
func mounting(name, file string) string {
	return "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: " + name + "}\nspec:\n  image: w:1\n" +
		"  volumes: [{name: conf, file: " + file + "}]\n  volumeMounts: [{name: conf, mountPath: /etc/conf}]\n"
}

var serviceA = planner.ServiceID{Namespace: "default", Name: "a"}

// A change of a mounted file outside the manifest's folder is noticed although
// the manifest, its folder and the fleet's folder keep their ids.
func TestFileVolumeOutsideTheFleet(t *testing.T) {
	root := newTree(map[string]string{"fleet/fleet.yaml": goodFleet, "fleet/a.yaml": mounting("a", "configs/app.conf"), "configs/app.conf": "one"})
	l := NewLoader(Limits{})
	first := loadWith(t, l, root, "fleet").Services[serviceA]
	if len(first.Files) != 1 || string(first.Files[0].Data) != "one" || first.Template.Volumes[0].File.SHA256 != first.Files[0].SHA256 {
		t.Fatalf("files %+v", first.Files)
	}
	before := l.Stats()
	second := loadWith(t, l, root.put("configs/app.conf", "two"), "fleet").Services[serviceA]
	if second.Revision == first.Revision || string(second.Files[0].Data) != "two" {
		t.Error("the change was not noticed")
	}
	if first.Template.Volumes[0].File.SHA256 == second.Template.Volumes[0].File.SHA256 {
		t.Error("an earlier result was overwritten")
	}
	again := loadWith(t, l, root, "fleet").Services[serviceA]
	after := l.Stats()
	if again.Revision != second.Revision || after.Parsed != before.Parsed || after.FoldersWalked != before.FoldersWalked || after.FilesRead != before.FilesRead+1 {
		t.Errorf("before %+v, after %+v", before, after)
	}
	// Moving the file restarts nothing.
	moved := root.remove("configs/app.conf").put("etc/app.conf", "two").put("fleet/a.yaml", mounting("a", "etc/app.conf"))
	if third := loadWith(t, l, moved, "fleet").Services[serviceA]; third.Revision != second.Revision || third.Files[0].Path != "etc/app.conf" {
		t.Errorf("moved: %+v", third)
	}
}

func TestFileVolumeFaults(t *testing.T) {
	rows := []struct{ name, file, want string }{
		{"missing", "configs/nope", `"configs/nope" does not exist`},
		{"below a file", "plain/x", `"plain" is not a folder`},
		{"folder", "configs", "is a folder"},
		{"link", "link", "is a symbolic link"},
		{"through a link", "linked/passwd", `"linked" is not a folder`},
		{"submodule", "module", "is a submodule"},
		{"device", "dev", "is not a regular file"},
		{"too large", "large", "is larger than 1024 KiB"},
		{"LFS", "lfs", "Git LFS pointer"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			root := newTree(map[string]string{"fleet/fleet.yaml": goodFleet, "fleet/a.yaml": mounting("a", row.file), "configs/x": "", "plain": "", "large": strings.Repeat("x", 1<<20+1), "lfs": lfsPointer + "v1\n"})
			root.add("link", fs.ModeSymlink, "/etc/passwd").add("linked", fs.ModeSymlink, "/etc").add("module", fs.ModeIrregular, "").add("dev", fs.ModeDevice, "")
			d := loadWith(t, NewLoader(Limits{}), root, "fleet")
			if len(d.Services) != 0 || len(d.Faults) != 1 || !strings.Contains(d.Faults[0].Reason, row.want) || d.Faults[0].Line != 6 {
				t.Errorf("%d services, faults:\n%s", len(d.Services), lines(d.Faults))
			}
		})
	}
}

// On disk a link must not lead out of the repository either.
func TestFileVolumeOnDisk(t *testing.T) {
	dir, secret := t.TempDir(), t.TempDir()
	for name, data := range map[string]string{dir + "/fleet.yaml": goodFleet, dir + "/a.yaml": mounting("a", "out/secret"), secret + "/secret": "x"} {
		if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(secret, dir+"/out"); err != nil {
		t.Fatal(err)
	}
	d := load(t, os.DirFS(dir))
	if len(d.Services) != 0 || !strings.Contains(lines(d.Faults), "is not a folder") {
		t.Errorf("%d services, faults:\n%s", len(d.Services), lines(d.Faults))
	}
}

func TestFileVolumesTogether(t *testing.T) {
	root := newTree(map[string]string{"fleet.yaml": goodFleet, "a.yaml": mounting("a", "one"), "b.yaml": mounting("b", "two"), "c.yaml": mounting("c", "same"),
		"one": strings.Repeat("1", 600), "two": strings.Repeat("2", 600), "same": strings.Repeat("1", 600)})
	d := loadWith(t, NewLoader(Limits{AllFileVolumes: 1000}), root, ".")
	if len(d.Services) != 2 || len(d.Faults) != 1 || d.Faults[0].File != "b.yaml" {
		t.Errorf("%d services, faults:\n%s", len(d.Services), lines(d.Faults))
	}
}

func TestIgnore(t *testing.T) {
	rows := []struct {
		pattern, path string
		want          bool
	}{
		{"values.yaml", "values.yaml", true},
		{"values.yaml", "a/values.yaml", false},
		{"**/values.yaml", "values.yaml", true},
		{"**/values.yaml", "a/b/values.yaml", true},
		{"charts", "charts/a/b.yaml", true}, // a folder covers what it holds
		{"charts/**", "charts/a/b.yaml", true},
		{"charts/**", "chart/a.yaml", false},
		{"*/x.yml", "a/x.yml", true},
		{"*/x.yml", "a/b/x.yml", false},
		{"a/**/b/*.yaml", "a/b/c.yaml", true},
		{"a/**/b/*.yaml", "a/x/y/b/c.yaml", true},
		{"a/**/b/*.yaml", "a/x/y/c.yaml", false},
		{strings.TrimSuffix(strings.Repeat("**/", 80), "/") + "/z", strings.Repeat("a/", 100) + "y", false}, // no explosion
	}
	for _, row := range rows {
		if got := compileGlobs([]string{row.pattern}).match(row.path); got != row.want {
			t.Errorf("%s matches %s = %v", row.pattern, row.path, got)
		}
	}
	d := load(t, newTree(map[string]string{"fleet.yaml": goodFleet + "spec: {ignore: [charts, '**/ci.yml']}\n", "charts/x.yaml": "{{ no }}", "a/ci.yml": "on: push", "a/b.yaml": manifestOf("a", "w:1")}))
	if len(d.Faults) != 0 || len(d.Services) != 1 {
		t.Errorf("%d services, faults:\n%s", len(d.Services), lines(d.Faults))
	}
	refusedLoad(t, newTree(map[string]string{"fleet.yaml": goodFleet + "spec: {ignore: ['[', '../x', 'a**', /etc]}\n"}), Limits{}, "and 3 more")
}
