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
	"user", "write securityContext: {runAsUser: NUMBER}",
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

// stranger says what a document is that does not claim to be ours, and what
// its writer may do.
func stranger(root, api, kind *yaml.Node) (reason, remedy string) {
	if services := lookup(root, "services"); api == nil && services != nil && services.Kind == yaml.MappingNode {
		return "Compose files are not supported by this version",
			"write each of its services as one of " + apiVersion + ", or " + ignoreIt
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
