package main

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"
)

// What the first lines of a status say programs read in state, summary and toDo.
func TestVerdictIsInJSON(t *testing.T) {
	for name, st := range scenarios() {
		for _, service := range []string{"", "web"} {
			v := statusView{env: &env{stdout: io.Discard, now: func() time.Time { return testNow }}, service: service}
			one, err := v.narrow(st)
			if err != nil {
				continue // there is no web in it
			}
			shown := v.here(one)
			text, err := json.Marshal(shown.value)
			if err != nil {
				t.Fatal(err)
			}
			var told struct {
				State   grade    `json:"state"`
				Summary string   `json:"summary"`
				ToDo    []string `json:"toDo"`
				Node    string   `json:"node"`
			}
			if err := json.Unmarshal(text, &told); err != nil || told.Node != "node-1" || told.ToDo == nil {
				t.Errorf("%s %s: %v, %+v", name, service, err, told)
			}
			var s screen
			shown.draw(&s)
			screen := strings.Join(s.lines, "\n") + "\n"
			if want := "STATE     " + told.State.title() + ": " + told.Summary + "\n"; told.State == "" || !strings.Contains(screen, want) {
				t.Errorf("%s %s: no %q in\n%s", name, service, want, screen)
			}
			for _, todo := range told.ToDo {
				if !strings.Contains(screen, todo) {
					t.Errorf("%s %s: to do is %q, but not in\n%s", name, service, todo, screen)
				}
			}
		}
	}
}
