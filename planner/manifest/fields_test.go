package manifest

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// documented is a field as docs/manifest.md must show it.
type documented struct {
	section  string // "Fleet", "Node", "Service", "Container", "Probe" or "Hook"
	path     string
	restarts bool
	later    bool
	unread   bool // known by name only
	group    bool // only holds others
}

// documentedFields walks the schemas.
func documentedFields() []documented {
	var all []documented
	var walk func(section, prefix string, infos []fieldInfo, later bool)
	walk = func(section, prefix string, infos []fieldInfo, later bool) {
		for _, f := range infos {
			path := prefix + f.name
			if f.list {
				path += "[]"
			}
			refused := later || f.later
			if len(f.children) == 0 || f.itself || f.section != "" {
				all = append(all, documented{section, path, f.restarts, refused, f.later && !f.restarts && len(f.children) == 0, false})
			} else {
				all = append(all, documented{section: section, path: path, restarts: f.restarts, later: refused, group: true})
			}
			if f.section == "" {
				walk(section, path+".", f.children, refused)
			}
		}
	}
	walk("Fleet", "", fleetSchema.infos(), false)
	walk("Node", "", nodeSchema.infos(), false)
	// The fields of a container stand in spec as well: they have a table of
	// their own.
	flat := map[string]bool{}
	for _, f := range containerFields {
		flat[f.name] = true
	}
	service := serviceSchema.infos()
	for i := range service {
		if service[i].name == "spec" {
			service[i].children = slices.DeleteFunc(slices.Clone(service[i].children), func(f fieldInfo) bool { return flat[f.name] })
		}
	}
	walk("Service", "", service, false)
	walk("Container", "", containerSchema.infos(), false)
	walk("Probe", "", markRestarts(probeSchema.infos()), false)
	walk("Hook", "", hookSchema.infos(), false)
	return all
}

