package compose

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/compose-spec/compose-go/v2/types"
	yaml "go.yaml.in/yaml/v3"
)

// asUsual are values that say what is so without them, by keys of services. All
// others change what comes out.
var asUsual = map[string][]string{
	"restart":                         {"always", "unless-stopped"},
	"network_mode":                    {"bridge"},
	"pull_policy":                     {"if_not_present", "missing"},
	"init":                            {"false"},
	"ipc":                             {"private"},
	"cgroup":                          {"private"},
	"userns_mode":                     {"host"},
	"runtime":                         {"runc"},
	"memswap_limit":                   {"512m"}, // as mem_limit
	"mem_swappiness":                  {"0"},
	"mem_limit":                       {"512m"}, // as deploy has it
	"stop_grace_period":               {"10s"},
	"security_opt[]":                  {"no-new-privileges:true", "no-new-privileges", "no-new-privileges=true", "label:disable", "apparmor:unconfined"},
	"healthcheck.disable":             {"true"},
	"healthcheck.test":                {"[NONE]"},
	"healthcheck.interval":            {"30s"},
	"healthcheck.timeout":             {"30s"},
	"healthcheck.retries":             {"3"},
	"logging.driver":                  {"json-file", "local"},
	"deploy.mode":                     {"replicated"},
	"deploy.restart_policy.condition": {"any"},
	"deploy.update_config.order":      {"stop-first"},
	"volumes[].bind.propagation":      {"rprivate"},
	"ports[].mode":                    {"ingress"},
	"ports[].protocol":                {"tcp"},
	"devices[].permissions":           {"rwm"},
	"depends_on.*.condition":          {"service_started"},
}

// refuses reports whether the file of a row is refused: then nothing of it counts.
func (row conversion) refuses() bool {
	return slices.ContainsFunc(row.faults, func(f string) bool { return !strings.HasPrefix(f, "~ ") })
}

// Nothing is read and forgotten: whatever is taken out of a file, key by key and
// item by item, something else comes out, unless the matrix says that the key has
// no effect.
func TestNothingIsLost(t *testing.T) {
	for _, row := range allRows() {
		if !row.refuses() {
			t.Run(row.name, func(t *testing.T) { checkNothingLost(t, row) })
		}
	}
}

func checkNothingLost(t *testing.T, row conversion) {
	t.Helper()
	text, files := row.compose(), row.files
	whole := outcome(text, files)
	var tree map[string]any
	if err := yaml.Unmarshal([]byte(text), &tree); err != nil {
		t.Fatalf("read the file: %v", err)
	}
	services, _ := tree["services"].(map[string]any)
	for name := range projectOf(t, text, files).Types.Services {
		own, _ := services[name].(map[string]any)
		without(own, "", func(path string, value any) {
			again := func(at string) bool { return strings.HasPrefix(name+"."+path, at) }
			if forgettable(path, value) || slices.ContainsFunc(row.again, again) {
				return
			}
			less, err := yaml.Marshal(tree)
			if err != nil {
				t.Fatalf("write the file without %s: %v", path, err)
			}
			if outcome(string(less), files) == whole {
				t.Errorf("services.%s.%s (%v) changes nothing", name, path, value)
			}
		})
	}
}

// without calls f for every key and item below m, while that is taken out. path is
// that of the matrix.
func without(m map[string]any, path string, f func(path string, value any)) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		v := m[name]
		inner := join(path, name)
		if matrixIndex().inner["services.*."+path] == "*" {
			inner = path + ".*"
		}
		delete(m, name)
		f(inner, v)
		m[name] = v
		switch v := v.(type) {
		case map[string]any:
			without(v, inner, f)
		case []any:
			for i, each := range v {
				m[name] = slices.Delete(slices.Clone(v), i, i+1)
				f(inner+"[]", each)
				m[name] = v
				if object, ok := each.(map[string]any); ok {
					without(object, inner+"[]", f)
				}
			}
		}
	}
}

// forgettable reports whether a value may be left out without a trace.
func forgettable(path string, value any) bool {
	if path == "networks" || path == "networks[]" { // names, with nothing to say about them
		_, isList := value.([]any)
		_, isName := value.(string)
		return isList || isName
	}
	if isEmpty(value) || usual(path, value) || strings.HasPrefix(path, "x-") && path != "x-orpheus" || strings.Contains(path, ".x-") {
		return true
	}
	if slices.Contains(asUsual[path], strings.ReplaceAll(fmt.Sprint(value), " ", "")) || len(asUsual[path]) > 0 && slices.Contains(asUsual[path], fmt.Sprint(value)) {
		return true
	}
	for at := "services.*." + path; at != ""; at = parentPath(at) {
		if row, ok := matrixIndex().rows[strings.TrimSuffix(at, "[]")]; ok && (at == "services.*."+path || row.whole || row.support >= refused) {
			return row.support == silent || at != "services.*."+path
		}
	}
	if object, ok := value.(map[string]any); ok { // as its members
		for name, inner := range object {
			if !forgettable(path+"."+name, inner) {
				return false
			}
		}
		return true
	}
	return false
}

// outcome is all that comes out of a Compose file, without places.
func outcome(text string, files map[string]string) string {
	var b strings.Builder
	project, faults := Load(context.Background(), Source{FS: repositoryOf(text, files), Path: "shop/compose.yaml", Variables: map[string]string{"FROM_FLEET": "fleet"}})
	documents, more := Convert(project)
	for _, f := range slices.Concat(faults, more) {
		fmt.Fprintln(&b, f.Warning, f.Field, f.Reason, f.Remedy)
	}
	for _, d := range documents {
		text, err := yaml.Marshal(d.Root)
		fmt.Fprintf(&b, "%s %v %s\n", text, err, d.Contents)
	}
	return b.String()
}

