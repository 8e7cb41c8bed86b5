//go:build linux

package plugin_test

import (
	"bytes"
	"context"
	"errors"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/runtime"
)

// A listing with anything in it that cannot be is none: ErrUnavailable, so
// that the agent leaves everything alone.
func TestBrokenListings(t *testing.T) {
	for how, says := range map[string]string{
		"evil id": "id", "twice": "twice", "many": "10000", "large": "more than is accepted", "long name": "name",
		"no state": "state", "evil exit": "exit code -7", "evil pid": "process id",
	} {
		d := open(t, config(t, "odd", oddVariable+"="+how))
		have, err := d.List(t.Context())
		if !errors.Is(err, runtime.ErrUnavailable) || !strings.Contains(err.Error(), says) || len(have) > 0 {
			t.Errorf("%s: List: %d instances, %v; want none and an error saying %q", how, len(have), err, says)
		}
	}
	// An exit that is missing is unknown.
	if i := only(t, open(t, config(t, "odd", oddVariable+"=exit lost"))); i.Exit == nil || !i.Exit.Unknown {
		t.Errorf("listed as %+v; want an unknown exit", i)
	}
}

// Answers of any size and number cost the agent little.
func TestBrokenAnswers(t *testing.T) {
	odd := func(how string) runtime.Driver { return open(t, config(t, "odd", oddVariable+"="+how)) }
	w := runtime.Workload{ID: "a", Containers: []runtime.Container{{Name: "main", Image: "localhost/a:1"}}}
	var before, after goruntime.MemStats
	goruntime.ReadMemStats(&before)

	info, err := odd("notes").Info(t.Context())
	check(t, err)
	if len(info.Notes) > 17 || len(info.Notes[0]) > 600 || strings.Contains(strings.Join(info.Notes, ""), "\x1b") {
		t.Errorf("%d notes: %.100q", len(info.Notes), info.Notes)
	}
	if _, err := odd("huge").Info(t.Context()); !errors.Is(err, runtime.ErrUnavailable) {
		t.Errorf("Info: %.200v; want ErrUnavailable", err)
	}
	if _, err := odd("endless progress").Prepare(t.Context(), w, func(runtime.Progress) {}); !errors.Is(err, runtime.ErrUnavailable) {
		t.Errorf("Prepare: %v; want ErrUnavailable", err)
	}
	if _, err := odd("evil digest").Prepare(t.Context(), w, nil); !errors.Is(err, runtime.ErrUnavailable) {
		t.Errorf("Prepare: %v; want ErrUnavailable", err)
	}
	if _, err := odd("").(runtime.Resolver).Resolve(t.Context(), "huge"); !errors.Is(err, runtime.ErrUnavailable) {
		t.Errorf("Resolve: %.200v; want ErrUnavailable", err)
	}
	err = odd("fails").Stop(t.Context(), "a", 0)
	if !errors.Is(err, runtime.ErrNotFound) || !errors.Is(err, runtime.ErrUnauthorized) || errors.Is(err, runtime.ErrUnavailable) || errors.Is(err, runtime.ErrInvalid) {
		t.Errorf("Stop: %.100v; want exactly the driver's errors", err)
	}
	if text := err.Error(); len(text) > 5000 || strings.Contains(text, "\x00") {
		t.Errorf("Stop: an error of %d bytes", len(text))
	}
	goruntime.ReadMemStats(&after)
	if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 128<<20 {
		t.Errorf("the agent's heap has grown by %d MiB", grown>>20)
	}
}

// A flood of hints is as good as a few.
func TestFloodOfHints(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	hints, err := open(t, config(t, "odd", oddVariable+"=floods")).Watch(ctx)
	check(t, err)
	begin, n := time.Now(), 0
	for range hints {
		if n++; n == 20 {
			break
		}
	}
	if took := time.Since(begin); took < 200*time.Millisecond {
		t.Errorf("20 hints within %s", took)
	}
	cancel()
	for range hints { // must be closed
	}
}

// A driver that ignores its context does not hold up the caller.
func TestDeadlineOfAHangingDriver(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	d := open(t, config(t, "odd", oddVariable+"=hangs"))
	if _, err := d.Info(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := d.Start(ctx, runtime.Workload{ID: "a"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Start: %v; want the end of the context", err)
	}
}

// A workload that is too large to travel is refused before it does.
func TestWorkloadTooLarge(t *testing.T) {
	d := open(t, config(t, "fake"))
	w := runtime.Workload{ID: "a", Containers: []runtime.Container{{Env: []runtime.Env{{Name: "A", Value: strings.Repeat("s3cret", 1<<20), Secret: true}}}}}
	err := d.Start(t.Context(), w)
	if !errors.Is(err, runtime.ErrInvalid) || errors.Is(err, runtime.ErrUnavailable) || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("Start: %.200v; want ErrInvalid", err)
	}
}

// The abilities that the fake has not, and a driver without any.
func TestAbilities(t *testing.T) {
	d := open(t, config(t, "odd"))
	var out, errs bytes.Buffer
	in := strings.Repeat("line\n", 100_000)
	code, err := d.Exec(t.Context(), "a", "main", []string{"x", "y"}, runtime.Streams{In: strings.NewReader(in), Out: &out, Err: &errs})
	if code != 7 || err != nil || out.String() != in || errs.String() != "a main 2" {
		t.Errorf("Exec: %d, %v, %d bytes, %q", code, err, out.Len(), errs.String())
	}
	if code, err := d.Exec(t.Context(), "a", "main", nil, runtime.Streams{}); code != 7 || err != nil {
		t.Errorf("Exec without streams: %d, %v", code, err)
	}
	if _, err := d.Exec(t.Context(), "nobody", "main", nil, runtime.Streams{}); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("Exec: %v; want ErrNotFound", err)
	}
	if digest := must(d.Resolve(t.Context(), "web:1")); digest != "sha256:web:1" {
		t.Errorf("Resolve: %q", digest)
	}
	if folders := must(d.Stores(t.Context())); !slices.Equal(folders, []string{"/fake/odd"}) {
		t.Errorf("Stores: %q", folders)
	}

	bare := open(t, config(t, "bare"))
	if _, err := bare.Exec(t.Context(), "a", "main", nil, runtime.Streams{}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Exec: %v; want ErrUnsupported", err)
	}
	if _, err := bare.Resolve(t.Context(), "a"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Resolve: %v; want ErrUnsupported", err)
	}
	if _, err := bare.Stats(t.Context(), "a"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Stats: %v; want ErrUnsupported", err)
	}
	if _, err := bare.Stores(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Stores: %v; want ErrUnsupported", err)
	}
	check(t, bare.Sweep(t.Context(), map[string]bool{}))
	ctx, cancel := context.WithCancel(t.Context())
	hints, err := bare.Watch(ctx)
	check(t, err)
	cancel()
	for range hints { // must be closed
	}
	if have, err := bare.List(t.Context()); err != nil || len(have) != 0 {
		t.Errorf("List: %+v, %v", have, err)
	}
}

// Folders that cannot be watched are not believed.
func TestOddFolders(t *testing.T) {
	for _, how := range []string{"many folders", "long folder", "relative folder"} {
		d := open(t, config(t, "odd", oddVariable+"="+how))
		if folders, err := d.Stores(t.Context()); err == nil || !strings.Contains(err.Error(), "the plugin is broken") || len(err.Error()) > 500 {
			t.Errorf("%s: %.100q, %.600v", how, folders, err)
		}
	}
}
