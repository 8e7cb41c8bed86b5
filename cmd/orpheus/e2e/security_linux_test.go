package e2e

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
)

// TestAttack21ReachForTheHost commits, for services that run, what the node's
// policy does not allow: they stay as they were, and status says which setting
// decides.
func TestAttack21ReachForTheHost(t *testing.T) {
	n := newNode(t, devfleet.Options{LocalPath: true, Config: "policy: {hostPaths: [/]}\napi: {address: '127.0.0.1:17717'}\n"})
	n.push("app:1", "1")
	n.agent()
	attacks := []struct {
		name string
		spec spec
		says []string
	}{
		{"own-state", spec{more: hostPath(n.StateDir())}, []string{n.StateDir(), "agent's own"}},
		{"own-socket", spec{more: hostPath(filepath.Dir(n.Socket()))}, []string{"agent's own"}},
		{"containerd-socket", spec{more: hostPath(filepath.Dir(n.Containerd.Address))}, []string{"agent's own"}},
		{"whole-host", spec{more: hostPath("/")}, []string{"agent's own"}},
		{"device", spec{more: "  devices: [/dev/kmsg]\n"}, []string{"/dev/kmsg", "policy.devices"}},
		{"privileged", spec{more: "  securityContext: {privileged: true}\n"}, []string{"policy.privileged"}},
		{"capability", spec{more: "  securityContext: {capabilities: {add: [SYS_ADMIN]}}\n"}, []string{"SYS_ADMIN", "policy.capabilities"}},
		{"host-network", spec{more: "  network: host\n"}, []string{"policy.hostNetwork"}},
		{"own-port", spec{more: "  ports: [{containerPort: 80, publish: 17717}]\n", env: map[string]string{"NEW": "1"}}, []string{"17717", "agent's own"}},
	}
	good, bad := map[string]string{"fleet.yaml": fleetYAML}, map[string]string{}
	for _, a := range attacks {
		good[a.name+".yaml"] = n.manifest(spec{name: a.name})
		a.spec.name = a.name
		bad[a.name+".yaml"] = n.manifest(a.spec)
	}
	good["metadata.yaml"] = n.manifest(spec{name: "metadata"})
	bad["metadata.yaml"] = imageOf("metadata", "169.254.169.254/latest/meta-data:1")
	good["process.yaml"] = n.manifest(spec{name: "process"})
	bad["process.yaml"] = fmt.Sprintf("apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: process}\nspec: {driver: process, command: [%s]}\n", n.Payload)
	n.apply("all good", good)
	before := n.lives()

	hash := n.commit("all bad", bad)
	st := n.await("all are refused", func(st *api.Status) string {
		if st.Repository.Applied.Hash != hash {
			return "not applied"
		}
		for _, s := range st.Services {
			if s.Message == "" {
				return s.Name + " has no message"
			}
		}
		return ""
	})
	for _, a := range attacks {
		contains(t, "message of "+a.name, service(st, a.name).Message, append(a.says, "refuse")...)
	}
	contains(t, "message of metadata", service(st, "metadata").Message, "169.254.169.254", "registries in the agent")
	contains(t, "message of process", service(st, "process").Message, "process", "policy.drivers")
	n.untouched("what they ask for is refused", before)
	out, _ := n.orpheus("status", "--socket", n.Socket(), "privileged")
	contains(t, "orpheus status privileged", out, "policy.privileged")
	contains(t, "the agent's log", n.agentLog(), "refused", "policy.hostNetwork")
}

func hostPath(path string) string {
	return fmt.Sprintf("  volumes: [{name: host, hostPath: {path: %s}}]\n  volumeMounts: [{name: host, mountPath: /host}]\n", path)
}

func imageOf(name, image string) string {
	return fmt.Sprintf("apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: %s}\nspec: {image: %q}\n", name, image)
}
