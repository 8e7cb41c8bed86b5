package compose

// topKeys are those of a file.
var topKeys = []key{
	{path: "version", support: silent, says: "is obsolete: it means nothing in Compose either"},
	{path: "name", says: "the namespace of the services, unless `x-orpheus.namespace` names one"},
	{path: "include", says: "resolved in the repository"},
	{path: "include[].env_file", says: "read from the repository"},
	{path: "include[].path", says: "relative to the file that says so, in the repository"},
	{path: "include[].project_directory", says: "in the repository"},
	{path: "services", says: "one manifest of kind Service for each that is enabled"},
	{path: "models", support: refused, whole: true, says: "there is nobody to run them", remedy: "run the model as a service"},
	{path: "jobs", support: refused, whole: true, says: "kind Job comes with a later version", remedy: "remove them; what runs once before a service has that service depend on it by service_completed_successfully"},
	{path: "networks", says: "names of what services use, see `services.*.networks`"},
	{path: "volumes", says: "a `local` volume of the slot: a folder on the disk of its node"},
	{path: "configs", says: "files that services mount"},
	{path: "secrets", says: "files that services mount"},
}

// deployKeys are those of Swarm.
var deployKeys = []key{
	{path: "deploy", says: "Swarm's meaning"},
	{path: "deploy.endpoint_mode", says: "`endpointMode`"},
	{path: "deploy.labels", says: "annotations, as `labels`"},
	{path: "deploy.mode", support: partly, says: "`replicated`; `global` is `everyNode`; jobs are refused"},
	{path: "deploy.placement", says: "see the keys below it"},
	{path: "deploy.placement.constraints", support: partly, says: "`node.labels.X==Y`, `node.hostname==X`, `node.platform.os==` and `arch==` are a `nodeSelector`; workers are all nodes, which is a warning; `!=`, managers, `node.id` and `engine.labels` are refused"},
	{path: "deploy.placement.max_replicas_per_node", support: partly, says: "`0`: replicas are spread over nodes anyway"},
	{path: "deploy.placement.preferences", says: "`topologySpreadConstraints`, as a wish"},
	{path: "deploy.placement.preferences[].spread", support: partly, says: "`node.labels.X`"},
	{path: "deploy.replicas", says: "`replicas`"},
	{path: "deploy.resources", says: "`resources`"},
	{path: "deploy.resources.limits", says: "`resources.limits`"},
	{path: "deploy.resources.limits.cpus", says: "`cpu`, in thousandths"},
	{path: "deploy.resources.limits.memory", says: "`memory`"},
	{path: "deploy.resources.limits.pids", says: "`pids`"},
	{path: "deploy.resources.reservations", says: "`resources.requests`"},
	{path: "deploy.resources.reservations.cpus", says: "`cpu`, in thousandths"},
	{path: "deploy.resources.reservations.devices", support: refused, whole: true, says: "GPUs and the like are not given to instances", remedy: "name the device in devices, where the driver needs no more"},
	{path: "deploy.resources.reservations.generic_resources", support: refused, whole: true, says: "nodes have no resources of this kind", remedy: "give the nodes that have it a label, and write deploy.placement.constraints"},
	{path: "deploy.resources.reservations.memory", says: "`memory`"},
	{path: "deploy.restart_policy", support: partly, says: "see the keys below it"},
	{path: "deploy.restart_policy.condition", support: partly, says: "`any`; a server (ports, a healthcheck, or waited for to run) with `none` or `on-failure` runs for ever, with a warning. Else these are refused, but for what runs to its end before another"},
	{path: "deploy.restart_policy.delay", support: noEffect, says: "what ends is started again at once, then after 1 s, doubling to 5 min", remedy: "remove it"},
	{path: "deploy.restart_policy.max_attempts", support: partly, says: "`0`: nothing is given up; of a server another number is a warning"},
	{path: "deploy.restart_policy.window", support: noEffect, says: "what has run for 10 minutes counts as started well", remedy: "remove it"},
	{path: "deploy.rollback_config", support: noEffect, whole: true, says: "a release that fails goes back within the budget of update_config", remedy: "remove it"},
	{path: "deploy.update_config", says: "`update`, with Swarm's defaults; without it those of [rollouts](manifest.md#rollouts)"},
	{path: "deploy.update_config.delay", says: "`minReadySeconds`, rounded up: the longer of `delay` and `monitor`"},
	{path: "deploy.update_config.failure_action", support: partly, says: "`pause`, the default, is `autoRevert: false`; `rollback` is `autoRevert: true`; `continue` is refused"},
	{path: "deploy.update_config.max_failure_ratio", support: partly, says: "`0`"},
	{path: "deploy.update_config.monitor", says: "`minReadySeconds`, 5 s by default; see `delay`"},
	{path: "deploy.update_config.order", says: "`stop-first`, the default, or `start-first`"},
	{path: "deploy.update_config.parallelism", says: "`maxUnavailable`, with `start-first` `maxSurge`; `0` is all at once"},
}

