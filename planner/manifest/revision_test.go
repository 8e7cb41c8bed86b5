package manifest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "add missing lines to golden files; lines that are there are never changed")

const goldenFile = "testdata/revisions.golden"

// codecServices are the services of testdata/codec, with their files, decoded
// with the fields this version refuses.
func codecServices(t testing.TB) map[string]planner.Service {
	t.Helper()
	names, err := filepath.Glob("testdata/codec/*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("no codec manifests: %v", err)
	}
	all := map[string]planner.Service{}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		p := parse(data, roleManifest, Limits{}.withDefaults(), true)
		if p.broken {
			t.Fatalf("%s:\n%s", name, lines(p.faults))
		}
		for _, s := range p.services {
			all[name+" "+s.ID.Namespace+"/"+s.ID.Name] = withTestFiles(t, s)
		}
	}
	return all
}

func withTestFiles(t testing.TB, s *service) planner.Service {
	t.Helper()
	if len(s.files) == 0 {
		return s.Service
	}
	var contents []*content
	for _, ref := range s.files {
		data, err := os.ReadFile("testdata/codec/" + ref.path)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(data)
		contents = append(contents, &content{data: data, sum: hex.EncodeToString(sum[:])})
	}
	return withFiles(s, contents)
}

// exampleServices are those of /examples, each folder a fleet of its own.
func exampleServices(t testing.TB) map[string]planner.Service {
	t.Helper()
	fleets, err := filepath.Glob("../../examples/*/fleet.yaml")
	if err != nil || len(fleets) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	all := map[string]planner.Service{}
	environments, err := filepath.Glob("../../examples/*/envs/*/fleet.yaml")
	if err != nil || len(environments) == 0 {
		t.Fatalf("no overlays: %v", err)
	}
	for i, f := range append(fleets, environments...) {
		dir := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(f)), "../../")
		d := loadWith(t, NewLoader(Limits{}), os.DirFS("../.."), dir)
		if len(d.Faults) > 0 || len(d.Services) == 0 {
			t.Errorf("%s: %d services\n%s", f, len(d.Services), lines(d.Faults))
		}
		for _, s := range d.Services {
			name := s.File
			if i >= len(fleets) {
				name = dir // several environments are made from the same files
			}
			all[name+" "+s.ID.Namespace+"/"+s.ID.Name] = s
		}
	}
	return all
}

