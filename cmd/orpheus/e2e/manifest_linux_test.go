package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/planner"
)

const fleetYAML = "apiVersion: orpheus/v1\nkind: Fleet\nmetadata: {name: e2e}\nspec: {pollInterval: 1s}\n"

// spec is a service of the payload, as it is written for either driver.
type spec struct {
	name     string
	image    string   // name:tag in the fleet's registry; "" = app:1
	args     []string // mode of the payload; none = serve on any free port
	replicas int      // 0 = 1
	env      map[string]string
	more     string // further lines of spec, as they are
}

// manifest writes a service's file.
func (n *node) manifest(s spec) string { return s.manifest(n.Hub, n.driver) }

func (s spec) manifest(hub *devfleet.Hub, driver string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: %s}\nspec:\n  replicas: %d\n", s.name, max(1, s.replicas))
	env := map[string]string{}
	if len(s.args) == 0 {
		s.args, env["PORT"] = []string{"serve"}, "0"
	}
	maps.Copy(env, s.env)
	args := strings.Join(s.args, ", ")
	if driver == planner.DriverProcess {
		fmt.Fprintf(&b, "  driver: process\n  command: [%s, %s]\n", hub.Payload, args)
	} else {
		if s.image == "" {
			s.image = "app:1"
		}
		fmt.Fprintf(&b, "  image: %s/%s\n  args: [%s]\n", hub.Registry.Host, s.image, args)
	}
	for i, name := range slices.Sorted(maps.Keys(env)) {
		if i == 0 {
			b.WriteString("  env:\n")
		}
		fmt.Fprintf(&b, "  - {name: %s, value: %q}\n", name, env[name])
	}
	return b.String() + s.more
}

// push puts an image that calls itself by its tag into the registry, if there
// is one, and returns its digest.
func (n *node) push(nameTag, version string) string {
	n.t.Helper()
	if n.Registry == nil {
		return ""
	}
	_, digest, err := n.PushImage(nameTag, version)
	if err != nil {
		n.t.Fatal(err)
	}
	return digest
}
