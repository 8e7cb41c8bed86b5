package compose

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

// What a program would be run with is as Docker has it, or refused.
func TestNotMisread(t *testing.T) {
	testConversions(t, []conversion{
		{name: "entrypoint of one empty text", file: "entrypoint: ['']\ncommand: [run]", want: "{command: [run], args: null}"},
		{name: "entrypoint of one empty text alone", file: "entrypoint: ['']", faults: []string{"entrypoint: is empty"}},
		{name: "scale on every node", file: "scale: 3\ndeploy: {mode: global}", faults: []string{"scale: is given beside mode: global"}},
		{name: "limits of a service are not those of what runs before it", file: "services:\n  web: {image: 'web:1', mem_limit: 10m, depends_on: {up: {condition: service_completed_successfully}}}\n  up: {image: 'up:1', command: up}",
			want: "{hooks: {preRollout: {image: 'up:1', args: [up], resources: {}}}}"},
		{name: "what runs before a service runs once", file: "services:\n  web: {image: 'web:1', depends_on: {up: {condition: service_completed_successfully}}}\n  up: {image: 'up:1', command: up, hostname: up, deploy: {replicas: 2}}",
			faults: []string{"services.up.deploy: has it run more than once", "~ services.up.hostname: is not kept"}},
		{name: "placement of what runs before a service", file: "services:\n  web: {image: 'web:1', depends_on: {up: {condition: service_completed_successfully}}}\n  up: {image: 'up:1', command: up, deploy: {placement: {constraints: [node.labels.disk==ssd]}}}",
			faults: []string{"services.up.deploy.placement: differs from that of"}},
		{name: "no service is enabled", file: "services:\n  web: {image: 'web:1', profiles: [debug]}", faults: []string{"~ /services: runs nothing"}},
		{name: "config of an empty variable", file: "services:\n  web: {image: 'web:1', configs: [c]}\nconfigs: {c: {environment: NOTHING}}", files: map[string]string{"shop/.env": "NOTHING="},
			faults: []string{"/configs.c.environment: and no variable of the fleet of that name has a value"}},
	})
}

// What is wrong is told with its place and a remedy, once, in words that can be
// read: also what compose-go finds without saying where.
func TestLoadTellsWhere(t *testing.T) {
	for _, row := range []struct {
		name, file string
		env        string // of a.env
		want       []string
	}{
		{"a name alone beside a file that has it", "env_file: a.env\nenvironment: {FOO: }", "FOO=1", []string{"4: services.web.environment.FOO: variable FOO has no value"}},
		{"a name alone in a file", "env_file: a.env", "A=1\nexport FOO\nB=2", []string{"2: : variable FOO has no value"}},
		{"a name alone within a text", "env_file: a.env", "A=\"1\nFOO\n\"", nil},
		{"infinity", "environment: {A: .inf}", "", []string{"3: services.web.environment.A: is no number that can be counted with"}},
		{"ranges of two lengths", "ports: ['80:80', '1-2:1-3']", "", []string{"3: services.web.ports[1]: cannot be read: invalid ranges"}},
		{"sizes and times", "mem_limit: abc\nstop_grace_period: 1x\nhealthcheck: {test: x, interval: 10}", "",
			[]string{"4: services.web.stop_grace_period: time: unknown unit", "5: services.web.healthcheck.interval: must be text", "3: services.web.mem_limit: invalid size"}},
		{"nothing", "build:", "", []string{"3: services.web.build: must be an object or text"}},
		{"no truth value", "privileged: maybe", "", []string{"3: services.web.privileged: \"maybe\" is not of the type"}},
		{"a limit", "deploy: {resources: {limits: {memory: 5Q, cpus: abc}}}", "",
			[]string{"3: services.web.deploy.resources.limits.cpus: strconv", "3: services.web.deploy.resources.limits.memory: invalid suffix"}},
		{"a device", "cap_add: [ALL]\ndevices: ['/dev/a', 'a:b:c:d']", "", []string{"4: services.web.devices[1]: confusing device mapping"}},
		{"a test", "healthcheck: {test: [curl, x]}", "", []string{"3: services.web.healthcheck.test: names no command"}},
		{"numbers that differ", "scale: 3\ndeploy: {replicas: 2}", "", []string{"3: services.web.scale: differs from deploy.replicas"}},
		{"a name for many", "scale: 3\ncontainer_name: xyz", "", []string{"4: services.web.container_name: is given to more than one replica"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			file := "services:\n  web:\n"
			for line := range strings.Lines(row.file) {
				file += "    " + line
			}
			if !strings.Contains(row.file, "image:") {
				file += "\n    image: web:1\n"
			}
			_, faults := read(t, map[string]string{"shop/compose.yaml": file, "shop/a.env": row.env}, nil)
			got := ""
			for _, f := range faults {
				if f.Remedy == "" {
					t.Errorf("%v has no remedy", f)
				}
				got += fmt.Sprintf("%d: %s: %s\n", f.Line, f.Field, f.Reason)
			}
			for _, want := range row.want {
				if !strings.Contains(got, want) {
					t.Errorf("told\n%s\nwant %q", got, want)
				}
			}
			if len(faults) != len(row.want) {
				t.Errorf("told\n%s\nwant %d", got, len(row.want))
			}
		})
	}
}

