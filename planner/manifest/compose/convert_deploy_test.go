package compose

import "testing"

var resourcesRows = []conversion{
	{name: "Compose's keys", file: "cpus: 0.5\nmem_limit: 512m\nmem_reservation: 256m\npids_limit: 100\nmemswap_limit: 512m\nmem_swappiness: 0",
		want: "{resources: {requests: {memory: 256Mi}, limits: {cpu: 500m, memory: 512Mi, pids: 100}}}"},
	{name: "Swarm's", file: "deploy: {resources: {limits: {cpus: '2', memory: 1.5g, pids: 10}, reservations: {cpus: '0.25', memory: 100000000b}}}",
		want: "{resources: {requests: {cpu: 250m, memory: '100000000'}, limits: {cpu: '2', memory: 1536Mi, pids: 10}}}"},
	{name: "as many processes as there can be", file: "pids_limit: -1", want: "{resources: {limits: {pids: 4194304}}}"},
	{name: "a quota", file: "cpu_period: 50000\ncpu_quota: 25000", want: "{resources: {limits: {cpu: 500m}}}"},
	{name: "a period alone", file: "cpu_period: 50000", faults: []string{"~ cpu_period: changes nothing"}},
	{name: "finer than can be", file: "cpus: 0.0005", faults: []string{"cpus: "}},
	{name: "swap", file: "mem_limit: 1g\nmemswap_limit: 2g\nmem_swappiness: 60", faults: []string{"memswap_limit: is not possible", "mem_swappiness: is not possible"}},
	{name: "weights and cores", file: "cpu_shares: 512\ncpuset: 0-1\nblkio_config: {weight: 300}\noom_score_adj: 100\noom_kill_disable: true",
		faults: []string{"cpu_shares: ", "cpuset: ", "blkio_config: ", "oom_score_adj: ", "oom_kill_disable: "}},
	{name: "GPUs", file: "gpus: all\ndeploy: {resources: {reservations: {devices: [{capabilities: [gpu], count: 1}], generic_resources: [{discrete_resource_spec: {kind: ssd, value: 1}}]}}}",
		faults: []string{"gpus: is not possible", "deploy.resources.reservations.devices: is not possible", "deploy.resources.reservations.generic_resources: is not possible"}},
}

func TestResources(t *testing.T) { testConversions(t, resourcesRows) }

var deployRows = []conversion{
	{name: "replicas", file: "deploy: {replicas: 3}", want: "{replicas: 3, update: null}"},
	{name: "scale", file: "scale: 2", want: "{replicas: 2}"},
	{name: "scale beside deploy", file: "scale: 2\ndeploy: {labels: {a: b}}", want: "{replicas: 2}"},
	{name: "none", file: "deploy: {replicas: 0}", want: "{replicas: 0}"},
	{name: "on every node", file: "deploy: {mode: global, endpoint_mode: dnsrr}", want: "{everyNode: true, replicas: null, endpointMode: dnsrr}"},
	{name: "jobs", file: "deploy: {mode: replicated-job}", faults: []string{`deploy.mode: "replicated-job" is not possible`}},
	{name: "constraints", file: "deploy: {placement: {constraints: [node.labels.disk==ssd, node.hostname == n1, node.platform.os==linux, node.platform.arch==x86_64]}}",
		want: "{nodeSelector: {disk: ssd, orpheus/node: n1, orpheus/os: linux, orpheus/arch: amd64}}"},
	{name: "constraints that cannot be said", file: "deploy: {placement: {constraints: [node.labels.disk!=hdd, node.role==manager, node.id==x, engine.labels.a==b, what]}}",
		faults: []string{"deploy.placement.constraints[0]: ", "deploy.placement.constraints[1]: a fleet has no managers", "deploy.placement.constraints[2]: ", "deploy.placement.constraints[3]: ", "deploy.placement.constraints[4]: is no constraint"}},
	{name: "constraints that exclude each other", file: "platform: linux/amd64\ndeploy: {placement: {constraints: [node.platform.arch==aarch64]}}", faults: []string{"platform: no node has both"}},
	{name: "preferences", file: "deploy: {placement: {preferences: [{spread: node.labels.zone}]}}",
		want: "{topologySpreadConstraints: [{topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]}"},
	{name: "preferences of engines", file: "deploy: {placement: {preferences: [{spread: engine.labels.zone}], max_replicas_per_node: 1}}",
		faults: []string{"deploy.placement.preferences[0]: ", "deploy.placement.max_replicas_per_node: is not possible"}},
}

func TestDeploy(t *testing.T) { testConversions(t, deployRows) }