// changes says, for each field, how a manifest looks before and after a change
// of it. Between two fragments of spec stands what surrounds them: see body.
var changes = map[string][2]string{
	"Service apiVersion":                                  {}, // has one value
	"Service kind":                                        {}, // has one value
	"Service metadata.name":                               {"metadata: {name: a}\nspec: {image: \"w:1\"}", "metadata: {name: b}\nspec: {image: \"w:1\"}"},
	"Service metadata.namespace":                          {"metadata: {name: a}\nspec: {image: \"w:1\"}", "metadata: {name: a, namespace: b}\nspec: {image: \"w:1\"}"},
	"Service metadata.labels":                             {"metadata: {name: a, labels: {a: b}}\nspec: {image: \"w:1\"}", "metadata: {name: a, labels: {a: c}}\nspec: {image: \"w:1\"}"},
	"Service metadata.annotations":                        {"metadata: {name: a, annotations: {a: b}}\nspec: {image: \"w:1\"}", "metadata: {name: a, annotations: {a: c}}\nspec: {image: \"w:1\"}"},
	`Service metadata.annotations["orpheus/restartedAt"]`: {"metadata: {name: a, annotations: {orpheus/restartedAt: a}}\nspec: {image: \"w:1\"}", "metadata: {name: a, annotations: {orpheus/restartedAt: b}}\nspec: {image: \"w:1\"}"},

	"Service spec.restartPolicy":                                 {`restartPolicy: Always`, `replicas: 1`},
	"Service spec.replicas":                                      {`replicas: 1`, `replicas: 2`},
	"Service spec.everyNode":                                     {`everyNode: false`, `everyNode: true`},
	"Service spec.nodeSelector":                                  {`nodeSelector: {a: b}`, `nodeSelector: {a: c}`},
	"Service spec.tolerations[].key":                             {`tolerations: [{key: a}]`, `tolerations: [{key: b}]`},
	"Service spec.tolerations[].operator":                        {`tolerations: [{key: a}]`, `tolerations: [{key: a, operator: Exists}]`},
	"Service spec.tolerations[].value":                           {`tolerations: [{key: a}]`, `tolerations: [{key: a, value: b}]`},
	"Service spec.tolerations[].effect":                          {`tolerations: [{key: a}]`, `tolerations: [{key: a, effect: NoSchedule}]`},
	"Service spec.topologySpreadConstraints[].topologyKey":       {`topologySpreadConstraints: [{topologyKey: a}]`, `topologySpreadConstraints: [{topologyKey: b}]`},
	"Service spec.topologySpreadConstraints[].maxSkew":           {`topologySpreadConstraints: [{topologyKey: a}]`, `topologySpreadConstraints: [{topologyKey: a, maxSkew: 2}]`},
	"Service spec.topologySpreadConstraints[].whenUnsatisfiable": {`topologySpreadConstraints: [{topologyKey: a}]`, `topologySpreadConstraints: [{topologyKey: a, whenUnsatisfiable: ScheduleAnyway}]`},
	"Service spec.driver":                                        {"metadata: {name: a}\nspec: {image: \"w:1\", command: [a]}", "metadata: {name: a}\nspec: {driver: process, command: [a]}"},
	"Service spec.initContainers[]":                              {`command: [a]`, `command: [a], initContainers: [{name: i, image: "i:1"}]`},
	"Service spec.containers[]":                                  {"metadata: {name: a}\nspec: {containers: [{name: a, image: \"w:1\"}]}", "metadata: {name: a}\nspec: {containers: [{name: a, image: \"w:1\"}, {name: b, image: \"w:1\"}]}"},
	"Service spec.volumes[].name":                                {`volumes: [{name: a, local: {}}]`, `volumes: [{name: b, local: {}}]`},
	"Service spec.volumes[].local":                               {`volumes: [{name: a, local: {}}]`, `volumes: [{name: a, emptyDir: {}}]`},
	"Service spec.volumes[].emptyDir":                            {`volumes: [{name: a, emptyDir: {}}]`, `volumes: [{name: a, local: {}}]`},
	"Service spec.volumes[].emptyDir.medium":                     {`volumes: [{name: a, emptyDir: {}}]`, `volumes: [{name: a, emptyDir: {medium: Memory}}]`},
	"Service spec.volumes[].emptyDir.sizeLimit":                  {`volumes: [{name: a, emptyDir: {medium: Memory, sizeLimit: 1Mi}}]`, `volumes: [{name: a, emptyDir: {medium: Memory, sizeLimit: 2Mi}}]`},
	"Service spec.volumes[].hostPath":                            {`volumes: [{name: a, hostPath: {path: /a}}]`, `volumes: [{name: a, local: {}}]`},
	"Service spec.volumes[].hostPath.path":                       {`volumes: [{name: a, hostPath: {path: /a}}]`, `volumes: [{name: a, hostPath: {path: /b}}]`},
	"Service spec.volumes[].file":                                {`volumes: [{name: a, file: app.conf}]`, `volumes: [{name: a, file: everything.yaml}]`},
	"Service spec.network":                                       {`replicas: 1`, `network: host`},
	"Service spec.endpointMode":                                  {`endpointMode: vip`, `endpointMode: dnsrr`},
	"Service spec.sessionAffinity":                               {`sessionAffinity: None`, `sessionAffinity: ClientIP`},
	"Service spec.imagePorts":                                    {`imagePorts: false`, `imagePorts: true`},
	"Service spec.aliases[]":                                     {`aliases: [one], imagePorts: true`, `aliases: [two], imagePorts: true`},
	"Service spec.hostname":                                      {`hostname: a`, `hostname: b`},
	"Service spec.hostAliases[].ip":                              {`hostAliases: [{ip: 10.0.0.1, hostnames: [a]}]`, `hostAliases: [{ip: node, hostnames: [a]}]`},
	"Service spec.hostAliases[].hostnames[]":                     {`hostAliases: [{ip: 10.0.0.1, hostnames: [a]}]`, `hostAliases: [{ip: 10.0.0.1, hostnames: [b]}]`},
	"Service spec.dns.servers[]":                                 {`dns: {servers: [10.0.0.1]}`, `dns: {servers: [10.0.0.2]}`},
	"Service spec.dns.search[]":                                  {`dns: {search: [a.example]}`, `dns: {search: [.]}`},
	"Service spec.dns.options[]":                                 {`dns: {options: ["ndots:1"]}`, `dns: {options: ["ndots:2"]}`},
	"Service spec.sysctls[].name":                                {`sysctls: [{name: net.a, value: "1"}]`, `sysctls: [{name: net.b, value: "1"}]`},
	"Service spec.sysctls[].value":                               {`sysctls: [{name: net.a, value: "1"}]`, `sysctls: [{name: net.a, value: "2"}]`},
	"Service spec.terminationGracePeriodSeconds":                 {`terminationGracePeriodSeconds: 1`, `terminationGracePeriodSeconds: 2`},

	"Service spec.update.order":             {`replicas: 1`, `update: {order: stopFirst}`},
	"Service spec.update.maxSurge":          {`replicas: 1`, `update: {maxSurge: 2}`},
	"Service spec.update.maxUnavailable":    {`replicas: 1`, `update: {maxUnavailable: 25%}`},
	"Service spec.update.steps[].slots":     {`update: {steps: [{slots: 1}]}`, `update: {steps: [{slots: 2}]}`},
	"Service spec.update.steps[].pause":     {`update: {steps: [{slots: 1}]}`, `update: {steps: [{slots: 1, pause: 1m}]}`},
	"Service spec.update.steps[].approve":   {`update: {steps: [{slots: 1}]}`, `update: {steps: [{slots: 1, approve: true}]}`},
	"Service spec.update.promoted":          {`replicas: 1`, `update: {promoted: r1-01234567}`},
	"Service spec.update.autoRevert":        {`replicas: 1`, `update: {autoRevert: false}`},
	"Service spec.minReadySeconds":          {`replicas: 1`, `minReadySeconds: 10`},
	"Service spec.progressDeadlineSeconds":  {`replicas: 1`, `progressDeadlineSeconds: 60`},
	"Service spec.reschedule.failures":      {`replicas: 1`, `reschedule: {failures: 3}`},
	"Service spec.reschedule.withinSeconds": {`replicas: 1`, `reschedule: {withinSeconds: 60}`},
	"Service spec.dependsOn":                {`replicas: 1`, `dependsOn: [db]`},
	"Service spec.hooks.preRollout":         {`replicas: 1`, `hooks: {preRollout: {command: [a]}}`},
	"Service spec.hooks.postRollout":        {`replicas: 1`, `hooks: {postRollout: {command: [a]}}`},

	"Service spec.suspend":        {`replicas: 1`, `suspend: {until: 2026-12-24T18:00:00Z, reason: a}`},
	"Service spec.suspend.until":  {`suspend: {until: 2026-12-24T18:00:00Z, reason: a}`, `suspend: {until: "2026-12-24T19:00:00Z", reason: a}`},
	"Service spec.suspend.reason": {`suspend: {until: 2026-12-24T18:00:00Z, reason: a}`, `suspend: {until: 2026-12-24T18:00:00Z, reason: b}`},
	"Service spec.mode":           {`mode: enforce`, `mode: observe`},

	"Hook container":                            {pod + `{command: [a]}}}`, pod + `{command: [a], container: b}}}`},
	"Hook image":                                {hooked + `}}`, hooked + `, image: "w:2"}}`},
	"Hook command[]":                            {hooked + `}}`, `hooks: {preRollout: {command: [b]}}`},
	"Hook args[]":                               {hooked + `}}`, hooked + `, args: [a]}}`},
	"Hook env[].name":                           {hooked + `}}`, hooked + `, env: [{name: A}]}}`},
	"Hook env[].value":                          {hooked + `}}`, hooked + `, env: [{name: A, value: a}]}}`},
	"Hook env[].valueFrom":                      {hooked + `}}`, hooked + `, env: [{name: A, valueFrom: {secretKeyRef: {name: a, key: a}}}]}}`},
	"Hook env[].valueFrom.secretKeyRef":         {hooked + `}}`, hooked + `, env: [{name: A, valueFrom: {secretKeyRef: {name: a, key: a}}}]}}`},
	"Hook env[].valueFrom.secretKeyRef.name":    {hooked + `}}`, hooked + `, env: [{name: A, valueFrom: {secretKeyRef: {name: b, key: a}}}]}}`},
	"Hook env[].valueFrom.secretKeyRef.key":     {hooked + `}}`, hooked + `, env: [{name: A, valueFrom: {secretKeyRef: {name: a, key: b}}}]}}`},
	"Hook env[].valueFrom.configMapKeyRef":      {hooked + `}}`, hooked + `, env: [{name: A, valueFrom: {configMapKeyRef: {name: a, key: a}}}]}}`},
	"Hook env[].valueFrom.configMapKeyRef.name": {hooked + `}}`, hooked + `, env: [{name: A, valueFrom: {configMapKeyRef: {name: b, key: a}}}]}}`},
	"Hook env[].valueFrom.configMapKeyRef.key":  {hooked + `}}`, hooked + `, env: [{name: A, valueFrom: {configMapKeyRef: {name: a, key: b}}}]}}`},
	"Hook resources.requests.cpu":               {hooked + `}}`, hooked + `, resources: {requests: {cpu: 1}}}}`},
	"Hook resources.requests.memory":            {hooked + `}}`, hooked + `, resources: {requests: {memory: 1Mi}}}}`},
	"Hook resources.limits.cpu":                 {hooked + `}}`, hooked + `, resources: {limits: {cpu: 1}}}}`},
	"Hook resources.limits.memory":              {hooked + `}}`, hooked + `, resources: {limits: {memory: 1Mi}}}}`},
	"Hook resources.limits.pids":                {hooked + `}}`, hooked + `, resources: {limits: {pids: 1}}}}`},
	"Hook volumeMounts[].name":                  {hookSees + `[{name: a, mountPath: /a}]}}`, hookSees + `[{name: b, mountPath: /a}]}}`},
	"Hook volumeMounts[].mountPath":             {hookSees + `[{name: a, mountPath: /a}]}}`, hookSees + `[{name: a, mountPath: /b}]}}`},
	"Hook volumeMounts[].readOnly":              {hookSees + `[{name: a, mountPath: /a}]}}`, hookSees + `[{name: a, mountPath: /a, readOnly: true}]}}`},
	"Hook timeoutSeconds":                       {hooked + `}}`, hooked + `, timeoutSeconds: 60}}`},

	"Container name":                                          {"metadata: {name: a}\nspec: {containers: [{name: a, image: \"w:1\"}]}", "metadata: {name: a}\nspec: {containers: [{name: b, image: \"w:1\"}]}"},
	"Container image":                                         {"metadata: {name: a}\nspec: {image: \"w:1\"}", "metadata: {name: a}\nspec: {image: \"w:2\"}"},
	"Container command[]":                                     {`command: [a]`, `command: [b]`},
	"Container args[]":                                        {`args: [a]`, `args: [b]`},
	"Container workingDir":                                    {`workingDir: /a`, `workingDir: /b`},
	"Container env[].name":                                    {`env: [{name: A}]`, `env: [{name: B}]`},
	"Container env[].value":                                   {`env: [{name: A, value: a}]`, `env: [{name: A, value: b}]`},
	"Container env[].valueFrom":                               {`env: [{name: A}]`, `env: [{name: A, valueFrom: {secretKeyRef: {name: a, key: a}}}]`},
	"Container env[].valueFrom.secretKeyRef":                  {`env: [{name: A, valueFrom: {secretKeyRef: {name: a, key: a}}}]`, `env: [{name: A, valueFrom: {configMapKeyRef: {name: a, key: a}}}]`},
	"Container env[].valueFrom.secretKeyRef.name":             {`env: [{name: A, valueFrom: {secretKeyRef: {name: a, key: a}}}]`, `env: [{name: A, valueFrom: {secretKeyRef: {name: b, key: a}}}]`},
	"Container env[].valueFrom.secretKeyRef.key":              {`env: [{name: A, valueFrom: {secretKeyRef: {name: a, key: a}}}]`, `env: [{name: A, valueFrom: {secretKeyRef: {name: a, key: b}}}]`},
	"Container env[].valueFrom.configMapKeyRef":               {`env: [{name: A}]`, `env: [{name: A, valueFrom: {configMapKeyRef: {name: a, key: a}}}]`},
	"Container env[].valueFrom.configMapKeyRef.name":          {`env: [{name: A, valueFrom: {configMapKeyRef: {name: a, key: a}}}]`, `env: [{name: A, valueFrom: {configMapKeyRef: {name: b, key: a}}}]`},
	"Container env[].valueFrom.configMapKeyRef.key":           {`env: [{name: A, valueFrom: {configMapKeyRef: {name: a, key: a}}}]`, `env: [{name: A, valueFrom: {configMapKeyRef: {name: a, key: b}}}]`},
	"Container ports[].name":                                  {`ports: [{name: a, containerPort: 1}]`, `ports: [{name: b, containerPort: 1}]`},
	"Container ports[].containerPort":                         {`ports: [{containerPort: 1}]`, `ports: [{containerPort: 2}]`},
	"Container ports[].protocol":                              {`ports: [{containerPort: 1}]`, `ports: [{containerPort: 1, protocol: UDP}]`},
	"Container ports[].port":                                  {`ports: [{containerPort: 1, port: 1}]`, `ports: [{containerPort: 1, port: 2}]`},
	"Container ports[].publish":                               {`ports: [{containerPort: 1}]`, `ports: [{containerPort: 1, publish: 1}]`},
	"Container ports[].publish.port":                          {`ports: [{containerPort: 1, publish: {port: 1}}]`, `ports: [{containerPort: 1, publish: {port: 2}}]`},
	"Container ports[].publish.mode":                          {`ports: [{containerPort: 1, publish: {port: 1}}]`, `ports: [{containerPort: 1, publish: {port: 1, mode: node}}]`},
	"Container ports[].publish.address":                       {`ports: [{containerPort: 1, publish: {port: 1}}]`, `ports: [{containerPort: 1, publish: {port: 1, address: 127.0.0.1}}]`},
	"Container resources.requests.cpu":                        {`resources: {requests: {cpu: 1}}`, `resources: {requests: {cpu: 2}}`},
	"Container resources.requests.memory":                     {`resources: {requests: {memory: 1Mi}}`, `resources: {requests: {memory: 2Mi}}`},
	"Container resources.limits.cpu":                          {`resources: {limits: {cpu: 1}}`, `resources: {limits: {cpu: 2}}`},
	"Container resources.limits.memory":                       {`resources: {limits: {memory: 1Mi}}`, `resources: {limits: {memory: 2Mi}}`},
	"Container resources.limits.pids":                         {`resources: {limits: {pids: 1}}`, `resources: {limits: {pids: 2}}`},
	"Container volumeMounts[].name":                           {mounts + `{name: a, mountPath: /a}]`, mounts + `{name: b, mountPath: /a}]`},
	"Container volumeMounts[].mountPath":                      {mounts + `{name: a, mountPath: /a}]`, mounts + `{name: a, mountPath: /b}]`},
	"Container volumeMounts[].readOnly":                       {mounts + `{name: a, mountPath: /a}]`, mounts + `{name: a, mountPath: /a, readOnly: true}]`},
	"Container devices[]":                                     {`devices: [/dev/a]`, `devices: [/dev/b]`},
	"Container securityContext.runAsUser":                     {`securityContext: {}`, `securityContext: {runAsUser: 0}`},
	"Container securityContext.runAsGroup":                    {`securityContext: {}`, `securityContext: {runAsGroup: 0}`},
	"Container securityContext.readOnlyRootFilesystem":        {`securityContext: {}`, `securityContext: {readOnlyRootFilesystem: true}`},
	"Container securityContext.privileged":                    {`securityContext: {}`, `securityContext: {privileged: true}`},
	"Container securityContext.allowPrivilegeEscalation":      {`securityContext: {}`, `securityContext: {allowPrivilegeEscalation: true}`},
	"Container securityContext.capabilities.add[]":            {`securityContext: {}`, `securityContext: {capabilities: {add: [CHOWN]}}`},
	"Container securityContext.capabilities.drop[]":           {`securityContext: {}`, `securityContext: {capabilities: {drop: [CHOWN]}}`},
	"Container stopSignal":                                    {`stopSignal: SIGINT`, `stopSignal: SIGQUIT`},
	"Container init":                                          {`init: true`, ``},
	"Container ulimits[].name":                                {`ulimits: [{name: core, soft: 0}]`, `ulimits: [{name: nproc, soft: 0}]`},
	"Container ulimits[].soft":                                {`ulimits: [{name: core, soft: 0, hard: 1}]`, `ulimits: [{name: core, soft: 1, hard: 1}]`},
	"Container ulimits[].hard":                                {`ulimits: [{name: core, soft: 0}]`, `ulimits: [{name: core, soft: 0, hard: -1}]`},
	"Container securityContext.supplementalGroups[]":          {`securityContext: {supplementalGroups: [1]}`, `securityContext: {supplementalGroups: [1, 2]}`},
	"Container securityContext.runAsUserName":                 {`securityContext: {runAsUserName: a}`, `securityContext: {runAsUserName: b}`},
	"Container startupProbe":                                  {`replicas: 1`, `startupProbe: {exec: {command: [a]}}`},
	"Container livenessProbe":                                 {`replicas: 1`, `livenessProbe: {exec: {command: [a]}}`},
	"Container readinessProbe":                                {`replicas: 1`, `readinessProbe: {exec: {command: [a]}}`},
	"Container lifecycle":                                     {`replicas: 1`, `lifecycle: {preStop: {exec: {command: [a]}}}`},
	"Container lifecycle.preStop":                             {`replicas: 1`, `lifecycle: {preStop: {exec: {command: [a]}}}`},
	"Container lifecycle.preStop.httpGet":                     {`lifecycle: {preStop: {httpGet: {port: 1}}}`, `lifecycle: {preStop: {sleep: {seconds: 1}}}`},
	"Container lifecycle.preStop.httpGet.path":                {`lifecycle: {preStop: {httpGet: {port: 1}}}`, `lifecycle: {preStop: {httpGet: {port: 1, path: /a}}}`},
	"Container lifecycle.preStop.httpGet.port":                {`lifecycle: {preStop: {httpGet: {port: 1}}}`, `lifecycle: {preStop: {httpGet: {port: 2}}}`},
	"Container lifecycle.preStop.httpGet.host":                {`lifecycle: {preStop: {httpGet: {port: 1}}}`, `lifecycle: {preStop: {httpGet: {port: 1, host: a}}}`},
	"Container lifecycle.preStop.httpGet.scheme":              {`lifecycle: {preStop: {httpGet: {port: 1}}}`, `lifecycle: {preStop: {httpGet: {port: 1, scheme: HTTPS}}}`},
	"Container lifecycle.preStop.httpGet.httpHeaders[].name":  {`lifecycle: {preStop: {httpGet: {port: 1, httpHeaders: [{name: A, value: a}]}}}`, `lifecycle: {preStop: {httpGet: {port: 1, httpHeaders: [{name: B, value: a}]}}}`},
	"Container lifecycle.preStop.httpGet.httpHeaders[].value": {`lifecycle: {preStop: {httpGet: {port: 1, httpHeaders: [{name: A, value: a}]}}}`, `lifecycle: {preStop: {httpGet: {port: 1, httpHeaders: [{name: A, value: b}]}}}`},
	"Container lifecycle.preStop.sleep":                       {`lifecycle: {preStop: {sleep: {seconds: 1}}}`, `lifecycle: {preStop: {httpGet: {port: 1}}}`},
	"Container lifecycle.preStop.sleep.seconds":               {`lifecycle: {preStop: {sleep: {seconds: 1}}}`, `lifecycle: {preStop: {sleep: {seconds: 2}}}`},
	"Container lifecycle.preStop.exec.command[]":              {`lifecycle: {preStop: {exec: {command: [a]}}}`, `lifecycle: {preStop: {exec: {command: [b]}}}`},

	"Probe httpGet":                       {`livenessProbe: {httpGet: {port: 1}}`, `livenessProbe: {tcpSocket: {port: 1}}`},
	"Probe httpGet.path":                  {`livenessProbe: {httpGet: {port: 1}}`, `livenessProbe: {httpGet: {port: 1, path: /a}}`},
	"Probe httpGet.port":                  {`livenessProbe: {httpGet: {port: 1}}`, `livenessProbe: {httpGet: {port: 2}}`},
	"Probe httpGet.host":                  {`livenessProbe: {httpGet: {port: 1}}`, `livenessProbe: {httpGet: {port: 1, host: a}}`},
	"Probe httpGet.scheme":                {`livenessProbe: {httpGet: {port: 1}}`, `livenessProbe: {httpGet: {port: 1, scheme: HTTPS}}`},
	"Probe httpGet.httpHeaders[].name":    {`livenessProbe: {httpGet: {port: 1, httpHeaders: [{name: A, value: a}]}}`, `livenessProbe: {httpGet: {port: 1, httpHeaders: [{name: B, value: a}]}}`},
	"Probe httpGet.httpHeaders[].value":   {`livenessProbe: {httpGet: {port: 1, httpHeaders: [{name: A, value: a}]}}`, `livenessProbe: {httpGet: {port: 1, httpHeaders: [{name: A, value: b}]}}`},
	"Probe tcpSocket":                     {`livenessProbe: {tcpSocket: {port: 1}}`, `livenessProbe: {grpc: {port: 1}}`},
	"Probe tcpSocket.port":                {`livenessProbe: {tcpSocket: {port: 1}}`, `ports: [{name: a, containerPort: 1}], livenessProbe: {tcpSocket: {port: a}}`},
	"Probe tcpSocket.host":                {`livenessProbe: {tcpSocket: {port: 1}}`, `livenessProbe: {tcpSocket: {port: 1, host: a}}`},
	"Probe grpc":                          {`livenessProbe: {grpc: {port: 1}}`, `livenessProbe: {exec: {command: [a]}}`},
	"Probe grpc.port":                     {`livenessProbe: {grpc: {port: 1}}`, `livenessProbe: {grpc: {port: 2}}`},
	"Probe grpc.service":                  {`livenessProbe: {grpc: {port: 1}}`, `livenessProbe: {grpc: {port: 1, service: a}}`},
	"Probe exec":                          {`livenessProbe: {exec: {command: [a]}}`, `livenessProbe: {grpc: {port: 1}}`},
	"Probe exec.command[]":                {`livenessProbe: {exec: {command: [a]}}`, `livenessProbe: {exec: {command: [b]}}`},
	"Probe initialDelaySeconds":           {`livenessProbe: {grpc: {port: 1}, initialDelaySeconds: 1}`, `livenessProbe: {grpc: {port: 1}, initialDelaySeconds: 2}`},
	"Probe periodSeconds":                 {`livenessProbe: {grpc: {port: 1}, periodSeconds: 1}`, `livenessProbe: {grpc: {port: 1}, periodSeconds: 2}`},
	"Probe timeoutSeconds":                {`livenessProbe: {grpc: {port: 1}, timeoutSeconds: 1}`, `livenessProbe: {grpc: {port: 1}, timeoutSeconds: 2}`},
	"Probe successThreshold":              {`livenessProbe: {grpc: {port: 1}, successThreshold: 1}`, `livenessProbe: {grpc: {port: 1}, successThreshold: 2}`},
	"Probe terminationGracePeriodSeconds": {`livenessProbe: {grpc: {port: 1}}`, `livenessProbe: {grpc: {port: 1}, terminationGracePeriodSeconds: 1}`},
	"Probe failureThreshold":              {`livenessProbe: {grpc: {port: 1}, failureThreshold: 1}`, `livenessProbe: {grpc: {port: 1}, failureThreshold: 2}`},
}

