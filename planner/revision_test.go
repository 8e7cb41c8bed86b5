package planner

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestRevisionCanonicalForm(t *testing.T) {
	number, no := int64(0), false
	tests := []struct {
		template Template
		want     string
	}{
		// Keys sorted, defaults left out, no space.
		{plain("web:1"), `{"containers":[{"image":"web:1","name":"main"}]}`},
		// Characters of HTML as they are.
		{Template{Containers: []Container{{Name: "main", Args: []string{`<a href="&">`}}}}, `{"containers":[{"args":["<a href=\"&\">"],"name":"main"}]}`},
		// An empty list is none.
		{Template{Containers: []Container{{Name: "main", Image: "i", Env: []EnvVar{}, Command: []string{}}}, Volumes: []Volume{}}, `{"containers":[{"image":"i","name":"main"}]}`},
		// A pointer to zero is not the default.
		{Template{Containers: []Container{{Name: "main", Security: Security{RunAsUser: &number, AllowPrivilegeEscalation: &no}}}, TerminationGracePeriodSeconds: &number},
			`{"containers":[{"name":"main","securityContext":{"allowPrivilegeEscalation":false,"runAsUser":0}}],"terminationGracePeriodSeconds":0}`},
		// Numbers are written in full.
		{Template{Containers: []Container{{Name: "main", Resources: Resources{Limits: ResourceList{MemoryBytes: 1 << 60}}}}}, `{"containers":[{"name":"main","resources":{"limits":{"memory":1152921504606846976}}}]}`},
		// The volumes' kinds.
		{Template{Driver: DriverProcess, Containers: []Container{{Name: "main"}}, Volumes: []Volume{{Name: "d", Local: &LocalVolume{}}, {Name: "f", File: &FileVolume{SHA256: "00"}}}},
			`{"containers":[{"name":"main"}],"driver":"process","volumes":[{"local":{},"name":"d"},{"file":{"sha256":"00"},"name":"f"}]}`},
	}
	for _, tt := range tests {
		if got := string(canonicalJSON(tt.template)); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}

// TestRevisionNeverChanges: a different revision for the same template would
// restart the world. The sums were computed by other tools than ours.
func TestRevisionNeverChanges(t *testing.T) {
	golden := map[string]Revision{
		`{"containers":[{"name":"main","image":"web:1"}]}`: "r1-c0b887af425b0e908186f12d637b002a8cf98b4283bdd78d3cd706cedfb84d6b",
		`{"containers":[{"name":"main","image":"postgres:17","env":[{"name":"A","value":"<&>é"},{"name":"B","valueFrom":{"secretKeyRef":{"name":"db","key":"pw"}}}],
		   "resources":{"requests":{"cpu":100,"memory":134217728},"limits":{"memory":268435456}},"volumeMounts":[{"name":"data","mountPath":"/data"}],
		   "readinessProbe":{"httpGet":{"path":"/healthz","port":"http"}},"ports":[{"name":"http","containerPort":8080}]}],
		  "volumes":[{"name":"data","local":{}}],"terminationGracePeriodSeconds":60}`: "r1-9d01d16365ea2ee578407d6c522f4b3de9004d42ac6a78794f4bce2f42c648db",
	}
	for text, want := range golden {
		var tmpl Template
		if err := json.Unmarshal([]byte(text), &tmpl); err != nil {
			t.Fatal(err)
		}
		if got := RevisionOf(tmpl); got != want {
			t.Errorf("%s\nis %s, was %s", text, got, want)
		}
	}
}

// TestRevisionSeesEveryField changes each field of the template, at any depth,
// and wants another revision.
func TestRevisionSeesEveryField(t *testing.T) {
	var base Template
	fill(reflect.ValueOf(&base).Elem())
	seen := map[Revision]string{RevisionOf(base): "unchanged"}
	eachLeaf(reflect.ValueOf(&base).Elem(), "template", func(path string, set func(), reset func()) {
		set()
		rev := RevisionOf(base)
		reset()
		if other, ok := seen[rev]; ok {
			t.Errorf("%s changes and the revision stays that of %s", path, other)
		}
		seen[rev] = path
	})
	if len(seen) < 60 {
		t.Errorf("only %d fields were found", len(seen))
	}
}

// fill gives every pointer a value and every list one element.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	}
}