var updateConfigRows = []conversion{
	{name: "none: the defaults of every service", file: "deploy: {replicas: 2}", want: "{update: null, minReadySeconds: null}"},
	{name: "Swarm's defaults", file: "deploy: {update_config: {}}", want: "{update: {order: stopFirst, maxUnavailable: 1, autoRevert: false}, minReadySeconds: 5}"},
	{name: "in pairs", file: "deploy: {update_config: {parallelism: 2, delay: 10s, failure_action: rollback}}",
		want: "{update: {order: stopFirst, maxUnavailable: 2, autoRevert: true}, minReadySeconds: 10}"},
	{name: "all at once, new ones first", file: "deploy: {update_config: {parallelism: 0, order: start-first, monitor: 1m}}",
		want: "{update: {order: startFirst, maxSurge: 100%, maxUnavailable: 0, autoRevert: false}, minReadySeconds: 60}"},
	{name: "a long time of proof", file: "deploy: {update_config: {delay: 15m}}", want: "{minReadySeconds: 900, progressDeadlineSeconds: 1500}"},
	{name: "going on in spite of failures", file: "deploy: {update_config: {failure_action: continue, max_failure_ratio: 0.3}}",
		faults: []string{"deploy.update_config.failure_action: ", "deploy.update_config.max_failure_ratio: is not possible"}},
	{name: "how to roll back", file: "deploy: {rollback_config: {parallelism: 0}}", faults: []string{"~ deploy.rollback_config: has no effect"}},
}

func TestUpdateConfig(t *testing.T) { testConversions(t, updateConfigRows) }

var restartRows = []conversion{
	{name: "for ever", file: "restart: unless-stopped"},
	{name: "always", file: "restart: always"},
	{name: "no", file: "restart: 'no'", faults: []string{`restart: "no" is not possible`}},
	{name: "on failure", file: "restart: on-failure:3", faults: []string{`restart: "on-failure:3" is not possible`}},
	{name: "Swarm's any", file: "deploy: {restart_policy: {condition: any, delay: 5s, window: 1m}}", faults: []string{"~ deploy.restart_policy.delay: ", "~ deploy.restart_policy.window: "}},
	{name: "Swarm's none", file: "deploy: {restart_policy: {condition: none}}", faults: []string{`deploy.restart_policy.condition: "none" is not possible`}},
	{name: "Swarm's on-failure", file: "restart: always\ndeploy: {restart_policy: {condition: on-failure, max_attempts: 3}}",
		faults: []string{`deploy.restart_policy.condition: "on-failure"`, "deploy.restart_policy.max_attempts: is not possible"}},
	{name: "Swarm's goes before Compose's", file: "restart: 'no'\ndeploy: {restart_policy: {condition: any}}", faults: []string{"~ restart: is not looked at"}},
}

func TestRestart(t *testing.T) { testConversions(t, restartRows) }

const checkedProbe = "{exec: {command: [/bin/sh, -c, 'curl -f localhost']}, periodSeconds: 30, timeoutSeconds: 30, failureThreshold: 3}"

var healthcheckRows = []conversion{
	// Compose ends nothing that is not healthy.
	{name: "text, with all defaults", file: "healthcheck: {test: curl -f localhost}", want: "{readinessProbe: " + checkedProbe + ", livenessProbe: null, startupProbe: null}"},
	{name: "a shell", file: "healthcheck: {test: [CMD-SHELL, curl -f localhost]}", want: "{readinessProbe: " + checkedProbe + "}"},
	{name: "a command and times", file: "healthcheck: {test: [CMD, pg_isready, -U, x], interval: 1m30s, timeout: 500ms, retries: 5, start_period: 1m, start_interval: 1s}",
		want:  "{readinessProbe: {exec: {command: [pg_isready, -U, x]}, periodSeconds: 90, timeoutSeconds: 1, failureThreshold: 5}, startupProbe: null, progressDeadlineSeconds: null}",
		again: []string{"web.healthcheck.start_"}}, // what is not healthy is left alone anyway
	{name: "a long start", file: "healthcheck: {test: [CMD, ok], start_period: 20m}", want: "{startupProbe: null, progressDeadlineSeconds: 1290}"},
	// Swarm replaces what is not healthy, once its start_period is over.
	{name: "with deploy", file: "deploy: {replicas: 1}\nhealthcheck: {test: curl -f localhost}", want: "{readinessProbe: " + checkedProbe + ", livenessProbe: " + checkedProbe + ", startupProbe: null}"},
	{name: "with deploy and a start", file: "deploy: {replicas: 1}\nhealthcheck: {test: [CMD, ok], interval: 10s, start_period: 1m, start_interval: 5s, retries: 3}",
		want: `{startupProbe: {exec: {command: [ok]}, periodSeconds: 5, timeoutSeconds: 30, failureThreshold: 18},
			livenessProbe: {exec: {command: [ok]}, periodSeconds: 10, timeoutSeconds: 30, failureThreshold: 3},
			readinessProbe: {exec: {command: [ok]}, periodSeconds: 10, timeoutSeconds: 30, failureThreshold: 3}}`},
	{name: "none", file: "healthcheck: {test: [NONE]}", want: "{readinessProbe: null}", again: []string{"web.healthcheck"}},
	{name: "disabled", file: "healthcheck: {disable: true}", want: "{readinessProbe: null}", again: []string{"web.healthcheck"}},
	{name: "times of the image's", file: "healthcheck: {interval: 5s}", faults: []string{"healthcheck: has no test"}},
	{name: "not disabled", file: "healthcheck: {disable: false}", faults: []string{"~ healthcheck: has no test"}},
	{name: "no command", file: "healthcheck: {test: [CMD]}", faults: []string{"healthcheck.test: names no command"}},
}

func TestHealthcheck(t *testing.T) { testConversions(t, healthcheckRows) }
