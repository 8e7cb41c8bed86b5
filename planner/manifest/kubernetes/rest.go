package kubernetes

import (
	"strings"

	yaml "go.yaml.in/yaml/v3"
)

// otherKinds are kinds that become nothing, and why.
var otherKinds = map[string]struct {
	group          group
	reason, remedy string
}{
	"Namespace":           {harmless, "is not needed: a namespace is there with its first service", ""},
	"ServiceAccount":      {harmless, "is not needed: there is no API that a service could ask", ""},
	"Role":                {harmless, "is not needed: there is no API that a service could ask", ""},
	"RoleBinding":         {harmless, "is not needed: there is no API that a service could ask", ""},
	"ClusterRole":         {harmless, "is not needed: there is no API that a service could ask", ""},
	"ClusterRoleBinding":  {harmless, "is not needed: there is no API that a service could ask", ""},
	"PodDisruptionBudget": {harmless, "is not needed: update.maxUnavailable bounds drains and moves as well as rollouts", "compare it with spec.update of the service"},
	"StorageClass":        {harmless, "is not needed: local volumes are folders on the nodes' disks", ""},
	"PriorityClass":       {harmless, "has no counterpart: no service takes the place of another", ""},
	"IngressClass":        {harmless, "has no counterpart in this version", ""},
	"LimitRange":          {harmless, "is not applied: requests and limits are what each service says", ""},
	"Event":               {made, "is what happened in a cluster", ""},
	"Endpoints":           {made, "is made by the cluster for its Service", ""},
	"EndpointSlice":       {made, "is made by the cluster for its Service", ""},
	"ControllerRevision":  {made, "is made by the cluster for its workload", ""},

	"Secret":                {needed, "is not converted: secrets are not in this version, and a repository is no place for them in plain text", "have the program read them from a file of the node (hostPath)"},
	"Ingress":               {needed, "is not converted: there is no ingress in this version", "publish a port of a proxy that you run as a service"},
	"NetworkPolicy":         {needed, "is not converted: all services of a fleet can reach each other", "do not rely on it here"},
	"PersistentVolume":      {needed, "is not converted: storage here is local volumes and host paths", "mount its folder with hostPath, or copy its data into the local volume"},
	"ReplicaSet":            {needed, "is not converted: a Deployment is what keeps its revisions", "convert the Deployment that made it, or make it one"},
	"ReplicationController": {needed, "is not converted: a Deployment took its place in Kubernetes, too", "make it a Deployment"},
	"Pod":                   {needed, "is not converted: it runs once, and nothing replaces it", "convert what made it, or make it a Deployment"},
	"ResourceQuota":         {needed, "is not converted: there are no quotas of namespaces", "bound replicas and resources of the services"},
}

// rest says of a resource that became nothing of its own why.
func (c *converter) rest(r *resource) {
	v := r.value(c)
	v.metadata()
	tell := func(reason, remedy string, warning bool) {
		r.root.tick()
		c.note(r, r.root, r.path, reason, remedy, warning)
	}
	switch {
	case v.at("metadata", "ownerReferences").given() && !r.group.workload() && r.group != job:
		tell("is made by the cluster for what owns it", "leave it out", true)
	case r.group == job:
		asHook(v.at("spec", "template", "spec"), tell)
	case r.group == cronJob:
		tell("is not converted: there is no kind CronJob in this version", "run it with cron on a node ("+at(v.at("spec", "schedule").text())+"), or in a service that waits between its runs", false)
	case r.group == unknown:
		switch {
		case r.kind == "Kustomization":
			tell("is a recipe, not a manifest", "convert what comes out: kustomize build … | orpheus convert -", false)
		case strings.HasPrefix(v.at("apiVersion").text(), "orpheus/"):
			tell("is a manifest of Orpheus already", "leave it out", false)
		default:
			tell("is not converted: nothing is known of the kind", "ask whether the workload can do without", false)
		}
	case r.group == harmless || r.group == made:
		tell(otherKinds[r.kind].reason, otherKinds[r.kind].remedy, true)
	case r.group == needed:
		tell(otherKinds[r.kind].reason, otherKinds[r.kind].remedy, false)
	case c.unused[r]:
		c.leftOver(r, tell)
	}
}

func at(schedule string) string {
	if schedule == "" {
		return "at its times"
	}
	return "schedule " + quote(schedule)
}

