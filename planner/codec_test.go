package planner_test

import (
	"errors"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

const testKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0Qw1vLZbCnfk0IcQ0RUxqzF3nYc3n4mXKJx1Ql9f2A"

func fullNode() planner.NodeRecord {
	return planner.NodeRecord{
		Format: 1, Node: "web-1", Key: testKey,
		Life:  planner.Life{Machine: "m1", State: "s1", Boot: "b1"},
		Epoch: 7, Since: 5, Incarnation: "i1", Salt: "salt",
		Address: "[fe80::1]:7070", Labels: map[string]string{"zone": "a", "disk": "ssd"},
		Taints: []planner.Taint{{Key: "gpu", Effect: "NoSchedule"}},
		OS:     "linux", Arch: "amd64",
		Capacity: planner.ResourceList{CPUMillis: 4000, MemoryBytes: 1 << 40},
		Drivers:  []string{"containerd", "process"},
		Volumes:  []planner.SlotID{{Service: planner.ServiceID{Namespace: "default", Name: "db"}, Name: "0"}},
		Version:  "v1.2.3", Reads: [2]int{1, 1},
	}
}

func fullStatus() planner.NodeStatus {
	web := planner.ServiceID{Namespace: "default", Name: "web"}
	return planner.NodeStatus{
		Format: 1, Node: "web-1", Incarnation: "i1", Applied: "c1",
		Rejected: &planner.RejectedCommit{Commit: "c2", Reason: `web.yaml:3: "imaeg" <unknown>`},
		Instances: []planner.InstanceStatus{
			{Slot: planner.SlotID{Service: web, Name: "0"}, Token: 3, Revision: "r1-aa", Phase: planner.PhaseReady,
				Endpoints: []planner.Endpoint{{Container: 8080, Host: 20000}, {Container: 53, Protocol: "udp", Host: 20001}}},
			{Slot: planner.SlotID{Service: web, Name: "1"}, Revision: "r1-aa", Phase: planner.PhaseFailed, Reason: "exit code 1", Restarts: 4},
		},
		Refusals: []planner.Refusal{{Service: web, Revision: "r1-bb", Reason: "no such image"}},
		Images:   []planner.ResolvedImages{{Service: web, Revision: "r1-aa", Images: map[string]string{"nginx:1": "sha256:00"}}},
		Ended:    []planner.EndedSlot{{Slot: planner.SlotID{Service: web, Name: "0"}, Token: 2}},
		Pressure: []string{"disk"},
		Serving:  7,
	}
}

func fullDoc() planner.LeaseDoc {
	return planner.LeaseDoc{
		Format: 1, Service: planner.ServiceID{Namespace: "shop", Name: "web"},
		Commit: "0123456789012345678901234567890123456789", Generation: 2, By: "web-1", Tokens: 1<<62 - 1,
		Leases: []planner.Lease{
			{Slot: "0", Node: "web-1", Epoch: 7, Token: 3, Revision: "r1-aa"},
			{Slot: "0", Node: "web-2", Epoch: 1, Token: 9007199254740993, Revision: "r1-bb"},
			{Slot: "10", Node: "web-2", Epoch: 1, Token: 4, Revision: "r1-aa", Ending: true,
				Exclusive: &planner.Exclusive{Validity: 30 * time.Second, Grace: 10 * time.Second}},
			{Slot: "web-3", Node: "web-3", Epoch: 1, Token: 5, Revision: "r1-aa", Unknown: `{"colour":"red"}`},
		},
		Images:   map[planner.Revision]map[string]string{"r1-bb": {"nginx:2": "sha256:11"}, "r1-aa": {"nginx:1": "sha256:00", "a": "b"}},
		History:  []planner.Applied{{Revision: "r1-bb", Commit: "c2"}, {Revision: "r1-aa", Commit: "c1"}},
		Blocked:  []planner.Revision{"r1-cc"},
		LastGood: "r1-aa",
		Unknown:  `{"later":{"a":[1,18446744073709551615],"b":"<&>"},"zeal":null}`,
	}
}

func fullFleet() planner.FleetRecord {
	return planner.FleetRecord{Format: 1, Floor: "c1", Generation: 3, Tokens: 44, By: "web-1", Addresses: planner.Addresses{
		"shop/web":    {At: 65534, Slots: map[string]uint32{"0": 40000, "web-1": 40001}, Unknown: `{"later":{"a":[1]}}`},
		"default/web": {At: 1},
	}}
}

func TestBodiesRoundTrip(t *testing.T) {
	check := func(name string, value any, body string, parse func(string) (any, string, error)) {
		t.Helper()
		if strings.Contains(body, "\n\n") || strings.HasSuffix(body, "\n") {
			t.Errorf("%s: body has an empty line or ends in one:\n%s", name, body)
		}
		got, again, err := parse(body)
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, body)
			return
		}
		if !reflect.DeepEqual(got, value) {
			t.Errorf("%s: read\n%+v\nwant\n%+v", name, got, value)
		}
		if again != body {
			t.Errorf("%s: written again\n%s\nwant\n%s", name, again, body)
		}
		m, err := planner.ParseMessage(planner.Message{Subject: "s", Parts: []planner.Part{{Body: body}}}.String())
		if err != nil || len(m.Parts) != 1 || m.Parts[0].Body != body {
			t.Errorf("%s: the message does not hold the body: %v", name, err)
		}
	}
	check("node", fullNode(), fullNode().Body(), func(b string) (any, string, error) {
		v, err := planner.ParseNodeRecord(b)
		return v, v.Body(), err
	})
	check("status", fullStatus(), fullStatus().Body(), func(b string) (any, string, error) {
		v, err := planner.ParseNodeStatus(b)
		return v, v.Body(), err
	})
	check("doc", fullDoc(), fullDoc().Body(), func(b string) (any, string, error) {
		v, err := planner.ParseLeaseDoc(b)
		return v, v.Body(), err
	})
	check("fleet", fullFleet(), fullFleet().Body(), func(b string) (any, string, error) {
		v, err := planner.ParseFleetRecord(b)
		return v, v.Body(), err
	})
	fence := planner.Fence{Epoch: 8, Fenced: true, By: "web-2", Nonce: "n1", Reason: "no answer"}
	check("fence", fence, fence.Body(), func(b string) (any, string, error) {
		v, err := planner.ParseFence(b)
		return v, v.Body(), err
	})
	mark := planner.BeatMark{Challenge: true, Node: "web-1", By: "web-2", Replaced: planner.Ring("web-1", "s").At(3).Hash(), Nonce: "n"}
	check("mark", mark, mark.Body(), func(b string) (any, string, error) {
		v, err := planner.ParseBeatMark(b)
		return v, v.Body(), err
	})
}

