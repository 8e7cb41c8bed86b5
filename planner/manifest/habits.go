package manifest

import (
	"strings"

	yaml "go.yaml.in/yaml/v3"
)

// containerHabits are fields of containers that Kubernetes and Compose have
// and we have not, with what to write instead.
var containerHabits = []string{
	"restartPolicy", "write it directly in spec: it is that of the service",
	"imagePullPolicy", "remove it: an image is pulled once per revision and pinned to its digest",
	"pull_policy", "remove it: an image is pulled once per revision and pinned to its digest",
	"envFrom", "list the variables in env",
	"env_file", "list the variables in env",
	"environment", "list the variables in env, each as {name: NAME, value: TEXT}",
	"entrypoint", "write it as command; what Compose calls command is called args",
	"build", "remove it: build the image, push it, and name it in image",
	"user", "write securityContext: {runAsUser: NUMBER} or {runAsUserName: NAME}",
	"group_add", "write securityContext: {supplementalGroups: [NUMBER]}",
	"hostAliases", "write it directly in spec: containers of a service share it",
	"dns", "write it directly in spec: containers of a service share it",
	"sysctls", "write it directly in spec: containers of a service share it",
	"privileged", "write securityContext: {privileged: true}",
	"read_only", "write securityContext: {readOnlyRootFilesystem: true}",
	"cap_add", "write securityContext: {capabilities: {add: [NAME]}}",
	"cap_drop", "write securityContext: {capabilities: {drop: [NAME]}}",
	"mem_limit", "write resources: {limits: {memory: 256Mi}}",
	"cpus", "write resources: {limits: {cpu: 500m}}",
	"pids_limit", "write resources: {limits: {pids: 100}}",
	"expose", "list it in ports as {containerPort: PORT}",
	"tmpfs", "use a volume with emptyDir: {medium: Memory}",
	"healthcheck", "write livenessProbe and readinessProbe",
	"tty", "remove it",
	"stdin", "remove it",
}

// parallel is the remedy for how many instances are replaced at once.
const parallel = "write maxSurge: NUMBER; with order: stopFirst, maxUnavailable: NUMBER"

// recreate is the remedy for services all of whose instances end first.
const recreate = "where it is Recreate, write update: {order: stopFirst, maxUnavailable: 100%}"

// rolloutHabits are fields of spec by which others say how changes are made.
var rolloutHabits = []string{
	"strategy", "write update: {maxSurge: 1, maxUnavailable: 0}; " + recreate,
	"updateStrategy", "write update: {maxUnavailable: 1}; " + recreate,
	"update_config", "write update: {order: startFirst, maxSurge: 1}",
	"updateConfig", "write update: {order: startFirst, maxSurge: 1}",
	"rollback_config", "remove it: update.autoRevert goes back the way a change comes",
	"rollbackConfig", "remove it: update.autoRevert goes back the way a change comes",
	"migrate", "remove it: moves are within the budget of update.maxSurge and update.maxUnavailable",
	"paused", "write suspend: {until: TIME, reason: TEXT}",
	"revisionHistoryLimit", "remove it: the last 20 revisions are kept",
	"depends_on", "write dependsOn: [NAME], or dependsOn: {NAME: ready}",
	"lifecycleHooks", "write hooks: {preRollout: {command: [PROGRAM]}}",
}

// updateHabits are fields of spec.update that Compose, Kubernetes and Nomad
// have instead of ours.
var updateHabits = []string{
	"parallelism", parallel,
	"max_parallel", parallel,
	"delay", "write minReadySeconds: SECONDS in spec: an instance must be ready for so long before the next follows",
	"stagger", "write minReadySeconds: SECONDS in spec: an instance must be ready for so long before the next follows",
	"monitor", "write minReadySeconds: SECONDS in spec: an instance that fails within it ends the rollout",
	"min_healthy_time", "write minReadySeconds: SECONDS in spec",
	"healthy_deadline", "write progressDeadlineSeconds: SECONDS in spec",
	"progress_deadline", "write progressDeadlineSeconds: SECONDS in spec",
	"minReadySeconds", "write it directly in spec",
	"progressDeadlineSeconds", "write it directly in spec",
	"health_check", "remove it: the container's readinessProbe counts",
	"failure_action", "write autoRevert: true (the default) where it is rollback, autoRevert: false where it is pause",
	"max_failure_ratio", "remove it: one instance that fails ends the rollout",
	"auto_revert", "write autoRevert: true, which is the default, or autoRevert: false",
	"canary", "write steps: [{slots: NUMBER, approve: true}]",
	"canaries", "write steps: [{slots: NUMBER, approve: true}]",
	"partition", "write steps: [{slots: NUMBER, approve: true}]",
	"auto_promote", "write steps: [{slots: NUMBER, pause: 10m}]",
	"rollingUpdate", "write maxSurge and maxUnavailable directly in update",
	"type", "remove it; where it is Recreate, write order: stopFirst and maxUnavailable: 100%",
}

