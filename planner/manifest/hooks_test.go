package manifest

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// A hook is the container it is derived from, once, without what is for users
// of a server and without the data of other instances.
func TestHooks(t *testing.T) {
	s := codecServices(t)["testdata/codec/hooks.yaml golden/hooks"]
	pre, post := s.Hooks[planner.HookPreRollout], s.Hooks[planner.HookPostRollout]
	grace := int64(5)
	sum := s.Files[0].SHA256
	want := planner.Template{
		HostNetwork: true, Hostname: "hooks", TerminationGracePeriodSeconds: &grace, Once: true, Of: s.Revision,
		Volumes: []planner.Volume{{Name: "conf", File: &planner.FileVolume{SHA256: sum}}, {Name: "tmp", EmptyDir: &planner.EmptyDirVolume{}}},
		Containers: []planner.Container{{
			Name: "app", Image: "registry.example.com/team/app:1.0.0", Command: []string{"/app", "migrate"}, Args: []string{"--all"},
			Env:          []planner.EnvVar{{Name: "LEVEL", Value: "info"}, {Name: "MODE", Value: "migrate"}, {Name: "ONCE", Value: "1"}},
			Resources:    planner.Resources{Limits: planner.ResourceList{MemoryBytes: 64 << 20}},
			VolumeMounts: []planner.VolumeMount{{Name: "conf", MountPath: "/etc/app.conf"}, {Name: "tmp", MountPath: "/tmp"}},
		}},
	}
	if !reflect.DeepEqual(pre.Template, want) || pre.Timeout != time.Minute || pre.Deadline() != time.Minute {
		t.Errorf("%+v\nwant\n%+v", pre, want)
	}
	want.Containers = []planner.Container{{Name: "tools", Image: "registry.example.com/team/tools:2.0.0", Command: []string{"/announce"}}}
	if !reflect.DeepEqual(post.Template, want) || post.Timeout != 0 || post.Deadline() != 10*time.Minute {
		t.Errorf("%+v", post)
	}
	for kind, h := range s.Hooks {
		if h.Revision != planner.RevisionOf(h.Template) || h.Revision == s.Revision {
			t.Errorf("%s: revision %s", kind, h.Revision)
		}
		if got, ok := s.TemplateOf(h.Revision); !ok || !reflect.DeepEqual(got, h.Template) {
			t.Errorf("%s: the service does not know its template", kind)
		}
	}
	if c := s.Template.Containers[0]; len(c.Ports) != 1 || len(c.VolumeMounts) != 3 || len(c.Env) != 2 || c.ReadinessProbe == nil || len(s.Template.Volumes) != 3 {
		t.Errorf("the service lost what its hooks do not have: %+v", c)
	}
}

func TestHookDefaults(t *testing.T) {
	const flat = `{image: "w:1", args: [serve], workingDir: /srv, env: [{name: A, value: a}], devices: [/dev/fuse], securityContext: {runAsUser: 7}, resources: {limits: {memory: 1Gi}}, stopSignal: SIGINT, hooks: {preRollout: {command: [migrate], timeoutSeconds: 600}}}`
	s := serviceOf(t, "metadata: {name: test}\nspec: "+flat)
	h := s.Hooks[planner.HookPreRollout]
	user := int64(7)
	want := planner.Container{Name: "main", Image: "w:1", Command: []string{"migrate"}, WorkingDir: "/srv", Env: []planner.EnvVar{{Name: "A", Value: "a"}},
		Devices: []string{"/dev/fuse"}, Security: planner.Security{RunAsUser: &user}, Resources: planner.Resources{Limits: planner.ResourceList{MemoryBytes: 1 << 30}}, StopSignal: "SIGINT"}
	if len(h.Template.Containers) != 1 || !reflect.DeepEqual(h.Template.Containers[0], want) || h.Timeout != 0 || len(s.Hooks) != 1 {
		t.Errorf("%+v", h)
	}
	// With an image of its own a hook runs what that runs, and sees what it says.
	s = serviceOf(t, `metadata: {name: test}
spec: {image: "w:1", command: [serve], volumes: [{name: a, emptyDir: {}}, {name: b, emptyDir: {}}], volumeMounts: [{name: a, mountPath: /a}],
  hooks: {preRollout: {image: "m:1", args: [up], volumeMounts: [{name: b, mountPath: /b}]}, postRollout: {image: "n:1", volumeMounts: []}}}`)
	for kind, want := range map[planner.HookKind]planner.Container{
		planner.HookPreRollout:  {Name: "main", Image: "m:1", Args: []string{"up"}, VolumeMounts: []planner.VolumeMount{{Name: "b", MountPath: "/b"}}},
		planner.HookPostRollout: {Name: "main", Image: "n:1"},
	} {
		if got := s.Hooks[kind].Template.Containers[0]; got.Image != want.Image || len(got.Command) > 0 || !slices.Equal(got.Args, want.Args) || !slices.Equal(got.VolumeMounts, want.VolumeMounts) {
			t.Errorf("%s is %+v", kind, got)
		}
	}
	// A process has no image and sees its volumes by path.
	s = serviceOf(t, `metadata: {name: test}
spec: {driver: process, command: [a], volumes: [{name: data, local: {}}, {name: tmp, emptyDir: {}}], hooks: {postRollout: {command: [b], resources: {}}}}`)
	h = s.Hooks[planner.HookPostRollout]
	if h.Template.Driver != "process" || len(h.Template.Volumes) != 1 || h.Template.Volumes[0].Name != "tmp" || h.Template.SingleWriter() {
		t.Errorf("%+v", h)
	}
}

