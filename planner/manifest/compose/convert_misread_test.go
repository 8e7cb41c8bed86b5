package compose

import "testing"

// swarmRows are about what Swarm alone understands.
var swarmRows = []conversion{
	{name: "templates of Swarm", file: "hostname: '{{.Service.Name}}-{{.Task.Slot}}'\nenvironment: {NODE: 'x-{{ .Node.Hostname }}', OTHER: '{{.Name}}'}\ndeploy: {mode: global}",
		faults: []string{"environment.NODE: is a template of Swarm's", "hostname: is a template of Swarm's"}},
	{name: "templates of Swarm for Compose", file: "environment: {NODE: '{{.Node.Hostname}}'}", want: "{env: [{name: NODE, value: '{{.Node.Hostname}}'}]}",
		faults: []string{"~ environment.NODE: is a template of Swarm's"}},
	{name: "names of tasks", file: "services:\n  web: {image: 'web:1', command: '-H tcp://tasks.agent:9001', environment: {A: tasks.agent., B: tasks.other}, deploy: {}}\n  agent: {image: 'agent:1', deploy: {mode: global}}",
		faults: []string{"command: asks for tasks.agent", "environment.A: asks for tasks.agent"}},
	{name: "names of tasks in a file", file: "services:\n  web: {image: 'web:1', volumes: ['./a.conf:/a.conf:ro']}\n  agent: {image: 'agent:1'}", files: map[string]string{"shop/a.conf": "server tasks.agent:80;"},
		want: "{volumeMounts: [{name: a-conf, mountPath: /a.conf}]}", faults: []string{"~ volumes: has a file that asks for tasks.agent"}},
	{name: "a role that all nodes have", file: "deploy: {placement: {constraints: ['node.role == worker', 'node.role!=manager', 'node.labels.a==b']}}", want: "{nodeSelector: {a: b}}",
		faults: []string{"~ deploy.placement.constraints[0]: changes nothing", "~ deploy.placement.constraints[1]: changes nothing"}},
}

func TestSwarmAlone(t *testing.T) { testConversions(t, swarmRows) }

// scriptsRows are services that may be meant to end.
var scriptsRows = []conversion{
	{name: "a script that ends", file: "entrypoint: >\n  /bin/sh -c \"\n  mc alias set a http://minio:9000;\n  exit 0;\n  \"\n", faults: []string{`~ entrypoint: comes to its end, as it looks, with "exit"`}},
	{name: "a command that ends", file: "command: [bash, -ec, 'chown -R 1000 /data && echo done']", want: "{args: [bash, -ec, 'chown -R 1000 /data && echo done']}", faults: []string{`~ command: comes to its end`}},
	{name: "a script that goes on", file: "command: [sh, -c, 'echo begins; serve || exit 1']", want: "{args: [sh, -c, 'echo begins; serve || exit 1']}"},
	{name: "a loop", file: "command: [sh, -c, 'while true; do echo x; sleep 5; done']", want: "{args: [sh, -c, 'while true; do echo x; sleep 5; done']}"},
	{name: "a script that is to be started again", file: "command: [sh, -c, 'backup; exit 0']\nrestart: always", want: "{args: [sh, -c, 'backup; exit 0']}"},
	{name: "a script that Swarm starts again", file: "command: [sh, -c, 'backup; exit 0']\ndeploy: {replicas: 2}", want: "{replicas: 2, args: [sh, -c, 'backup; exit 0']}"},
	{name: "a script that runs before a service", file: "services:\n  web: {image: 'web:1', depends_on: {up: {condition: service_completed_successfully}}}\n  up: {image: 'up:1', command: [sh, -c, 'exit 0']}",
		want: "{hooks: {preRollout: {image: 'up:1', args: [sh, -c, 'exit 0']}}}"},
}

func TestScriptsThatEnd(t *testing.T) { testConversions(t, scriptsRows) }

// nodeFilesRows are configs and secrets that the nodes have.
var nodeFilesRows = []conversion{
	{name: "files of the node", file: "services:\n  web: {image: 'web:1', configs: [{source: c, target: /etc/c}], secrets: [s]}\nconfigs: {c: {file: /etc/c.conf}}\nsecrets: {s: {file: /etc/secrets/s.txt}}",
		want: "{volumes: [{name: config-c, hostPath: {path: /etc/c.conf}}, {name: secret-s, hostPath: {path: /etc/secrets/s.txt}}], volumeMounts: [{name: config-c, mountPath: /etc/c, readOnly: true}, {name: secret-s, mountPath: /run/secrets/s, readOnly: true}]}"},
}

func TestImageIsNoDrive(t *testing.T) {
	testConversions(t, []conversion{{name: "an image", file: "volumes: [{type: image, source: 'b:1', target: /img}]", faults: []string{`volumes[0]: type "image" is not possible`}}})
}

func TestFilesOfTheNode(t *testing.T) { testConversions(t, nodeFilesRows) }

// A service that may take long to become healthy has as long in a rollout.
func TestDeadlineOfRetries(t *testing.T) {
	testConversions(t, []conversion{
		{name: "many retries", file: "healthcheck: {test: x, interval: 10s, retries: 120}", want: "{progressDeadlineSeconds: 1200}"},
		{name: "days", file: "healthcheck: {test: x, interval: 20h}", want: "{progressDeadlineSeconds: 86400}"},
		{name: "as usual", file: "healthcheck: {test: x}", want: "{progressDeadlineSeconds: null}"},
	})
}