// stepHabits are the same for spec.update.steps.
var stepHabits = []string{
	"setWeight", "write slots: 25%",
	"weight", "write slots: 25%",
	"percent", "write slots: 25%",
	"replicas", "write slots: NUMBER",
	"count", "write slots: NUMBER",
	"duration", "write pause: 10m",
	"promote", "write approve: true",
	"manual", "write approve: true",
}

// rescheduleHabits are the fields of Nomad's reschedule.
var rescheduleHabits = []string{
	"attempts", "write failures: NUMBER",
	"interval", "write withinSeconds: SECONDS",
	"within", "write withinSeconds: SECONDS",
	"delay", "remove it: a slot moves at once",
	"delay_function", "remove it: a slot moves at once",
	"max_delay", "remove it: a slot moves at once",
	"unlimited", "remove it; failures: 0 is never",
}

// hooksHabits are other names of hooks.
var hooksHabits = []string{
	"preSync", "write preRollout", "pre_sync", "write preRollout",
	"preUpgrade", "write preRollout", "pre-upgrade", "write preRollout",
	"preInstall", "write preRollout", "pre-install", "write preRollout",
	"preDeploy", "write preRollout", "pre_deploy", "write preRollout",
	"postSync", "write postRollout", "post_sync", "write postRollout",
	"postUpgrade", "write postRollout", "post-upgrade", "write postRollout",
	"postInstall", "write postRollout", "post-install", "write postRollout",
	"postDeploy", "write postRollout", "post_deploy", "write postRollout",
}

// hookHabits are fields of jobs, and those of containers that a hook takes as
// they are.
var hookHabits = []string{
	"name", "write container: NAME for the container it is derived from",
	"entrypoint", "write it as command",
	"environment", "list the variables in env, each as {name: NAME, value: TEXT}",
	"backoffLimit", "remove it: a hook runs once",
	"restartPolicy", "remove it: a hook runs once",
	"activeDeadlineSeconds", "write timeoutSeconds: SECONDS",
	"timeout", "write timeoutSeconds: SECONDS",
	"volumes", "list them in spec.volumes, and what the hook sees of them in volumeMounts",
	"securityContext", "remove it: a hook has that of its container",
	"ulimits", "remove it: a hook has those of its container",
	"workingDir", "remove it: a hook has that of its container",
	"ports", "remove it: nobody connects to a hook",
	"startupProbe", "remove it: a hook ends by itself",
	"livenessProbe", "remove it: a hook ends by itself",
	"readinessProbe", "remove it: a hook ends by itself",
	"lifecycle", "remove it: a hook ends by itself",
}

// stranger says what a document is that does not claim to be ours, and what
// its writer may do.
func stranger(root, api, kind *yaml.Node) (reason, remedy string) {
	if services := lookup(root, "services"); api == nil && services != nil && services.Kind == yaml.MappingNode {
		return "it is a Compose file that spec.compose does not list",
			"add its path to spec.compose of fleet.yaml, or " + ignoreIt
	}
	if api == nil || api.Kind != yaml.ScalarNode {
		return "it has no apiVersion", ignoreIt
	}
	reason = "apiVersion is " + quote(api.Value) + ", not " + apiVersion
	if kind == nil || strings.HasPrefix(api.Value, "orpheus") {
		return reason, ignoreIt
	}
	switch kind.Value {
	case "Deployment", "StatefulSet", "ReplicaSet", "Pod":
		remedy = "write a Service of " + apiVersion + " with what describes its containers directly in spec"
	case "DaemonSet":
		remedy = "write a Service of " + apiVersion + " with everyNode: true and what describes its containers directly in spec"
	case "Service", "Ingress":
		remedy = "write publish on a port of the Service of " + apiVersion + " that runs it"
	case "ConfigMap":
		remedy = "keep its data in files, and use volumes with file: PATH"
	default:
		return reason, ignoreIt
	}
	return reason, remedy + "; or " + ignoreIt
}
