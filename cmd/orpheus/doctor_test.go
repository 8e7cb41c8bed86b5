package main

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
)

func TestDoctorVerb(t *testing.T) {
	st := testStatus()
	socket, _ := serveStatus(t, func() *api.Status { return st })
	code, stdout, stderr := orpheus(t, ".", "doctor", "-o", "json", "--socket", socket)
	var findings []finding
	if err := json.Unmarshal([]byte(stdout), &findings); err != nil {
		t.Fatalf("%v\n%s%s", err, stdout, stderr)
	}
	failed := false
	for _, f := range findings {
		failed = failed || f.Level == levelFail
		if f.Text == "" || f.Level != levelOK && f.Remedy == "" {
			t.Errorf("%+v says too little", f)
		}
		if f.Name == "agent" && !strings.Contains(f.Text, "node-1") {
			t.Errorf("%+v", f)
		}
	}
	if failed != (code == exitFailed) {
		t.Errorf("exit code %d", code)
	}
}

// TestDoctorFindings: how findings are shown, and that none holds up another.
func TestDoctorFindings(t *testing.T) {
	checks := []check{
		{"first", func(context.Context) (level, string, string) { return levelOK, "fine", "" }},
		{"second one", func(ctx context.Context) (level, string, string) {
			if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > checkTimeout {
				t.Error("a check without a bound")
			}
			return levelWarn, "poor", "do this"
		}},
		{"third", func(context.Context) (level, string, string) { return levelFail, "bad\x1b[2J", "do that" }},
	}
	var b strings.Builder
	e := &env{stdout: &b, now: time.Now}
	if err := e.writeFindings(examine(t.Context(), checks), "text"); err != nil {
		t.Fatal(err)
	}
	golden(t, "doctor/text", b.String())
}

func TestDoctorAgent(t *testing.T) {
	e := &env{socket: filepath.Join(t.TempDir(), "none.sock"), now: func() time.Time { return testNow }}
	if found, text, remedy := e.checkAgent(t.Context()); found != levelWarn || !strings.Contains(text, "none.sock") || remedy == "" {
		t.Error(found, text, remedy)
	}
	version := "0.0.1"
	e.socket, _ = serveStatus(t, func() *api.Status {
		st := testStatus()
		st.Version = version
		return st
	})
	if found, text, _ := e.checkAgent(t.Context()); found != levelWarn || !strings.Contains(text, "0.0.1") {
		t.Error(found, text)
	}
	version = programVersion()
	if found, text, _ := e.checkAgent(t.Context()); found != levelOK {
		t.Error(found, text)
	}
}