// All that is wrong is told at once, also beside values that nothing can be made
// of, and each with what to write instead.
func TestTellsWhatToDo(t *testing.T) {
	for _, row := range []struct {
		name, file string
		files      map[string]string
		want       []string // parts of "FIELD: reason; remedy"
	}{
		{"beside values that cannot be", "mem_limit: abc\ncommand: \"it's\"\nrestart: sometimes\nipc: host", nil, []string{
			"services.web.mem_limit: invalid size", "services.web.command: invalid command line string; close its quotes",
			`services.web.restart: "sometimes" is not known here; write unless-stopped`, `services.web.ipc: "host" is not possible`}},
		{"beside a key that is none", "servces: {}\nservices:\n  web: {image: web:1, mem_limit: abc}", nil, []string{"servces: is no key", "services.web.mem_limit: invalid size"}},
		{"beside a condition that is none", "depends_on: {web: {condition: healthy}}", nil, []string{"depends_on.web.condition: must be one of service_started"}},
		{"an object in a list of texts", "environment: [{KEY: value}, A=1]", nil, []string{"environment[0]: must be text; write KEY=VALUE behind the dash, or KEY: VALUE without it"}},
		{"no number of a port", "ports: ['80:80', 1.5]", nil, []string{"services.web.ports[1]: invalid type float64 for port; write"}},
		{"itself", "depends_on: [web]", nil, []string{"services.web.depends_on.web: services wait for each other: web, which depends on web; take"}},
		{"a space before the sign", "environment: ['A = b']", nil, []string{"services.web.environment: environment variable A  is declared with a trailing space; write NAME=VALUE"}},
		{"an empty key", "environment: {'': b}", nil, []string{"services.web.environment: has a key that is empty"}},
		{"a form that is none of many", "environment: {A: {B: c}}", nil, []string{"environment.A: must be a number or empty or text or true or false; write it as text or as a number"}},
		{"limits as docker run has them", "ulimits: {nofile: '1024:2048'}", nil, []string{"write one number for both, or {soft: 20000, hard: 40000}"}},
		{"a dollar", "environment: {A: 'pa$word'}", nil, []string{"variable word is not defined; define it in spec.variables of fleet.yaml or in the .env beside the Compose file, or write ${word:-default}, or $$ for a dollar"}},
		{"a dollar in a file", "env_file: a.env", map[string]string{"shop/a.env": "A=pa$word"}, []string{"or $$ for a dollar"}},
		{"a template", "services:\n  web:\n    image: {{ image }}", nil, []string{"has a key that is no text; if {{ }} is for a program"}},
		{"the first version of Compose files", "# services:\nweb:\n  image: web:1", nil, []string{"web: is no key of the Compose specification; write services: above it"}},
		{"what another program provides", "services:\n  web: {provider: {type: x}}", nil, []string{"services.web.provider: is not possible"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			project, faults := Load(t.Context(), Source{FS: repositoryOf(conversion{file: row.file}.compose(), row.files), Path: "shop/compose.yaml"})
			_, more := Convert(project)
			for _, f := range more {
				if !slices.ContainsFunc(faults, func(o planner.Fault) bool { return o.Field == f.Field }) {
					faults = append(faults, f)
				}
			}
			for _, want := range row.want {
				if !strings.Contains(told(faults), want) {
					t.Errorf("told\n%s\nwant %q", told(faults), want)
				}
			}
			if len(faults) != len(row.want) {
				t.Errorf("told\n%s\nwant %d", told(faults), len(row.want))
			}
		})
	}
}