const mounts = `volumes: [{name: a, local: {}}, {name: b, local: {}}], volumeMounts: [`

const hooked = `hooks: {preRollout: {command: [a]`

const hookSees = `volumes: [{name: a, emptyDir: {}}, {name: b, emptyDir: {}}], hooks: {preRollout: {command: [a], volumeMounts: `

const pod = "metadata: {name: a}\nspec: {containers: [{name: a, image: \"w:1\"}, {name: b, image: \"w:2\"}], hooks: {preRollout: "

// body makes a document of a fragment of spec.
func body(fragment string) string {
	if strings.HasPrefix(fragment, "metadata:") {
		return fragment
	}
	return "metadata: {name: a}\nspec: {image: \"w:1\", " + fragment + "}"
}

// Exactly the fields that are marked so restart a service.
func TestFieldsThatRestart(t *testing.T) {
	fields := append(documentedFields(), documented{section: "Service", path: `metadata.annotations["orpheus/restartedAt"]`, restarts: true})
	seen := map[string]bool{}
	for _, f := range fields {
		if f.section == "Fleet" || f.section == "Node" || f.unread || f.group {
			continue // no part of any service, of none yet, or said of its fields
		}
		name := f.section + " " + f.path
		change, ok := changes[name]
		seen[name] = true
		if !ok {
			t.Errorf("no row for %s", name)
			continue
		}
		if change[0] == "" {
			continue
		}
		before, after := serviceOf(t, body(change[0])), serviceOf(t, body(change[1]))
		if f.section == "Hook" && reflect.DeepEqual(before.Hooks, after.Hooks) {
			t.Errorf("%s changes no hook", name)
		}
		if changed := before.Revision != after.Revision; changed != f.restarts {
			t.Errorf("%s: revision changed = %v, marked as restarting = %v", name, changed, f.restarts)
		}
	}
	for name := range changes {
		if !seen[name] {
			t.Errorf("row %s is for no field", name)
		}
	}
}

