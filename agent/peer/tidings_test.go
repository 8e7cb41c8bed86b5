package peer

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

// serving makes an announcement of n instances with ports each.
func serving(incarnation string, number uint64, n, ports int) planner.Announcement {
	a := planner.Announcement{Incarnation: incarnation, Serving: number}
	for k := range n {
		i := planner.ServingInstance{
			Slot:     planner.SlotID{Service: planner.ServiceID{Namespace: "default", Name: fmt.Sprintf("web-service-%d", k)}, Name: "0"},
			Revision: "r1-0123456789abcdef",
		}
		for p := range ports {
			i.Endpoints = append(i.Endpoints, planner.Endpoint{Container: 8080 + p, Host: 20000 + k*ports + p})
		}
		a.Instances = append(a.Instances, i)
	}
	return a
}

func TestAnnouncementFrames(t *testing.T) {
	tests := []struct {
		name string
		a    planner.Announcement
		left int
	}{
		{"nothing", serving("x", 1, 0, 0), 0},
		{"one", serving("x", 1, 1, 1), 0},
		{"a headless instance", serving("x", 1, 1, 0), 0},
		// The largest that a node of ours is built for.
		{"500 instances with 3 ports", serving("x", 1, 500, 3), 0},
		{"too many", serving("x", 1, maxInstances+10, 0), 10},
	}
	for _, tt := range tests {
		frame, left, err := encodeAnnouncement(tt.a)
		if err != nil || left != tt.left {
			t.Errorf("%s: %d left out, %v", tt.name, left, err)
			continue
		}
		body, err := readLong(bytes.NewReader(frame), maxAnnouncement)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		got, err := decodeAnnouncement(body)
		tt.a.Instances = tt.a.Instances[:len(tt.a.Instances)-left]
		if err != nil || len(got.Instances) != len(tt.a.Instances) || len(got.Instances) > 0 && !reflect.DeepEqual(got, tt.a) {
			t.Errorf("%s: %d of %d instances arrive, %v", tt.name, len(got.Instances), len(tt.a.Instances), err)
		}
		t.Logf("%s: %d bytes", tt.name, len(frame))
	}
	// More than a frame holds: as many as fit.
	frame, left, err := encodeAnnouncement(serving("x", 1, 2000, 20))
	if err != nil || left == 0 || len(frame) > maxAnnouncement {
		t.Errorf("too long: %d bytes, %d left out, %v", len(frame), left, err)
	}
}

// TestAttackAnnouncement: what no node can say is refused as a whole.
func TestAttackAnnouncement(t *testing.T) {
	instance := func(slot, revision, endpoints string) string {
		return `{"incarnation":"x","serving":1,"instances":[{"slot":` + slot + `,"revision":"` + revision + `","endpoints":` + endpoints + `}]}`
	}
	const web = `{"service":{"namespace":"default","name":"web"},"name":"0"}`
	tests := []struct {
		name, body string
		ok         bool
	}{
		{"an instance", instance(web, "r1-a", `[{"port":80,"hostPort":20000},{"port":80,"protocol":"udp","hostPort":20000}]`), true},
		// Of later versions.
		{"unknown fields", `{"incarnation":"x","serving":1,"mood":"good"}`, true},
		{"no JSON", "GET / HTTP/1.1", false},
		{"of no process", `{"serving":1}`, false},
		{"of no number", `{"incarnation":"x"}`, false},
		{"a number that nothing is above", `{"incarnation":"x","serving":18446744073709551615}`, false},
		{"an incarnation with an escape", `{"incarnation":"\u001b[2J","serving":1}`, false},
		{"a path for a namespace", instance(`{"service":{"namespace":"../a","name":"web"},"name":"0"}`, "r1-a", `[]`), false},
		{"another shard for a name", instance(`{"service":{"namespace":"default","name":"web+1"},"name":"0"}`, "r1-a", `[]`), false},
		{"an escape for a slot", instance(`{"service":{"namespace":"default","name":"web"},"name":"\u001b"}`, "r1-a", `[]`), false},
		{"no slot", instance(`{"service":{"namespace":"default","name":"web"}}`, "r1-a", `[]`), false},
		{"a sentence for a revision", instance(web, "drop table", `[]`), false},
		{"port 0", instance(web, "r1-a", `[{"port":80,"hostPort":0}]`), false},
		{"a port below 0", instance(web, "r1-a", `[{"port":-1,"hostPort":20000}]`), false},
		{"a port too high", instance(web, "r1-a", `[{"port":80,"hostPort":65536}]`), false},
		{"a port that is none", instance(web, "r1-a", `[{"port":80.5,"hostPort":20000}]`), false},
		{"too many ports", instance(web, "r1-a", "["+strings.TrimSuffix(strings.Repeat(`{"port":80,"hostPort":20000},`, 65), ",")+"]"), false},
		{"too many instances", `{"incarnation":"x","serving":1,"instances":[` + strings.TrimSuffix(strings.Repeat("{},", 2001), ",") + `]}`, false},
	}
	for _, tt := range tests {
		if _, err := decodeAnnouncement([]byte(tt.body)); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if _, err := readLong(bytes.NewReader([]byte{255, 255, 255, 255}), maxAnnouncement); err == nil {
		t.Error("4 GiB at once are read")
	}
}

func FuzzAnnouncement(f *testing.F) {
	f.Add([]byte(`{"incarnation":"x","serving":1,"instances":[{"slot":{"service":{"namespace":"default","name":"web"},"name":"0"},"revision":"r1-a","endpoints":[{"port":80,"hostPort":20000}]}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := decodeAnnouncement(body)
		if err != nil {
			return
		}
		if _, left, err := encodeAnnouncement(a); err != nil || left > 0 && len(body) < maxAnnouncement/2 {
			t.Errorf("what was read cannot be said: %d left, %v", left, err)
		}
	})
}