// The host name of an instance is that of its service and slot, and no longer
// than the kernel takes.
func TestHookHostname(t *testing.T) {
	for length, want := range map[int]string{51: "", 53: strings.Repeat("a", 53), 58: strings.Repeat("a", 58)} {
		name := strings.Repeat("a", length)
		s := serviceOf(t, "metadata: {name: "+name+"}\nspec: {image: \"w:1\", hooks: {postRollout: {command: [a]}}}")
		if got := s.Hooks[planner.HookPostRollout].Template.Hostname; got != want {
			t.Errorf("%d letters: %q", length, got)
		}
	}
}

// Whatever gives the service a new revision gives its hooks one; what is only
// theirs gives the service none.
func TestHookRevisions(t *testing.T) {
	const before = `{image: "w:1", hooks: {preRollout: {command: [a]}}}`
	base := serviceOf(t, "metadata: {name: test}\nspec: "+before)
	rows := []struct {
		name, body    string
		service, hook bool // changes
	}{
		{"the image", "metadata: {name: test}\nspec: {image: \"w:2\", hooks: {preRollout: {command: [a]}}}", true, true},
		{"what the hook has not", "metadata: {name: test}\nspec: {image: \"w:1\", ports: [{containerPort: 1}], hooks: {preRollout: {command: [a]}}}", true, true},
		{"a restart", "metadata: {name: test, annotations: {orpheus/restartedAt: a}}\nspec: " + before, true, true},
		{"the hook", "metadata: {name: test}\nspec: {image: \"w:1\", hooks: {preRollout: {command: [b]}}}", false, true},
		{"its timeout", "metadata: {name: test}\nspec: {image: \"w:1\", hooks: {preRollout: {command: [a], timeoutSeconds: 5}}}", false, false},
		{"defaults", "metadata: {name: test}\nspec: {image: \"w:1\", hooks: {preRollout: {command: [a], container: main, args: [], env: [], resources: {}, timeoutSeconds: 600}}}", false, false},
		{"replicas", "metadata: {name: test}\nspec: {image: \"w:1\", replicas: 2, hooks: {preRollout: {command: [a]}}}", false, false},
	}
	for _, row := range rows {
		s := serviceOf(t, row.body)
		if got := s.Revision != base.Revision; got != row.service {
			t.Errorf("%s: the service's revision changes: %v", row.name, got)
		}
		if got := s.Hooks[planner.HookPreRollout].Revision != base.Hooks[planner.HookPreRollout].Revision; got != row.hook {
			t.Errorf("%s: the hook's revision changes: %v", row.name, got)
		}
	}
}

// The content of a mounted file is known only when all is put together, in an
// overlay as well: hooks follow it.
func TestHooksFollowFiles(t *testing.T) {
	const spec = `{image: "w:1", volumes: [{name: c, file: c.conf}], volumeMounts: [{name: c, mountPath: /c}], hooks: {preRollout: {command: [a], env: [{name: A, value: a}]}}}`
	files := overlay(map[string]string{
		"c.conf":             "1",
		"base/web.yaml":      patchOf("web", spec),
		"envs/prod/web.yaml": patchOf("web", `{hooks: {preRollout: {env: [{name: B, value: b}], timeoutSeconds: 60}, postRollout: {command: [c]}}}`),
	})
	first := named(t, loadProd(t, files), "web")
	pre := first.Hooks[planner.HookPreRollout]
	if c := pre.Template.Containers[0]; len(first.Hooks) != 2 || !reflect.DeepEqual(c.Env, []planner.EnvVar{{Name: "A", Value: "a"}, {Name: "B", Value: "b"}}) || pre.Timeout != time.Minute {
		t.Errorf("%+v", first.Hooks)
	}
	if pre.Template.Of != first.Revision || first.Revision == "" || pre.Template.Volumes[0].File.SHA256 != first.Files[0].SHA256 {
		t.Errorf("of %s, file %+v; the service is %s", pre.Template.Of, pre.Template.Volumes, first.Revision)
	}
	files["c.conf"] = "2"
	second := named(t, loadProd(t, files), "web")
	if again := second.Hooks[planner.HookPreRollout]; again.Revision == pre.Revision || again.Template.Of != second.Revision {
		t.Errorf("%s, as before the file changed", again.Revision)
	}
}
