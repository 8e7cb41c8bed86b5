package compose

import "testing"

var programRows = []conversion{
	{name: "an image alone", file: "image: nginx:1.27",
		want: "{image: 'nginx:1.27', imagePorts: true, terminationGracePeriodSeconds: 10, command: null, args: null, replicas: null, update: null}"},
	{name: "build alone", file: "build: .", faults: []string{"build: cannot be done on the nodes"}},
	{name: "build beside image", file: "image: web:1\nbuild: {context: ., args: {A: b}}",
		want: "{image: 'web:1'}", faults: []string{"~ build: is not done here"}},
	{name: "command is args", file: "command: [serve, --port, '80']", want: "{command: null, args: [serve, --port, '80']}"},
	{name: "command as text is split", file: `command: serve --name "two words" 'x y'`, want: "{args: [serve, --name, two words, x y]}"},
	{name: "dollars are escaped by two", file: "command: [sh, -c, 'serve $$HOME']", want: "{args: [sh, -c, 'serve $HOME']}"},
	{name: "entrypoint takes the image's CMD away", file: "entrypoint: /init --fast", want: "{command: [/init, --fast], args: null}"},
	{name: "entrypoint and command", file: "entrypoint: [/init]\ncommand: [serve]", want: "{command: [/init], args: [serve]}"},
	{name: "an empty entrypoint with a command", file: "entrypoint: []\ncommand: [serve]", want: "{command: [serve], args: null}"},
	{name: "an empty entrypoint alone", file: "entrypoint: ''", faults: []string{"entrypoint: is empty"}},
	{name: "an empty command alone", file: "command: []", faults: []string{"command: is empty"}},
	{name: "an empty command beside an entrypoint", file: "entrypoint: [/init]\ncommand: []", want: "{command: [/init], args: null}"},
	{name: "no value is not given", file: "command:\nentrypoint:", want: "{command: null, args: null}"},
	// Compose's parser stops there: docker compose would run only the first half.
	{name: "an operator of a shell", file: "command: migrate && serve", faults: []string{`command: "&& serve" would be left out`}},
	{name: "an operator in quotes", file: `command: sh -c "migrate && serve"`, want: "{args: [sh, -c, migrate && serve]}"},
	{name: "working directory", file: "working_dir: /srv/app/", want: "{workingDir: /srv/app}"},
	{name: "pull_policy missing", file: "pull_policy: if_not_present"},
	{name: "pull_policy always", file: "pull_policy: always", faults: []string{"~ pull_policy: changes nothing"}},
	{name: "pull_policy daily", file: "pull_policy: daily", faults: []string{"~ pull_policy: changes nothing"}},
	{name: "pull_policy never", file: "pull_policy: never", faults: []string{`pull_policy: "never" is not possible`}},
	{name: "pull_policy build", file: "image: web:1\nbuild: .\npull_policy: build", faults: []string{"~ build: is not done here", "pull_policy: cannot be done"}},
	{name: "platform", file: "platform: linux/arm64/v8", want: "{nodeSelector: {orpheus/arch: arm64}}"},
	{name: "platform as uname says it", file: "platform: x86_64", want: "{nodeSelector: {orpheus/arch: amd64}}"},
	{name: "platform of another system", file: "platform: windows/amd64", faults: []string{"platform: "}},
	{name: "init", file: "init: true", want: "{init: true}"},
	{name: "init false is nothing", file: "init: false", want: "{init: null}"},
	{name: "a terminal", file: "tty: true\nstdin_open: true", faults: []string{"~ tty: has no effect", "~ stdin_open: has no effect"}},
	{name: "what is for the command line", file: "attach: false\ndevelop: {watch: [{path: ., action: rebuild}]}"},
}

func TestProgram(t *testing.T) { testConversions(t, programRows) }