// eachLeaf calls f for every string, number and flag below v.
func eachLeaf(v reflect.Value, path string, f func(path string, set, reset func())) {
	old := reflect.New(v.Type()).Elem()
	old.Set(v)
	reset := func() { v.Set(old) }
	switch v.Kind() {
	case reflect.Pointer:
		eachLeaf(v.Elem(), path, f)
	case reflect.Slice:
		eachLeaf(v.Index(0), path+"[0]", f)
	case reflect.Struct:
		for i := range v.NumField() {
			eachLeaf(v.Field(i), path+"."+v.Type().Field(i).Name, f)
		}
	case reflect.String:
		f(path, func() { v.SetString("changed") }, reset)
	case reflect.Int, reflect.Int64:
		f(path, func() { v.SetInt(42) }, reset)
	case reflect.Bool:
		f(path, func() { v.SetBool(true) }, reset)
	default:
		panic("a kind of field this test does not know: " + v.Kind().String())
	}
}

func TestRevisionShort(t *testing.T) {
	if got := RevisionOf(plainA).Short(); len(got) != 11 || !strings.HasPrefix(got, "r1-") {
		t.Errorf("short form %q", got)
	}
	if got := Revision("r1-ab").Short(); got != "r1-ab" {
		t.Errorf("short form %q", got)
	}
}

func TestTemplateSingleWriter(t *testing.T) {
	readOnly := func(t Template) Template {
		t.Containers = []Container{t.Containers[0]}
		t.Containers[0].VolumeMounts = []VolumeMount{{Name: "data", MountPath: "/data", ReadOnly: true}}
		return t
	}
	port := []ContainerPort{{ContainerPort: 80}}
	tests := []struct {
		name string
		tmpl Template
		want bool
	}{
		// Nothing shared.
		{"plain", plainA, false},
		{"containerd with a port", Template{Containers: []Container{{Ports: port}}}, false},
		// A volume that outlives the instance, if it is written.
		{"local volume", volumeA, true},
		{"local volume, read-only", readOnly(volumeA), false},
		{"local volume, not mounted", Template{Containers: []Container{{}}, Volumes: volumeA.Volumes}, false},
		{"written by an init container", Template{InitContainers: volumeA.Containers, Containers: []Container{{}}, Volumes: volumeA.Volumes}, true},
		{"host path", Template{Containers: volumeA.Containers, Volumes: []Volume{{Name: "data", HostPath: &HostPathVolume{Path: "/x"}}}}, true},
		// One that does not outlive it, or cannot be written.
		{"empty folder", Template{Containers: volumeA.Containers, Volumes: []Volume{{Name: "data", EmptyDir: &EmptyDirVolume{}}}}, false},
		{"file", Template{Containers: volumeA.Containers, Volumes: []Volume{{Name: "data", File: &FileVolume{}}}}, false},
		// The host's network and devices.
		{"host network", hostNetwork("a"), true},
		{"device", Template{Containers: []Container{{Devices: []string{"/dev/fuse"}}}}, true},
		// A process has the host's ports and sees volumes by path.
		{"process", Template{Driver: DriverProcess, Containers: []Container{{}}}, false},
		{"process with a port", Template{Driver: DriverProcess, Containers: []Container{{Ports: port}}}, true},
		{"process with a volume", process("a"), true},
		// What a plugin's driver runs may see them so, unless it mounts them.
		{"plugin with a volume", Template{Driver: "vm", Containers: []Container{{}}, Volumes: volumeA.Volumes}, true},
		{"plugin with a volume, read-only", readOnly(Template{Driver: "vm", Containers: []Container{{}}, Volumes: volumeA.Volumes}), false},
		{"process with a file", Template{Driver: DriverProcess, Containers: []Container{{}}, Volumes: []Volume{{Name: "f", File: &FileVolume{}}}}, false},
	}
	for _, tt := range tests {
		if got := tt.tmpl.SingleWriter(); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestTemplateDefaults(t *testing.T) {
	if plainA.DriverName() != DriverContainerd || process("x").DriverName() != DriverProcess {
		t.Error("driver names")
	}
	zero, five := int64(0), int64(5)
	for seconds, want := range map[*int64]time.Duration{nil: 30 * time.Second, &zero: 0, &five: 5 * time.Second} {
		if got := (Template{TerminationGracePeriodSeconds: seconds}).Grace(); got != want {
			t.Errorf("grace %v, want %v", got, want)
		}
	}
	tmpl := Template{InitContainers: []Container{{Image: "i"}, {Image: "a"}}, Containers: []Container{{Image: "a"}, {}, {Image: "b"}}}
	if got := tmpl.Images(); !reflect.DeepEqual(got, []string{"i", "a", "b"}) {
		t.Errorf("images %q", got)
	}
}
