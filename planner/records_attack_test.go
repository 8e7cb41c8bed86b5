package planner_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

// garbled is one change to a good body, and what the error is to say.
type garbled struct {
	name, old, new, want string
}

func refuse(t *testing.T, body string, parse func(string) error, tests []garbled) {
	t.Helper()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			bad := strings.Replace(body, test.old, test.new, 1)
			if bad == body {
				t.Fatalf("%q is not in\n%s", test.old, body)
			}
			err := parse(bad)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if err != nil && (len(err.Error()) > 400 || planner.OneLine(err.Error(), 400) != err.Error()) {
				t.Errorf("the error is long or not printable: %q", err)
			}
		})
	}
}

// TestAttack33GarbledNodeRecord: what a hostile writer may put into a node's
// record.
func TestAttack33GarbledNodeRecord(t *testing.T) {
	parse := func(b string) error { _, err := planner.ParseNodeRecord(b); return err }
	refuse(t, fullNode().Body(), parse, []garbled{
		{"no JSON", "{", "", "node record: "},
		{"cut off", "\n}", "", "unexpected EOF"},
		{"two objects", "\n}", "\n}{}", "text after"},
		{"text behind", "\n}", "\n} x", "text after"},
		{"not UTF-8", "web-1", "web-\xff", "UTF-8"},
		// Of two values a reader in another language may take the other.
		{"key twice", `"epoch": 7`, `"epoch": 7, "epoch": 8`, `"epoch" is given twice`},
		{"key twice inside", `"machine": "m1"`, `"machine": "m1", "machine": "m2"`, "given twice"},
		// encoding/json would take it for the field epoch.
		{"epoch by another spelling", `"epoch": 7`, `"Epoch": 7`, "epoch: 0 is not"},
		{"no format", `"format": 1,`, ``, "format: 0"},
		{"format below", `"format": 1`, `"format": -1`, "format: -1"},
		{"name with a path", `"node": "web-1"`, `"node": "../web-1"`, "node: "},
		{"name with an escape", `"node": "web-1"`, `"node": "\u001b[2J"`, `node: "\x1b[2J" is no name`},
		{"no key", `"key": "` + testKey + `"`, `"key": ""`, "key: is missing"},
		{"key of two lines", `"key": "ssh`, `"key": "x\nssh`, "key: "},
		{"epoch 0", `"epoch": 7`, `"epoch": 0`, "epoch: 0"},
		{"epoch negative", `"epoch": 7`, `"epoch": -7`, "epoch: "},
		{"epoch of a fraction", `"epoch": 7`, `"epoch": 7.5`, "epoch: "},
		{"epoch as text", `"epoch": 7`, `"epoch": "7"`, "epoch: not a number"},
		// One more would be 0, below every lease.
		{"last epoch of all", `"epoch": 7`, `"epoch": 18446744073709551615`, "epoch: "},
		{"epoch beyond 64 bits", `"epoch": 7`, `"epoch": 18446744073709551616`, "epoch: "},
		{"since above the epoch", `"since": 5`, `"since": 8`, "since: 8 is above"},
		{"salt that is no word", `"salt": "salt"`, `"salt": "a b"`, "salt: "},
		{"capacity negative", `"cpu": 4000`, `"cpu": -1`, "capacity.cpu: -1 is negative"},
		{"labels are a list", `"labels": {"disk":"ssd","zone":"a"}`, `"labels": ["zone"]`, "labels: not an object"},
		{"label with a line end", `"zone":"a"`, `"zone":"a\n"`, "labels: "},
		{"label that is a number", `"zone":"a"`, `"zone":3`, "labels.zone: not a string"},
		{"taint with a line end", `"gpu"`, `"gpu\n"`, "taints[0].key: "},
		{"driver that is a path", `"process"`, `"/process"`, "drivers[1]: "},
		{"volume of no slot", `"name": "0"`, `"name": ""`, "volumes[0].name: "},
		{"volume of no service", `"name": "db"`, `"name": "d/b"`, "volumes[0].service.name: "},
		{"one format", `"reads": [1, 1]`, `"reads": [1]`, "reads: not 2 values"},
		{"formats the wrong way", `"reads": [1, 1]`, `"reads": [2, 1]`, "reads: "},
		{"no formats", `"reads": [1, 1]`, `"reads": [0, 0]`, "reads: "},
	})
}