// docs/manifest.md has one row for each field of the schema, no other, and
// says truly what restarts and what is not supported.
func TestDocumentationMatchesSchema(t *testing.T) {
	page, err := os.ReadFile("../../docs/manifest.md")
	if err != nil {
		t.Fatal(err)
	}
	const notSupported = "Not supported by this version"
	rows, section := map[string][]string{}, ""
	for line := range strings.Lines(string(page)) {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			section = strings.TrimSpace(title)
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if name, ok := strings.CutPrefix(cells[0], "`"); ok && len(cells) == 5 {
			key := section + " " + strings.TrimSuffix(name, "`")
			if rows[key] != nil {
				t.Errorf("two rows for %s", key)
			}
			rows[key] = cells
		}
	}
	fields := append(documentedFields(), documented{section: "Service", path: `metadata.annotations["orpheus/restartedAt"]`, restarts: true})
	for _, f := range fields {
		key := f.section + " " + f.path
		row := rows[key]
		delete(rows, key)
		if row == nil {
			t.Errorf("%s is not documented", key)
			continue
		}
		want := map[bool]string{true: "yes", false: "no"}[f.restarts]
		if f.unread {
			want = "–"
		}
		if f.group {
			want = ""
		}
		if row[3] != want {
			t.Errorf("%s: the column Restarts says %q, want %q", key, row[3], want)
		}
		if says := strings.Contains(row[4], notSupported); says != f.later {
			t.Errorf("%s: documented as not supported = %v, is %v", key, says, f.later)
		}
	}
	for key := range rows {
		t.Errorf("%s is documented and does not exist", key)
	}
}