// leftOver says why a resource that belongs to a workload found none.
func (c *converter) leftOver(r *resource, tell func(reason, remedy string, warning bool)) {
	switch r.group {
	case service:
		spec := r.value(c).at("spec")
		if name := spec.at("externalName").text(); name != "" {
			tell("is another name of "+quote(name)+", and services are all that has names here", "have those who call "+quote(r.name)+" call that, or give them hostAliases", false)
			return
		}
		if !spec.at("selector").given() {
			tell("has no selector: it leads to what is outside of the cluster", "have those who call "+quote(r.name)+" call that, or give them hostAliases", false)
			return
		}
		tell("selects nothing that was converted", "convert it together with its workload", false)
	case autoscaler:
		tell("scales nothing that was converted", "convert it together with its workload", false)
	case configMap:
		tell("is used by nothing that was converted", "convert it together with its workload", true)
	case claim:
		tell("is used by nothing that was converted", "", true)
	}
}

// asHook says why a Job is not converted, and how it would look as a hook.
func asHook(pod value, tell func(reason, remedy string, warning bool)) {
	const reason = "is not converted: there is no kind Job in this version"
	containers := pod.at("containers").items()
	if len(containers) != 1 || len(containers[0].at("command").items()) == 0 {
		tell(reason, "run its program by hand, or as a hook of a service: spec.hooks.preRollout", false)
		return
	}
	hook := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
	put := func(name string, n *yaml.Node) {
		hook.Content = append(hook.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: name}, n)
	}
	for _, name := range []string{"image", "command", "args"} {
		if v := containers[0].at(name); v.given() {
			put(name, plainYAML(v.n))
		}
	}
	if env := plainEnv(containers[0]); len(env.Content) > 0 {
		put("env", env)
	}
	text, err := yaml.Marshal(hook)
	if err != nil {
		tell(reason, "run its program by hand, or as a hook of a service: spec.hooks.preRollout", false)
		return
	}
	block := strings.Join(strings.Fields(string(text)), " ")
	tell(reason, "if it is to run once for each new revision of a service, give that one hooks: {preRollout: "+block+"}", false)
}

// plainEnv are the variables of a container that have a value.
func plainEnv(container value) *yaml.Node {
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for _, e := range container.at("env").items() {
		if e.at("value").given() {
			list.Content = append(list.Content, plainYAML(e.n))
		}
	}
	return list
}

// plainYAML is a value as YAML.
func plainYAML(n *node) *yaml.Node {
	switch n.tag {
	case "!!map":
		out := &yaml.Node{Kind: yaml.MappingNode}
		for i, name := range n.names {
			out.Content = append(out.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name}, plainYAML(n.children[i]))
		}
		return out
	case "!!seq":
		out := &yaml.Node{Kind: yaml.SequenceNode}
		for _, c := range n.children {
			out.Content = append(out.Content, plainYAML(c))
		}
		return out
	}
	out := &yaml.Node{Kind: yaml.ScalarNode, Tag: n.tag, Value: n.text}
	if n.tag == "!!str" {
		out.Style = yaml.DoubleQuotedStyle
	}
	return out
}

// unusedKey is said of a key of a ConfigMap of which others are used.
var unusedKey = known{"is used by nothing that was converted", "", true}

type known struct {
	reason, remedy string
	warning        bool
}

