package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
)

func TestStatusSaysFirstWhatIsShort(t *testing.T) {
	st := testStatus(testService("web", "2", 1))
	if !asAsked(st) {
		t.Fatal("a healthy node is not as asked")
	}
	st.Pressure = []api.Pressure{{Resource: "disk", Since: ago(2 * time.Minute), Text: "disk of this node is 96 % full (/var, 1.2 GiB free)"}}
	var out bytes.Buffer
	view := statusView{env: &env{stdout: &out, now: func() time.Time { return testNow }}}
	if err := view.show(view.here(st), false); err != nil {
		t.Fatal(err)
	}
	const want = `SHORT     disk of this node is 96 % full (/var, 1.2 GiB free), for 2m
          This node takes no new work. What runs goes on, and is restarted if it fails.
STATE     NOT FINE: short of disk; 1 of 1 up to date and ready
TO DO     make room: see SHORT
`
	if !strings.HasPrefix(out.String(), want) {
		t.Errorf("status begins with\n%s", out.String())
	}
	if asAsked(st) {
		t.Error("--exit-code does not tell of it")
	}
}