// THE LINES OF testdata/revisions.golden MAY NEVER CHANGE. A revision is the
// identity of everything that runs anywhere: a changed line means that a new
// version of Orpheus restarts that service in every fleet on earth. If this
// test fails, the change that made it fail is wrong, not the file.
func TestRevisionsNeverChange(t *testing.T) {
	now := map[string]planner.Revision{}
	for _, services := range []map[string]planner.Service{codecServices(t), exampleServices(t)} {
		for name, s := range services {
			now[name] = s.Revision
			for kind, h := range s.Hooks {
				now[name+" "+kind.Field()] = h.Revision
			}
		}
	}
	golden, err := os.ReadFile(goldenFile)
	if err != nil && !*update {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for line := range strings.Lines(string(golden)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		i := strings.LastIndexByte(strings.TrimSpace(line), ' ')
		name, want := line[:i], planner.Revision(strings.TrimSpace(line[i:]))
		known[name] = true
		if got, ok := now[name]; !ok {
			t.Errorf("%s is gone: keep the manifest, its revision must stay computable", name)
		} else if got != want {
			t.Errorf("%s\nhas revision %s\ninstead of   %s\nTHIS MAY NEVER CHANGE: every fleet would restart. Undo what caused it.", name, got, want)
		}
	}
	var missing []string
	for name, r := range now {
		if !known[name] {
			missing = append(missing, fmt.Sprintf("%s %s\n", name, r))
		}
	}
	slices.Sort(missing)
	if len(missing) > 0 && !*update {
		t.Errorf("new services are not in the golden file; run go test -update to add them:\n%s", strings.Join(missing, ""))
	}
	if *update && !t.Failed() {
		if err := os.WriteFile(goldenFile, append(golden, strings.Join(missing, "")...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Together the codec manifests set every field of the template and of the
// types below it.
func TestCodecManifestsUseEveryField(t *testing.T) {
	used := map[string]bool{}
	for _, s := range codecServices(t) {
		markUsed(reflect.ValueOf(s.Template), used)
		for _, h := range s.Hooks {
			markUsed(reflect.ValueOf(h.Template), used)
		}
	}
	var all func(ty reflect.Type)
	all = func(ty reflect.Type) {
		for ty.Kind() == reflect.Pointer || ty.Kind() == reflect.Slice {
			ty = ty.Elem()
		}
		if ty.Kind() != reflect.Struct {
			return
		}
		for i := range ty.NumField() {
			if name := ty.Name() + "." + ty.Field(i).Name; !used[name] {
				t.Errorf("no codec manifest sets %s", name)
			}
			all(ty.Field(i).Type)
		}
	}
	all(reflect.TypeFor[planner.Template]())
}

// markUsed notes the fields that are not zero, wherever they stand in lists.
func markUsed(v reflect.Value, used map[string]bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			markUsed(v.Elem(), used)
		}
	case reflect.Slice:
		for i := range v.Len() {
			markUsed(v.Index(i), used)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if !v.Field(i).IsZero() {
				used[v.Type().Name()+"."+v.Type().Field(i).Name] = true
				markUsed(v.Field(i), used)
			}
		}
	}
}

// Each row is a manifest twice: as short as possible, and with defaults and
// other spellings written out. Both are the same revision.
func TestDefaultsWrittenDownChangeNothing(t *testing.T) {
	rows := []struct{ name, short, long string }{
		{"driver", `{image: "w:1"}`, `{driver: containerd, image: "w:1"}`},
		{"flat", `{image: "w:1"}`, `{containers: [{name: main, image: "w:1"}]}`},
		{"grace", `{image: "w:1"}`, `{image: "w:1", terminationGracePeriodSeconds: 30}`},
		{"empty lists", `{image: "w:1"}`, `{image: "w:1", command: [], args: [], env: [], ports: [], volumes: [], initContainers: [], devices: [], volumeMounts: []}`},
		{"empty objects", `{image: "w:1"}`, `{image: "w:1", resources: {requests: {}, limits: {}}, securityContext: {capabilities: {add: [], drop: []}}}`},
		{"protocol", `{image: "w:1", ports: [{containerPort: 1}]}`, `{image: "w:1", ports: [{containerPort: 1, protocol: TCP}]}`},
		{"protocol's case", `{image: "w:1", ports: [{containerPort: 1, protocol: udp}]}`, `{image: "w:1", ports: [{containerPort: 1, protocol: UDP}]}`},
		{"security", `{image: "w:1"}`, `{image: "w:1", securityContext: {privileged: false, readOnlyRootFilesystem: false, allowPrivilegeEscalation: false}}`},
		{"capabilities", `{image: "w:1", securityContext: {capabilities: {add: [CHOWN, KILL]}}}`, `{image: "w:1", securityContext: {capabilities: {add: [CAP_KILL, chown, CHOWN]}}}`},
		{"medium", `{image: "w:1", volumes: [{name: v, emptyDir: {}}]}`, `{image: "w:1", volumes: [{name: v, emptyDir: {medium: ""}}]}`},
		{"quantities", `{image: "w:1", resources: {limits: {cpu: 500m, memory: 1Gi}}}`, `{image: "w:1", resources: {limits: {cpu: "0.5", memory: 1073741824}}}`},
		{"a request like its limit", `{image: "w:1", resources: {limits: {cpu: 1, memory: 1Gi}}}`, `{image: "w:1", resources: {requests: {cpu: 1, memory: 1Gi}, limits: {cpu: 1, memory: 1Gi}}}`},
		{"mount", `{image: "w:1", volumes: [{name: v, local: {}}], volumeMounts: [{name: v, mountPath: /v}]}`, `{image: "w:1", volumes: [{name: v, local: {}}], volumeMounts: [{name: v, mountPath: /v, readOnly: false}]}`},
		{"signal", `{image: "w:1", stopSignal: SIGINT}`, `{image: "w:1", stopSignal: int}`},
		{"empty value", `{image: "w:1", env: [{name: A}]}`, `{image: "w:1", env: [{name: A, value: ""}]}`},
		{"a process is on the host's network", `{driver: process, command: [a]}`, `{driver: process, command: [a], network: host}`},
		{"addresses", `{image: "w:1", hostAliases: [{ip: 2001:db8::1, hostnames: [a]}, {ip: 10.0.0.1, hostnames: [b]}]}`, `{image: "w:1", hostAliases: [{ip: "2001:DB8:0::1", hostnames: [a]}, {ip: "::ffff:10.0.0.1", hostnames: [b]}]}`},
		{"name servers", `{image: "w:1", dns: {servers: [2001:db8::1]}}`, `{image: "w:1", dns: {servers: ["2001:DB8:0::1"], search: [], options: []}}`},
		{"kernel parameters", `{image: "w:1", sysctls: [{name: net.a, value: "1"}, {name: net.b, value: "2"}]}`, `{image: "w:1", sysctls: [{name: net.b, value: "2"}, {name: net.a, value: "1"}]}`},
		{"limits", `{image: "w:1", ulimits: [{name: core, soft: 0}, {name: nofile, soft: 9}]}`, `{image: "w:1", ulimits: [{name: nofile, soft: 9, hard: 9}, {name: core, soft: 0, hard: 0}]}`},
		{"groups", `{image: "w:1", securityContext: {supplementalGroups: [1, 2]}}`, `{image: "w:1", securityContext: {supplementalGroups: [2, 1, 2]}}`},
		{"none of these", `{image: "w:1"}`, `{image: "w:1", hostAliases: [], dns: {}, sysctls: [], ulimits: [], securityContext: {supplementalGroups: []}}`},
		{"probe", `{image: "w:1", livenessProbe: {httpGet: {port: 80}}}`, `{image: "w:1", livenessProbe: {httpGet: {port: 80, path: /, scheme: HTTP}, initialDelaySeconds: 0, periodSeconds: 10, timeoutSeconds: 1, successThreshold: 1, failureThreshold: 3}}`},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if a, b := revisionOf(t, row.short), revisionOf(t, row.long); a != b {
				t.Errorf("%s\n%s\n%s\n%s", a, row.short, b, row.long)
			}
		})
	}
}

// revisionOf parses a service of the spec, which must be without fault.
func revisionOf(t testing.TB, spec string) planner.Revision {
	t.Helper()
	return serviceOf(t, "metadata: {name: test}\nspec: "+spec).Revision
}

func serviceOf(t testing.TB, body string) planner.Service {
	t.Helper()
	p := parse([]byte("apiVersion: orpheus/v1\nkind: Service\n"+body+"\n"), roleManifest, Limits{}.withDefaults(), true)
	if p.broken || len(p.services) != 1 {
		t.Fatalf("%s\n%s", body, lines(p.faults))
	}
	return withTestFiles(t, p.services[0])
}

// The order of keys is nothing to the revision, nor is block or flow style.
func TestKeyOrderChangesNothing(t *testing.T) {
	data, err := os.ReadFile("testdata/codec/everything.yaml")
	if err != nil {
		t.Fatal(err)
	}
	data, _, _ = bytes.Cut(data, []byte("\n---\n"))
	var document any
	if err := yaml.Unmarshal(data, &document); err != nil {
		t.Fatal(err)
	}
	want := codecServices(t)["testdata/codec/everything.yaml golden/everything"]
	rapid.Check(t, func(rt *rapid.T) {
		var b strings.Builder
		shuffled(rt, &b, document)
		p := parse([]byte(b.String()), roleManifest, Limits{}.withDefaults(), true)
		if p.broken {
			rt.Fatalf("%s\n%s", b.String(), lines(p.faults))
		}
		if got := withTestFiles(t, p.services[0]); got.Revision != want.Revision {
			rt.Fatalf("revision %s of\n%s", got.Revision, b.String())
		}
	})
}

// shuffled writes v as flow YAML with its keys in any order.
func shuffled(rt *rapid.T, b *strings.Builder, v any) {
	switch v := v.(type) {
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		if len(keys) > 0 {
			keys = rapid.Permutation(keys).Draw(rt, "keys")
		}
		b.WriteString("{")
		for i, k := range keys {
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(b, "%q: ", k)
			shuffled(rt, b, v[k])
		}
		b.WriteString("}")
	case []any:
		b.WriteString("[")
		for i, item := range v {
			if i > 0 {
				b.WriteString(", ")
			}
			shuffled(rt, b, item)
		}
		b.WriteString("]")
	case string:
		fmt.Fprintf(b, "%q", v)
	default:
		fmt.Fprint(b, v)
	}
}