// The form is for people who read git log: one field per line, one lease per
// line, fields of later versions last.
func TestBodyForm(t *testing.T) {
	const want = `{
  "format": 1,
  "service": {"namespace": "shop", "name": "web"},
  "commit": "0123456789012345678901234567890123456789",
  "generation": 2,
  "by": "web-1",
  "tokens": 4611686018427387903,
  "leases": [
    {"slot": "0", "node": "web-1", "epoch": 7, "token": 3, "revision": "r1-aa"},
    {"slot": "0", "node": "web-2", "epoch": 1, "token": 9007199254740993, "revision": "r1-bb"},
    {"slot": "10", "node": "web-2", "epoch": 1, "token": 4, "revision": "r1-aa", "ending": true, "exclusive": {"validity": 30000000000, "grace": 10000000000}},
    {"slot": "web-3", "node": "web-3", "epoch": 1, "token": 5, "revision": "r1-aa", "colour": "red"}
  ],
  "images": {"r1-aa":{"a":"b","nginx:1":"sha256:00"},"r1-bb":{"nginx:2":"sha256:11"}},
  "history": [
    {"revision": "r1-bb", "commit": "c2"},
    {"revision": "r1-aa", "commit": "c1"}
  ],
  "blocked": ["r1-cc"],
  "lastGood": "r1-aa",
  "later": {"a":[1,18446744073709551615],"b":"<&>"},
  "zeal": null
}`
	if got := fullDoc().Body(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Addresses are one service per line.
func TestFleetBodyForm(t *testing.T) {
	const want = `{
  "format": 1,
  "floor": "c1",
  "generation": 3,
  "tokens": 44,
  "addresses": {
    "default/web": {"at": 1},
    "shop/web": {"at": 65534, "slots": {"0":40000,"web-1":40001}, "later": {"a":[1]}}
  },
  "by": "web-1"
}`
	if got := fullFleet().Body(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestStatusWithEndpointsFits: 500 instances with three endpoints each fit the
// record, whatever their names. Where there are more all but the endpoints
// fits: peers are told of them directly.
func TestStatusWithEndpointsFits(t *testing.T) {
	status := func(n int, service planner.ServiceID, node, reason string) planner.NodeStatus {
		s := planner.NodeStatus{Format: 1, Node: planner.NodeName(node), Incarnation: strings.Repeat("i", 32), Applied: strings.Repeat("c", 40), Serving: 1 << 40}
		for i := range n {
			s.Instances = append(s.Instances, planner.InstanceStatus{
				Slot: planner.SlotID{Service: service, Name: strconv.Itoa(i)}, Token: 1 << 40, Phase: planner.PhaseReady, Restarts: 1000,
				Revision: planner.Revision("r1-" + strings.Repeat("f", 64)), Reason: reason,
				Endpoints: []planner.Endpoint{{Container: 65535, Host: 29999}, {Container: 65534, Host: 29998}, {Container: 65533, Protocol: "udp", Host: 29997}},
			})
		}
		return s
	}
	long := planner.ServiceID{Namespace: strings.Repeat("n", 63), Name: strings.Repeat("s", 58)}
	tests := []struct {
		name      string
		status    planner.NodeStatus
		endpoints int
	}{
		{"as fleets have them", status(500, planner.ServiceID{Namespace: "production", Name: "checkout-backend"}, "node-17", ""), 3},
		{"that crash", status(500, planner.ServiceID{Namespace: "production", Name: "checkout-backend"}, "node-17", strings.Repeat("exited with code 1; ", 20)), 3},
		{"with the longest names", status(500, long, strings.Repeat("x", 63), strings.Repeat("é", 200)), 3},
		{"and more of them", status(600, long, strings.Repeat("x", 63), strings.Repeat("é", 200)), 0},
	}
	for _, tt := range tests {
		body := tt.status.Body()
		got, err := planner.ParseNodeStatus(body)
		if err != nil || len(body) > planner.MaxRecordBytes-4<<10 {
			t.Errorf("%s: %d bytes, %v", tt.name, len(body), err)
			continue
		}
		if len(got.Instances) != len(tt.status.Instances) || len(got.Instances[499].Endpoints) != tt.endpoints || (got.Serving != 0) != (tt.endpoints > 0) {
			t.Errorf("%s: %d bytes, %d instances, serving %d", tt.name, len(body), len(got.Instances), got.Serving)
		}
		if len(tt.status.Instances[0].Endpoints) != 3 {
			t.Errorf("%s: the status itself was changed", tt.name)
		}
	}
}

func TestLaterFormat(t *testing.T) {
	body := strings.Replace(fullDoc().Body(), `"format": 1`, `"format": 9`, 1)
	body = strings.Replace(body, `"history": [`, `"history": [7,`, 1) // a field that has another meaning by then
	doc, err := planner.ParseLeaseDoc(body)
	var newer *planner.FormatError
	if !errors.As(err, &newer) || newer.Format != 9 {
		t.Fatalf("error %v", err)
	}
	if len(doc.Leases) != 4 || doc.Tokens != fullDoc().Tokens || doc.History != nil {
		t.Errorf("read %+v", doc)
	}
}
