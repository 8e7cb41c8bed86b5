package event

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
)

func open(t *testing.T, path string) *Log {
	t.Helper()
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// TestFromLog: a line of the log is an event, with what people look for in
// fields of their own.
func TestFromLog(t *testing.T) {
	var text strings.Builder
	l := open(t, "")
	log := slog.New(l.Handler(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelWarn}))).With("node", "n1")
	slot := planner.SlotID{Service: planner.ServiceID{Namespace: "shop", Name: "web"}, Name: "0"}
	log.Info("action", "action", "start", "slot", slot, "instance", "web-0-1", "reason", "not running yet")
	log.Debug("nothing to do")
	log.Warn("images cannot be prepared", "service", slot.Service, "err", errors.New("a\nb\x1b[31m"))
	log.WithGroup("other").Info("not ours", "service", "web")
	got, _ := l.After(0)
	for i := range got {
		if got[i].At.IsZero() {
			t.Error("an event has no time")
		}
		got[i].At = got[0].At
	}
	want := []Event{
		{Seq: 1, Level: "info", What: "action", Service: "shop/web", Slot: "shop/web-0", Action: "start", Reason: "not running yet", Detail: []string{"instance=web-0-1"}},
		{Seq: 2, Level: "warn", What: "images cannot be prepared", Service: "shop/web", Reason: planner.OneLine("a\nb\x1b[31m", 99)},
	}
	for i := range want {
		want[i].At = got[0].At
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("events %+v\nwant %+v", got, want)
	}
	if strings.ContainsAny(got[1].Reason, "\n\x1b") {
		t.Errorf("reason %q", got[1].Reason)
	}
	if n := strings.Count(text.String(), "\n"); n != 1 {
		t.Errorf("%d lines were handed on, want the warning alone:\n%s", n, &text)
	}
	for target, about := range map[string]bool{"": true, "shop/web": true, "shop/web-0": true, "web": false, "default/web": false} {
		if got[0].About(target) != about {
			t.Errorf("about %q: %v", target, !about)
		}
	}
}

// TestFiles: events are there after a restart, numbered on, and their files are
// bounded.
func TestFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	const runs, each = 3, 6000
	for run := range runs {
		l := open(t, path)
		log := slog.New(l.Handler(slog.DiscardHandler))
		for i := range each {
			log.Info("event", "reason", fmt.Sprintf("run %d number %d %s", run, i, strings.Repeat("x", 100)))
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		log.Info("after the end") // in memory only
	}
	for _, p := range []string{path, path + ".1"} {
		info, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > maxFile+maxLine {
			t.Errorf("%s is of %d bytes", p, info.Size())
		}
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("{\"seq\": torn"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	l := open(t, path)
	events, _ := l.After(0)
	if len(events) < 1000 || len(events) > maxEvents {
		t.Errorf("%d events", len(events))
	}
	for i, e := range events {
		if i > 0 && e.Seq != events[i-1].Seq+1 {
			t.Fatalf("event %d follows %d", e.Seq, events[i-1].Seq)
		}
	}
	last := events[len(events)-1]
	if last.Seq != runs*each || !strings.HasPrefix(last.Reason, "run 2 number 5999 ") {
		t.Errorf("the last is %+v", last)
	}
}

// TestFollow: who has seen all waits for the next.
func TestFollow(t *testing.T) {
	l := open(t, "")
	log := slog.New(l.Handler(slog.DiscardHandler))
	log.Info("one")
	events, more := l.After(0)
	select {
	case <-more:
		t.Fatal("there is no other yet")
	default:
	}
	log.Info("two")
	<-more
	if events, _ = l.After(events[0].Seq); len(events) != 1 || events[0].What != "two" {
		t.Errorf("then %+v", events)
	}
}

// TestUnwritable: a full or read-only disk takes nothing from what is in memory.
func TestUnwritable(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "events.jsonl"), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := Open(filepath.Join(dir, "events.jsonl"))
	if err == nil {
		t.Fatal("a folder was opened for writing")
	}
	log := slog.New(l.Handler(slog.DiscardHandler))
	log.Info("one")
	if events, _ := l.After(0); len(events) != 1 {
		t.Errorf("%+v", events)
	}
	if err := os.Remove(filepath.Join(dir, "events.jsonl")); err != nil {
		t.Fatal(err)
	}
	for range retryEvery {
		log.Info("again")
	}
	if info, err := os.Stat(filepath.Join(dir, "events.jsonl")); err != nil || info.Size() == 0 {
		t.Errorf("it is not written to although it could be: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
