//go:build linux

package main

import "fmt"

// port is where web is published, on each node that runs some of it.
const port = 8000

// fleetManifest names the nodes, so that the first of them need not wait for
// others that it does not know of.
const fleetManifest = `apiVersion: orpheus/v1
kind: Fleet
metadata: {name: demo}
spec: {nodes: [node-1, node-2, node-3]}
`

// published reports whether web has a port. A process has its node's network:
// two of them on a node would want the same port.
func (s *story) published() bool { return s.Registry != nil }

func (s *story) webManifest(version string) string {
	if s.Registry == nil {
		return fmt.Sprintf(`apiVersion: orpheus/v1
kind: Service
metadata: {name: web}
spec:
  replicas: %d
  driver: process
  command: [%s, serve]
  env:
  - {name: VERSION, value: "%s"}
  - {name: PORT, value: "0"}
`, slots["web"], s.Payload, version)
	}
	return fmt.Sprintf(`apiVersion: orpheus/v1
kind: Service
metadata: {name: web}
spec:
  replicas: %d
  image: %s/web:%s
  ports:
  - {name: http, containerPort: 8080, publish: %d}
  resources: {limits: {memory: 64Mi}}
`, slots["web"], s.Registry.Host, version, port)
}

func (s *story) workerManifest() string {
	const head = "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: worker}\nspec:\n  replicas: %d\n"
	if s.Registry == nil {
		return fmt.Sprintf(head+"  driver: process\n  command: [%s, lines]\n", slots["worker"], s.Payload)
	}
	return fmt.Sprintf(head+"  image: %s/web:1\n  args: [lines]\n", slots["worker"], s.Registry.Host)
}
