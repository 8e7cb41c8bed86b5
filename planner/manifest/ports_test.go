package manifest

import (
	"reflect"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

// A port may be opened by several of the nodes'. It is several ports then, the
// first of which is that of the service's address; what the instance is made
// from does not change.
func TestPublishedSeveralTimes(t *testing.T) {
	web := func(ports string) planner.Desired {
		return load(t, newTree(map[string]string{"fleet.yaml": goodFleet, "web.yaml": "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: web}\nspec: {image: 'web:1', ports: [" + ports + "]}\n"}))
	}
	id := planner.ServiceID{Namespace: "default", Name: "web"}
	one := web("{name: http, containerPort: 80}").Services[id]
	d := web("{name: http, containerPort: 80, port: 8000, publish: [8080, {port: 8081, address: 127.0.0.1, mode: node}, {port: 8082}]}")
	several := d.Services[id]
	want := []planner.Port{
		{Name: "http", Container: 80, Protocol: "tcp", Port: 8000, Publish: &planner.Publish{Port: 8080}},
		{Name: "http", Container: 80, Protocol: "tcp", Publish: &planner.Publish{Port: 8081, Mode: "node", Address: "127.0.0.1"}},
		{Name: "http", Container: 80, Protocol: "tcp", Publish: &planner.Publish{Port: 8082}},
	}
	if !reflect.DeepEqual(several.Ports, want) || several.Revision != one.Revision {
		t.Errorf("%+v, revision %s, %v; want %+v and %s", several.Ports, several.Revision, d.Faults, want, one.Revision)
	}
	d = web("{containerPort: 80, publish: [8080, {port: 8080, address: 127.0.0.1}]}, {containerPort: 81, publish: [81]}")
	if len(d.Faults) != 2 || !strings.Contains(d.Faults[1].String(), "spec.ports[0].publish[1]: port 8080/tcp of the node is wanted also by service web") {
		t.Errorf("one port of the node twice: %v", d.Faults)
	}
}