var networkKeys = []key{
	{path: "attachable", support: silent, says: "there is one network"},
	{path: "driver", support: partly, says: "`bridge` and `overlay`: there is one network"},
	{path: "driver_opts", support: partly, says: "`com.docker.network.*` with a warning; others, `encrypted` among them, are refused"},
	{path: "enable_ipv4", support: silent, says: "instances have IPv4"},
	{path: "enable_ipv6", support: silent, says: "instances have IPv6 where their node has it"},
	{path: "external", support: noEffect, says: "there is one network, and services of other projects are reached as NAME.NAMESPACE", remedy: "remove it, and write the namespace behind such names"},
	{path: "external.name", support: silent, says: "see `external`"},
	{path: "internal", support: partly, says: "`false`: instances reach what their node reaches"},
	{path: "ipam", support: noEffect, whole: true, says: "addresses are given by the nodes", remedy: "remove it"},
	{path: "labels", support: silent, says: "nobody reads them"},
	{path: "name", support: silent, says: "there is one network"},
}

var volumeKeys = []key{
	{path: "driver", support: partly, says: "`local`"},
	{path: "driver_opts", support: partly, says: "none: storage of other kinds is mounted on the nodes"},
	{path: "external", support: partly, says: "`false`"},
	{path: "external.name", support: silent, says: "see `external`"},
	{path: "labels", support: silent, says: "nobody reads them"},
	{path: "name", support: silent, says: "the volume belongs to the slot, and has the name of its key"},
}

var configKeys = []key{
	{path: "content", says: "the content of the file"},
	{path: "environment", says: "the value of a variable of the fleet"},
	{path: "external", support: partly, says: "`false`"},
	{path: "external.name", support: silent, says: "see `external`"},
	{path: "file", says: "in the repository; an absolute path is one of the node"},
	{path: "labels", support: silent, says: "nobody reads them"},
	{path: "name", support: silent, says: "nobody reads it"},
	{path: "template_driver", support: refused, says: "files are mounted as they are", remedy: "remove it, and write content: with ${NAME} for variables"},
}

var secretKeys = []key{
	{path: "driver", support: refused, says: "secrets are files", remedy: "write file: /etc/NAME for a file that the node has"},
	{path: "driver_opts", support: refused, whole: true, says: "secrets are files", remedy: "remove it"},
	{path: "environment", support: partly, says: "refused: nothing is read from the environment of a process"},
	{path: "external", support: partly, says: "`false`"},
	{path: "external.name", support: silent, says: "see `external`"},
	{path: "file", support: partly, says: "an absolute path is one of the node; else in the repository, with a warning: it holds it in plain text"},
	{path: "labels", support: silent, says: "nobody reads them"},
	{path: "name", support: silent, says: "nobody reads it"},
	{path: "template_driver", support: refused, says: "files are mounted as they are", remedy: "remove it"},
}