// compose-go's types are the oracle: what it has set of a service is the origin of
// a field, or has a fault, or the matrix says that it has no effect.
func TestEverySetFieldIsSaid(t *testing.T) {
	for _, row := range allRows() {
		if !row.refuses() {
			t.Run(row.name, func(t *testing.T) { checkSetFields(t, projectOf(t, row.compose(), row.files), row.again) })
		}
	}
	for name, file := range projectsOf(t) {
		t.Run(name, func(t *testing.T) {
			project, _ := Load(context.Background(), Source{FS: os.DirFS(filepath.Join("testdata/projects", name)), Path: file, Variables: fleetVariables})
			checkSetFields(t, project, nil)
		})
	}
}

// elsewhere are fields that are said of the file, or of other services.
// What becomes of them TestNothingIsLost finds out.
var elsewhere = []string{"profiles", "extends", "networks", "deploy", "healthcheck", "depends_on", "links", "env_file", "label_file", "logging", "configs", "secrets", "cpu_period", "scale"}

func checkSetFields(t *testing.T, p *Project, again []string) {
	t.Helper()
	documents, faults := Convert(p)
	said := map[string]bool{}
	note := func(field string) {
		for at := field; at != ""; at = around(at) {
			said[at] = true
		}
	}
	for _, f := range faults {
		note(f.Field)
	}
	for _, d := range documents {
		for _, at := range d.Origins {
			note(at.Field)
		}
	}
	for name, s := range p.Types.Services {
		tree := inside(p.Tree, "services", name)
		for key, value := range setFields(reflect.ValueOf(s)) {
			row, known := matrixIndex().rows["services.*."+key]
			written, _ := tree.(map[string]any)
			switch {
			case !known:
				t.Errorf("field %s of %s has no row", key, name)
			case written[key] == nil, row.support == silent, slices.Contains(again, name+"."+key), forgettable(key, written[key]), slices.Contains(elsewhere, key):
			case !said["services."+name+"."+key] && !completes(p, name):
				t.Errorf("%s of %s is set to %v, and nothing is said of it", key, name, value)
			}
		}
	}
}

// completes reports whether what is wrong with a service is said of another one,
// or the service is a hook, of which not all counts.
func completes(p *Project, name string) bool {
	for _, s := range p.Types.Services {
		if s.DependsOn[name].Condition == types.ServiceConditionCompletedSuccessfully {
			return true
		}
	}
	return false
}

// usual reports whether a list has nothing but usual values.
func usual(key string, value any) bool {
	list, ok := value.([]any)
	for _, each := range list {
		ok = ok && slices.Contains(asUsual[key+"[]"], fmt.Sprint(each))
	}
	return ok
}

// setFields are the fields of a service that are not zero, by their keys.
func setFields(v reflect.Value) map[string]any {
	set := map[string]any{}
	for i := range v.NumField() {
		key, options, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		switch f := v.Field(i); {
		case strings.Contains(options, "inline") && f.Kind() == reflect.Struct:
			maps.Copy(set, setFields(f))
		case f.IsZero(), key == "", key == "-", key == "name", strings.HasPrefix(key, "#"):
		default:
			set[key] = f.Interface()
		}
	}
	return set
}

// Faults and fields stand where the file has them.
func TestPlaces(t *testing.T) {
	const text = `name: shop
services:
  web:
    image: web:1
    command: [serve]
    environment:
      A: "1"
      B: "2"
    ports:
      - "8080:80"
      - "81"
    x-orpheus:
      minReadySeconds: 5
`
	p, _ := Load(context.Background(), Source{FS: fstest.MapFS{"shop/compose.yaml": {Data: []byte(text)}}, Path: "shop/compose.yaml"})
	documents, faults := Convert(p)
	if len(faults) != 1 || faults[0].Line != 11 || faults[0].Field != "services.web.ports[1]" || faults[0].File != "shop/compose.yaml" {
		t.Errorf("faults are %+v", faults)
	}
	for field, line := range map[string]int{
		"spec.image": 4, "spec.args": 5, "spec.args[0]": 5, "spec.env[1].value": 8, "spec.ports[0].publish": 10,
		"spec.minReadySeconds": 13, "metadata.name": 3, "metadata.namespace": 1, "spec.terminationGracePeriodSeconds": 3, "": 3,
	} {
		if got := documents[0].Origin(field); got.Line != line {
			t.Errorf("%s comes from line %d (%s), want %d", field, got.Line, got.Field, line)
		}
	}
}

// Converting twice gives the same, to the letter.
func TestConvertIsDeterministic(t *testing.T) {
	for _, row := range allRows() {
		first := outcome(row.compose(), row.files)
		for range 3 {
			if again := outcome(row.compose(), row.files); again != first {
				t.Fatalf("%s: another outcome:\n%s\nand\n%s", row.name, first, again)
			}
		}
	}
}

// What cannot be read at all converts to nothing.
func TestConvertNothing(t *testing.T) {
	for _, p := range []*Project{nil, {}} {
		if documents, faults := Convert(p); len(documents) > 0 || len(faults) > 0 {
			t.Errorf("Convert(%v) = %v, %v", p, documents, faults)
		}
	}
	documents, faults := Convert(&Project{Types: &types.Project{}})
	if len(documents) > 0 || len(faults) != 1 || !faults[0].Warning {
		t.Errorf("Convert() of a project without services = %v, %v, want a warning", documents, faults)
	}
}