var environmentRows = []conversion{
	{name: "a map, with numbers and truth values", file: "environment: {B: 1, A: text, C: true, D: ''}",
		want: "{env: [{name: A, value: text}, {name: B, value: '1'}, {name: C, value: 'true'}, {name: D, value: ''}]}"},
	{name: "what is no text without quotes", file: "environment: {A: 1.10, B: 022, C: True, D: 2024-01-02, E: 1e3, F: '1.10', G: 12, H: yes, I: 1.5}\nlabels: {L: 1.10}\nsysctls: {net.a: 010}\ndeploy: {labels: {D: 1.0}}",
		want: "{env: [{name: A, value: '1.1'}, {name: B, value: '18'}, {name: C, value: 'true'}, {name: D, value: '2024-01-02 00:00:00 +0000 UTC'}, {name: E, value: '1000'}, {name: F, value: '1.10'}, {name: G, value: '12'}, {name: H, value: 'yes'}, {name: I, value: '1.5'}]}",
		faults: []string{`~ environment.A: is "1.1", as for docker compose: without quotes 1.10 is a number`, "~ environment.B: is \"18\", as for docker compose: without quotes 022 is a number to the base 8",
			"~ environment.C: is \"true\", as for docker compose: without quotes True is true or false", "~ environment.D: is \"2024-01-02 00:00:00 +0000 UTC\", as for docker compose: without quotes 2024-01-02 is a date",
			"~ environment.E: is \"1000\"", "~ labels.L: is \"1.1\"", "~ sysctls.net.a: is \"8\"", "~ deploy.labels.D: is \"1\""}},
	{name: "by an anchor", file: "x-env: &env {A: 1.10}\nservices: {web: {image: web:1, environment: {<<: *env, B: b}}}",
		want: "{env: [{name: A, value: '1.1'}, {name: B, value: b}]}", faults: []string{`~ environment.A: is "1.1"`}},
	{name: "a list", file: "environment: [B=1=2, A=]", want: "{env: [{name: A, value: ''}, {name: B, value: 1=2}]}"},
	{name: "no value: a variable of the fleet", file: "environment:\n  FROM_FLEET:", want: "{env: [{name: FROM_FLEET, value: fleet}]}"},
}

func TestEnvironment(t *testing.T) { testConversions(t, environmentRows) }

var endRows = []conversion{
	{name: "Compose's default", file: "", want: "{terminationGracePeriodSeconds: 10, stopSignal: null}"},
	{name: "rounded up", file: "stop_grace_period: 1m30s500ms\nstop_signal: SIGQUIT", want: "{terminationGracePeriodSeconds: 91, stopSignal: SIGQUIT}"},
	{name: "none", file: "stop_grace_period: 0s", want: "{terminationGracePeriodSeconds: 0}"},
	{name: "a hook", file: "pre_stop: [{command: [nginx, -s, quit]}]", want: "{lifecycle: {preStop: {exec: {command: [nginx, -s, quit]}}}}"},
	{name: "a hook of another user", file: "pre_stop: [{command: [a], user: root, privileged: true, working_dir: /, environment: [A=b]}]",
		faults: []string{"pre_stop[0].user: is not possible", "pre_stop[0].privileged: is not possible", "pre_stop[0].working_dir: is not possible", "pre_stop[0].environment: is not possible"}},
	{name: "two hooks", file: "pre_stop: [{command: [a]}, {command: [b]}]", faults: []string{"pre_stop[1]: is one too many"}},
	{name: "hooks that there are not", file: "post_start: [{command: [a]}]\npre_start: [{command: [b]}]", faults: []string{"post_start: is not possible", "pre_start: is not possible"}},
	{name: "logs as they are", file: "logging: {driver: json-file, options: {max-size: 10m}}", faults: []string{"~ logging.options: has no effect"}},
	{name: "logs to nowhere", file: "logging: {driver: none}", faults: []string{"~ logging.driver: "}},
	{name: "logs elsewhere", file: "logging: {driver: syslog}", faults: []string{"logging.driver: "}},
}

func TestEnd(t *testing.T) { testConversions(t, endRows) }

func TestLabels(t *testing.T) {
	documents, faults := convertText(t, `
services:
  web:
    image: web:1
    labels:
      team: blue
      com.example/owner: eve
      "two words": left out
      traefik.enable: "true"
      traefik.http.routers.web.rule: Host("a")
    annotations: {note: "1"}
    deploy: {labels: {swarm: "yes", team: red}}
`, nil)
	checkFaults(t, faults, []string{"~ labels.two words: is left out", "~ labels.traefik.enable: Traefik"})
	got := inYAML(valueOf(t, documents[0])["metadata"])
	want := inYAML(map[string]any{"name": "web", "namespace": "shop", "annotations": map[string]any{
		"team": "blue", "com.example/owner": "eve", "traefik.enable": "true", "traefik.http.routers.web.rule": `Host("a")`, "note": "1", "swarm": "yes"}})
	if got != want {
		t.Errorf("metadata is\n%s\nwant\n%s", got, want)
	}
}
