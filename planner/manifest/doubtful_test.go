package manifest

import (
	"strings"
	"testing"
)

// What is sound and hardly meant is worth a warning, and runs.
func TestDoubtfulNamesAndPorts(t *testing.T) {
	service := func(meta, spec string) string {
		return "apiVersion: orpheus/v1\nkind: Service\nmetadata: " + meta + "\nspec: {image: \"registry.example.com/web:1\", " + spec + "}\n"
	}
	const web = "{name: web}"
	for _, c := range []struct{ meta, spec, want string }{
		{web, "ports: [{containerPort: 80, publish: 80}]", ""},
		{web, "ports: [{containerPort: 80, publish: 19999}]", ""},
		{web, "ports: [{containerPort: 80, publish: 30000}]", ""},
		// The instances' own port may be any.
		{web, "ports: [{containerPort: 20000, port: 7718}]", ""},
		{web, "ports: [{containerPort: 80, publish: 20000}]", "spec.ports[0].publish: port 20000 is one of those (20000-29999)"},
		{web, "ports: [{containerPort: 80, publish: {port: 29999, mode: node}}]", "spec.ports[0].publish: port 29999 is one of those"},
		{web, "ports: [{containerPort: 80, publish: 7718}]", "spec.ports[0].publish: port 7718 is where agents listen"},
		{web, `ports: [{containerPort: 80, publish: {port: 80, address: "::1"}}]`, "spec.ports[0].publish.address: no node opens a port on ::1"},
		// What listens on the node itself may do so there.
		{web, `network: host, ports: [{containerPort: 80, publish: {port: 80, address: "::1"}}]`, ""},
		{web, "endpointMode: dnsrr, sessionAffinity: ClientIP, ports: [{containerPort: 80}]", "spec.sessionAffinity: changes nothing"},
		// Behind a published port the kernel chooses.
		{web, "endpointMode: dnsrr, sessionAffinity: ClientIP, ports: [{containerPort: 80, publish: 80}]", ""},
		{"{name: localhost}", "", "metadata.name: programs take localhost for their own machine"},
		{`{name: "8080"}`, "", `metadata.name: programs take "8080" for an IPv4 address`},
		{"{name: web2}", "", ""},
		{"{name: go, namespace: dev}", "", "metadata.namespace: is a top-level domain: on the fleet's nodes go.dev is this service"},
		{"{name: printer, namespace: local}", "", "metadata.namespace: is a top-level domain"},
		{"{name: web, namespace: shop}", "", ""},
	} {
		d := load(t, newTree(map[string]string{"fleet.yaml": fleetOf("{}"), "web.yaml": service(c.meta, c.spec)}))
		if len(d.Services) != 1 {
			t.Errorf("%s %s is held back:\n%s", c.meta, c.spec, lines(d.Faults))
		}
		if c.want == "" && len(d.Faults) > 0 || c.want != "" && (len(d.Faults) != 1 || !d.Faults[0].Warning || !strings.Contains(lines(d.Faults), c.want)) {
			t.Errorf("%s %s, want %q:\n%s", c.meta, c.spec, c.want, lines(d.Faults))
		}
	}
}