// knownFields are fields that have no counterpart, by their names, with what
// to say of them.
var knownFields = map[string]known{
	"affinity":                      {"is not converted: there is no affinity in this version", "use nodeSelector, taints and topologySpreadConstraints", false},
	"serviceAccountName":            {"is not needed: there is no API that a service could ask", "", true},
	"serviceAccount":                {"is not needed: there is no API that a service could ask", "", true},
	"automountServiceAccountToken":  {"there is no token to mount, and no API to use it with", "", true},
	"imagePullSecrets":              {"credentials of registries are those of the nodes", "see registries in the configuration of the agents", true},
	"priorityClassName":             {"there are no priorities: no service takes the place of another", "", true},
	"priority":                      {"there are no priorities: no service takes the place of another", "", true},
	"runtimeClassName":              {"all containers have the runtime of their node's driver", "a driver of your own is a plugin: docs/plugins.md", false},
	"schedulerName":                 {"there is no other scheduler", "", true},
	"activeDeadlineSeconds":         {"services run without end", "", true},
	"hostPID":                       {"is not in this version: a service sees its own processes only", "run it as a process of the node (driver: process)", false},
	"hostIPC":                       {"is not in this version", "run it as a process of the node (driver: process)", false},
	"shareProcessNamespace":         {"is not in this version: containers see their own processes only", "put what must see the others into their container", false},
	"hostUsers":                     {"there are no user namespaces in this version", "give runAsUser", false},
	"dnsConfig":                     {"is said otherwise here: instances ask their node, which knows the services and asks the name servers of dns, else the node's", "write dns: {servers: [ADDRESS], search: [DOMAIN], options: [OPTION]}, each in the place of what the node says", false},
	"subdomain":                     {"names of instances are SLOT.SERVICE", "", true},
	"setHostnameAsFQDN":             {"the host name is a single word", "", true},
	"readinessGates":                {"an instance is ready when its probes say so", "", false},
	"runtimeOverhead":               {"is not counted", "", true},
	"overhead":                      {"is not counted", "", true},
	"ephemeralContainers":           {"are not converted", "orpheus exec opens a shell in a container", true},
	"seLinuxOptions":                {"is not in this version", "", false},
	"appArmorProfile":               {"is not in this version: containers have the profile of their node's driver", "", false},
	"windowsOptions":                {"there are no Windows nodes", "", true},
	"procMount":                     {"is not in this version", "", false},
	"user":                          {"files of the repository are those of root, for all to read", "", true},
	"defaultUser":                   {"files of the repository are those of root, for all to read", "", true},
	"bindMountOptions":              {"are not in this version", "", false},
	"restartPolicyRules":            {"a container that ends has its whole instance started again", "", false},
	"schedulingGates":               {"nothing holds instances back", "hold the service, or leave replicas at 0", false},
	"schedulingGroup":               {"instances are placed one by one", "", true},
	"evictionResponders":            {"nobody is asked before work moves", "hooks and preStop come before the end of an instance", false},
	"hostnameOverride":              {"is not the host name here", "use hostname", false},
	"seLinuxChangePolicy":           {"is not in this version", "", true},
	"supplementalGroupsPolicy":      {"groups that the image gives its user count, too", "", true},
	"tty":                           {"is not in this version", "orpheus exec -it gives a terminal", true},
	"stdin":                         {"is not in this version", "orpheus exec -i reads from one", true},
	"stdinOnce":                     {"is not in this version", "orpheus exec -i reads from one", true},
	"volumeDevices":                 {"are not in this version", "a device of the node is devices: [/dev/NAME]", false},
	"postStart":                     {"is not in this version", "have the program do it, or an init container", false},
	"envFrom":                       {"is not converted", "write the variables out", false},
	"subPathExpr":                   {"is not in this version", "mount the whole volume", false},
	"mountPropagation":              {"is not in this version: mounts that come later on the node are not seen", "", false},
	"recursiveReadOnly":             {"is not in this version: what is mounted below may be written", "", true},
	"terminationGracePeriodSeconds": {"is not read here", "", true},
	"loadBalancerSourceRanges":      {"is not in this version: everybody reaches a published port", "restrict it with a firewall before the nodes", false},
	"externalIPs":                   {"is not in this version", "publish the port with an address", false},
	"externalName":                  {"is not in this version", "use the name itself, or hostAliases of those who call it", false},
	"loadBalancerIP":                {"addresses are those of the nodes", "", true},
	"loadBalancerClass":             {"addresses are those of the nodes", "", true},
	"healthCheckNodePort":           {"is not in this version", "have the balancer check the published port", true},
	"publishNotReadyAddresses":      {"only ready instances have names and connections", "", false},
	"timeoutSeconds":                {"is not read here", "", true},
	"ipFamilies":                    {"a service has addresses of both families, where its nodes have", "", true},
	"ipFamilyPolicy":                {"a service has addresses of both families, where its nodes have", "", true},
	"internalTrafficPolicy":         {"connections within the fleet go to all ready instances", "", true},
	"trafficDistribution":           {"connections within the fleet go to all ready instances", "", true},
	"topologyKeys":                  {"connections within the fleet go to all ready instances", "", true},
	"nodePort":                      {"is not the port that is published", "", true},
	"resourceClaims":                {"are not in this version", "a device of the node is devices: [/dev/NAME]", false},
	"claims":                        {"are not in this version", "a device of the node is devices: [/dev/NAME]", false},
	"ephemeral-storage":             {"space on disks is neither reserved nor bounded", "", true},
	"defaultMode":                   {"files of the repository are mounted with mode 0444", "", true},
	"mode":                          {"files of the repository are mounted with mode 0444", "", true},
	"partition":                     {"is not in this version", "a rollout rests at update.steps", false},
	"tolerationSeconds":             {"is not in this version: work moves when its node is gone or drained", "", true},
	"matchLabelKeys":                {"all instances of the service are counted", "", true},
	"minDomains":                    {"is not in this version", "", true},
	"nodeAffinityPolicy":            {"is not in this version", "", true},
	"nodeTaintsPolicy":              {"is not in this version", "", true},
	"ownerReferences":               {"has no meaning in a repository", "", true},
	"generateName":                  {"names are given", "", true},
}