// TestAttack33GarbledLeases: what may be put into a lease document.
func TestAttack33GarbledLeases(t *testing.T) {
	parse := func(b string) error { _, err := planner.ParseLeaseDoc(b); return err }
	refuse(t, fullDoc().Body(), parse, []garbled{
		// The next lease would get a token that was given before.
		{"token above the counter", `"tokens": 4611686018427387903`, `"tokens": 5`, "leases[1].token: 9007199254740993 is above"},
		{"last counter of all", `"tokens": 4611686018427387903`, `"tokens": 18446744073709551615`, "tokens: "},
		{"one token twice for a slot", `"token": 9007199254740993`, `"token": 3`, "slot 0 has token 3 twice"},
		{"a hook in the slot of an instance", `"token": 9007199254740993`, `"hook": "prerollout", "token": 9007199254740993`, "is not the name of its slot, 0"},
		{"token 0", `"token": 3`, `"token": 0`, "leases[0].token: "},
		{"epoch 0", `"epoch": 7`, `"epoch": 0`, "leases[0].epoch: "},
		{"no node", `"node": "web-1"`, `"node": ""`, "leases[0].node: "},
		{"slot with a path", `"slot": "10"`, `"slot": "../10"`, "leases[2].slot: "},
		{"no revision", `"revision": "r1-aa"`, `"revision": ""`, "leases[0].revision: is missing"},
		{"validity negative", `"validity": 30000000000`, `"validity": -1`, "leases[2].exclusive.validity: "},
		{"validity of years", `"validity": 30000000000`, `"validity": 9223372036854775807`, "leases[2].exclusive.validity: "},
		{"grace negative", `"grace": 10000000000`, `"grace": -1`, "leases[2].exclusive.grace: "},
		{"nobody decided", `"by": "web-1"`, `"by": ""`, "by: "},
		{"commit that is an option", `"commit": "0`, `"commit": "--upload-pack=0`, "commit: "},
		{"service of no name", `"name": "web"`, `"name": "we b"`, "service.name: "},
		{"a lease that is text", `"leases": [`, `"leases": ["0",`, "leases[0]: not an object"},
		{"leases are an object", `"leases": [`, `"leases": {}, "was": [`, "leases: not a list"},
		{"pins that are text", `{"nginx:2":"sha256:11"}`, `"nginx:2"`, "images.r1-bb: not an object"},
		{"digest of two lines", `sha256:11`, `sha\n256`, "images: "},
		{"history of no revision", `{"revision": "r1-bb", "commit": "c2"}`, `{"commit": "c2"}`, "history[0].revision: is missing"},
		{"history too long", `"history": [`, `"history": [` + strings.Repeat(`{"revision": "r", "commit": "c"},`, planner.MaxHistory), "history: "},
		{"blocked nothing", `["r1-cc"]`, `[""]`, "blocked[0]: is missing"},
	})
}

// TestAttack33GarbledOthers: statuses, the fleet's record, fences and marks.
func TestAttack33GarbledOthers(t *testing.T) {
	status := func(b string) error { _, err := planner.ParseNodeStatus(b); return err }
	refuse(t, fullStatus().Body(), status, []garbled{
		{"instance of no slot", `"name": "0"`, `"name": "-"`, "instances[0].slot.name: "},
		{"an endpoint of no port", `"port": 8080`, `"port": 0`, "instances[0].endpoints[0].port: 0 is no port"},
		{"an endpoint at no port", `"hostPort": 20001`, `"hostPort": 65536`, "instances[0].endpoints[1].hostPort: 65536 is no port"},
		{"a protocol that is none", `"udp"`, `"u dp"`, "instances[0].endpoints[1].protocol: "},
		{"endpoints without end", `"endpoints": [`, `"endpoints": [` + strings.Repeat(`{"port": 1, "hostPort": 1},`, planner.MaxEndpoints), "endpoints: 66 are more than 64"},
		{"serving as text", `"serving": 7`, `"serving": "7"`, "serving: not a number"},
		{"restarts negative", `"restarts": 4`, `"restarts": -4`, "instances[1].restarts: "},
		{"refusal of no service", `"refusals": [
    {"service": {"namespace": "default"`, `"refusals": [
    {"service": {"namespace": ""`, "refusals[0].service.namespace: "},
		// Which of two promises would count?
		{"two promises for a slot", `"ended": [`, `"ended": [
    {"slot": {"service": {"namespace": "default", "name": "web"}, "name": "0"}, "token": 9},`, "ended[1]: slot web-0 is given twice"},
		{"rejected no commit", `"commit": "c2"`, `"commit": ""`, "rejected.commit: is missing"},
		{"endless reason", "exit code 1", strings.Repeat("x", 5000), "a string is longer"},
	})
	fleet := func(b string) error { _, err := planner.ParseFleetRecord(b); return err }
	refuse(t, fullFleet().Body(), fleet, []garbled{
		{"nobody wrote it", `"by": "web-1"`, `"by": ""`, "by: "},
		{"last generation of all", `"generation": 3`, `"generation": 18446744073709551615`, "generation: "},
		{"floor that is a path", `"floor": "c1"`, `"floor": "../c1"`, "floor: "},
	})
	fence := func(b string) error { _, err := planner.ParseFence(b); return err }
	refuse(t, planner.Fence{Epoch: 2, Fenced: true, By: "web-2", Nonce: "n"}.Body(), fence, []garbled{
		{"a fence that fences nothing", "true", "false", "fenced: "},
		{"nobody fenced", `"by": "web-2"`, `"by": ""`, "by: "},
		{"a value that repeats", `"nonce": "n"`, `"nonce": ""`, "nonce: is missing"},
	})
	mark := func(b string) error { _, err := planner.ParseBeatMark(b); return err }
	challenge := planner.BeatMark{Challenge: true, Node: "a", By: "b", Replaced: planner.Ring("a", "s").At(0).Hash(), Nonce: "n"}
	refuse(t, challenge.Body(), mark, []garbled{
		{"challenge of no value", string(challenge.Replaced), "", "names the value"},
		{"challenge with an epoch", `"nonce"`, `"epoch": 3, "nonce"`, "and no epoch"},
		{"neither", `"challenge": true,`, ``, "a fence value"},
		{"of nobody", `"node": "a"`, `"node": ""`, "node: "},
	})
	// A beat of a ring is no mark.
	m, err := planner.ParseMessage(planner.Ring("a", "s").At(3).Message)
	if err != nil {
		t.Fatal(err)
	}
	if mark(m.Parts[0].Body) == nil {
		t.Error("a beat was read as a mark")
	}
}

