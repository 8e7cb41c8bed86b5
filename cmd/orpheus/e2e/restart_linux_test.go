package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/runtime/containerd/imagetest"
)

// TestRestart: on a node that stands alone a service is restarted with the image
// it runs, and with what its tag stands for now, although the agent is killed in
// the midst of it. The registry wants credentials, which docker's configuration
// has.
func TestRestart(t *testing.T) {
	const secret = "s3cret-of-the-registry"
	dockerConfig := filepath.Join(t.TempDir(), "config.json")
	n := newNode(t, devfleet.Options{
		LocalPath: true, Config: "dockerConfig: " + dockerConfig + "\n",
		Registry: imagetest.RegistryOptions{User: "node", Secret: secret, Bearer: true},
	})
	auths := fmt.Sprintf(`{"auths": {%q: {"username": "node", "password": %q}}}`, n.Registry.Host, secret)
	if err := os.WriteFile(dockerConfig, []byte(auths), 0o600); err != nil {
		t.Fatal(err)
	}
	first := n.push("app:1", "1")
	n.agent()
	n.apply("first", map[string]string{
		"fleet.yaml": fleetYAML,
		"web.yaml":   n.manifest(spec{name: "web", replicas: 2}),
		"db.yaml":    n.manifest(spec{name: "db"}),
	})
	begin := n.lives()

	second := n.push("app:1", "2")
	restart := func(flags ...string) string {
		t.Helper()
		out, code := n.orpheus(append([]string{"restart", "web", "--socket", n.Socket()}, flags...)...)
		if code != 0 {
			t.Fatalf("orpheus restart: %d: %s", code, out)
		}
		return out
	}
	contains(t, "what restart says", restart(), "web restarts: its 2 instances are replaced one after the other")
	n.await("web is restarted", replaced(begin, first))
	n.untouched("web was restarted", begin, "web")

	middle := n.lives()
	out := restart("--pull")
	n.kill()
	contains(t, "what restart --pull says", out, n.Registry.Host+"/app:1 was "+first+" and is "+second)
	n.agent()
	n.await("web is restarted with the new image, by the agent after the one that was asked", replaced(middle, second))
	n.untouched("web was restarted", begin, "web")

	end := n.lives()
	n.kill()
	n.agent()
	n.apply("something else", map[string]string{"mail.yaml": n.manifest(spec{name: "mail"})})
	n.untouched("web was restarted long ago", end)
	contains(t, "what restart says of a tag that has not moved", restart("--pull"), n.Registry.Host+"/app:1 is what it was, "+second)
	n.await("web is restarted once more", replaced(end, second))
	if strings.Contains(n.agentLog(), secret) {
		t.Error("the agent's log holds the secret")
	}
}

// replaced asks that both instances of web are others than before, and of an
// image.
func replaced(before map[string]life, digest string) func(*api.Status) string {
	return func(st *api.Status) string {
		web := service(st, "web")
		if web.Ready != 2 || web.Updated != 2 || len(web.Instances) != 2 {
			return fmt.Sprintf("web has %d ready of revision %s in %d instances: %s", web.Ready, web.Revision, len(web.Instances), web.Message)
		}
		for _, i := range web.Instances {
			if before["web/"+i.Slot].ID == i.ID {
				return i.ID + " is there still"
			}
			for ref, d := range i.Images {
				if d != digest {
					return fmt.Sprintf("%s runs %s of %s, not %s", i.ID, d, ref, digest)
				}
			}
		}
		return ""
	}
}