// TestAttack38Bombs: bodies that ask for more than their size in memory, time
// or stack.
func TestAttack38Bombs(t *testing.T) {
	parsers := map[string]func(string) error{
		"node":   func(b string) error { _, err := planner.ParseNodeRecord(b); return err },
		"status": func(b string) error { _, err := planner.ParseNodeStatus(b); return err },
		"leases": func(b string) error { _, err := planner.ParseLeaseDoc(b); return err },
		"fleet":  func(b string) error { _, err := planner.ParseFleetRecord(b); return err },
		"fence":  func(b string) error { _, err := planner.ParseFence(b); return err },
		"mark":   func(b string) error { _, err := planner.ParseBeatMark(b); return err },
	}
	bombs := []struct{ name, body, want string }{
		{"too large", `{"x": "` + strings.Repeat("x", planner.MaxRecordBytes) + `"}`, "bytes are more than"},
		{"deep lists", `{"x":` + strings.Repeat("[", 100000), "nested more than"},
		{"deep objects", strings.Repeat(`{"x":`, 40000), "nested more than"},
		{"long list", `{"leases":[` + strings.Repeat("{},", 5000) + `{}]}`, "items"},
		{"many keys", `{` + manyKeys(5000) + `"x":0}`, "keys"},
		{"nothing", ``, "unexpected EOF"},
		{"null", `null`, "not a JSON object"},
		{"a list", `[]`, "not a JSON object"},
		{"a comma too many", `{"a":1,}`, ""},
		{"a comma missing", `{"a":1 "b":2}`, ""},
		{"a key that is a number", `{1:2}`, ""},
		{"the wrong bracket", `{"a":[1}}`, ""},
	}
	for name, parse := range parsers {
		for _, bomb := range bombs {
			if err := parse(bomb.body); err == nil || !strings.Contains(err.Error(), bomb.want) || len(err.Error()) > 400 {
				t.Errorf("%s, %s: error %v, want %q", name, bomb.name, err, bomb.want)
			}
		}
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"k%d":0,`, i)
	}
	return b.String()
}

// TestAttack33Escapes: what others wrote reaches the log of the records, and
// people's terminals, as escapes only.
func TestAttack33Escapes(t *testing.T) {
	doc := fullDoc()
	doc.Unknown = `{"x":"\u001b[2J\u007f\u009b\u202eevil\u2028\udb40\udc01\ud83d\ude00"}`
	body := doc.Body()
	for _, r := range body {
		if r != '\n' && (r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x202e || r == 0x2028 || r == 0xe0001) {
			t.Errorf("%q is in the body as it is", r)
		}
	}
	if !strings.Contains(body, "😀") {
		t.Error("a printable character was escaped")
	}
	again, err := planner.ParseLeaseDoc(body)
	if err != nil || again.Body() != body {
		t.Errorf("%v\n%s\n%s", err, again.Body(), body)
	}
}
