package api_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

var webService = planner.ServiceID{Namespace: "default", Name: "web"}

// writeLog appends to a log as a container does.
func writeLog(t *testing.T, root, name, text string) {
	t.Helper()
	path := filepath.Join(root, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// rotate copies a log aside and truncates it, as the agent does.
func rotate(t *testing.T, root, name string) {
	t.Helper()
	path := filepath.Join(root, filepath.FromSlash(name))
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_ = os.Rename(path+".1", path+".2") // there may be none
	if err := os.WriteFile(path+".1", data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
}

// lines reads a request that does not follow.
func lines(t *testing.T, w *world, req api.LogRequest) []string {
	t.Helper()
	var all []string
	err := w.client.Logs(t.Context(), req, func(l api.LogLine) error {
		all = append(all, fmt.Sprintf("%s/%s: %s", l.Slot, l.Container, l.Line))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func same(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestLogs(t *testing.T) {
	w := serve(t, nil)
	all := api.LogRequest{Service: webService, Tail: -1}
	same(t, lines(t, w, api.LogRequest{Service: planner.ServiceID{Namespace: "default", Name: "fresh"}, Tail: -1})) // nothing written yet
	writeLog(t, w.LogRoot, "default/web/10/main.log", "ten\n")
	writeLog(t, w.LogRoot, "default/web/2/main.log", "one\r\ntwo\nthree")
	writeLog(t, w.LogRoot, "default/web/2/side.log", "side\n")
	writeLog(t, w.LogRoot, "default/web/2/main.log.2", "oldest\n")
	writeLog(t, w.LogRoot, "default/web/2/main.log.1", "older\ncut ")
	writeLog(t, w.LogRoot, "default/web/2/README", "not a log\n")
	same(t, lines(t, w, all),
		"2/main: oldest", "2/main: older", "2/main: cut one", "2/main: two", "2/main: three", "2/side: side", "10/main: ten")
	all.Slot = "2"
	all.Container = "main"
	for tail, want := range map[int][]string{
		0: nil,
		1: {"2/main: three"},
		2: {"2/main: two", "2/main: three"},
		// The line that rotation cut counts as two.
		4:   {"2/main: cut one", "2/main: two", "2/main: three"},
		100: {"2/main: oldest", "2/main: older", "2/main: cut one", "2/main: two", "2/main: three"},
	} {
		all.Tail = tail
		same(t, lines(t, w, all), want...)
	}
}

func TestLogErrors(t *testing.T) {
	w := serve(t, nil)
	writeLog(t, w.LogRoot, "default/web/0/main.log", "x\n")
	writeLog(t, w.LogRoot, "default/web/0/side.log", "x\n")
	for _, c := range []struct {
		req  api.LogRequest
		want string
	}{
		{api.LogRequest{Service: planner.ServiceID{Namespace: "default", Name: "none"}}, "there is no service none on this node"},
		{api.LogRequest{Service: webService, Slot: "7"}, "has no slot 7"},
		{api.LogRequest{Service: webService, Container: "other"}, "has no container other; it has main, side"},
	} {
		err := w.client.Logs(t.Context(), c.req, func(api.LogLine) error { return nil })
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.req, err)
		}
	}
}

// stream follows in the background; its channel is closed when it ends.
func stream(t *testing.T, w *world, req api.LogRequest) (<-chan string, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out := make(chan string, 10_000)
	go func() {
		defer close(out)
		err := w.client.Logs(ctx, req, func(l api.LogLine) error {
			text := fmt.Sprintf("%s/%s: %s", l.Slot, l.Container, l.Line)
			if l.More {
				text += " …"
			}
			out <- text
			return nil
		})
		if err != nil {
			t.Errorf("follow: %v", err)
		}
	}()
	return out, cancel
}

func expect(t *testing.T, out <-chan string, want ...string) {
	t.Helper()
	for _, line := range want {
		select {
		case got, ok := <-out:
			if !ok || got != line {
				t.Fatalf("got %q, want %q", got, line)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%q does not come", line)
		}
	}
}

func TestFollowThroughRotation(t *testing.T) {
	w := serve(t, nil)
	const log = "default/web/0/main.log"
	writeLog(t, w.LogRoot, log, "old\nbefore\n")
	out, cancel := stream(t, w, api.LogRequest{Service: webService, Tail: 1, Follow: true})
	defer cancel()
	expect(t, out, "0/main: before")
	writeLog(t, w.LogRoot, log, "one\n")
	expect(t, out, "0/main: one")

	// What was written just before a rotation is found in the copy.
	writeLog(t, w.LogRoot, log, "two\nthree\n")
	rotate(t, w.LogRoot, log)
	writeLog(t, w.LogRoot, log, "four\n")
	expect(t, out, "0/main: two", "0/main: three", "0/main: four")
	rotate(t, w.LogRoot, log)
	writeLog(t, w.LogRoot, log, "5\n")
	expect(t, out, "0/main: 5")

	// A line without end comes after a while, its rest when it is written.
	writeLog(t, w.LogRoot, log, "panic: ")
	expect(t, out, "0/main: panic:  …")
	writeLog(t, w.LogRoot, log, "no more\n")
	expect(t, out, "0/main: no more")

	// A slot that is added, and a log that was replaced by another.
	writeLog(t, w.LogRoot, "default/web/1/main.log", "hello\n")
	expect(t, out, "1/main: hello")
	writeLog(t, w.LogRoot, "new", "a new file with more than before\n")
	if err := os.Rename(filepath.Join(w.LogRoot, "new"), filepath.Join(w.LogRoot, filepath.FromSlash(log))); err != nil {
		t.Fatal(err)
	}
	expect(t, out, "0/main: a new file with more than before")
	cancel()
	for range out {
	}
}

// TestFollowLosesNothing writes and rotates as fast as it can, in steps that
// the reader is let see.
func TestFollowLosesNothing(t *testing.T) {
	w := serve(t, nil)
	const log = "default/web/0/main.log"
	writeLog(t, w.LogRoot, log, "begin\n")
	out, cancel := stream(t, w, api.LogRequest{Service: webService, Tail: 1, Follow: true})
	defer cancel()
	expect(t, out, "0/main: begin")
	n := 0
	for round := range 6 {
		var text strings.Builder
		var want []string
		for range 500 {
			n++
			line := fmt.Sprintf("line %d of round %d", n, round)
			text.WriteString(line + "\n")
			want = append(want, "0/main: "+line)
		}
		half := strings.LastIndexByte(text.String()[:text.Len()/2], '\n') + 1
		writeLog(t, w.LogRoot, log, text.String()[:half])
		if round%2 == 0 {
			rotate(t, w.LogRoot, log)
		}
		writeLog(t, w.LogRoot, log, text.String()[half:])
		expect(t, out, want...)
	}
}

// TestFollowEnds: neither a client that goes away nor the end of the agent
// leaves anything behind.
func TestFollowEnds(t *testing.T) {
	w := serve(t, nil)
	writeLog(t, w.LogRoot, "default/web/0/main.log", "x\n")
	// There is room for 64 streams at a time; each of these must leave again.
	for range 70 {
		out, cancel := stream(t, w, api.LogRequest{Service: webService, Tail: 1, Follow: true})
		expect(t, out, "0/main: x")
		cancel()
		for range out {
		}
	}
	deadline := time.Now().Add(20 * time.Second)
	for goruntime.NumGoroutine() > 50 {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines are left", goruntime.NumGoroutine())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestAttack23HostileLines: what containers write is cut and made UTF-8.
func TestAttack23HostileLines(t *testing.T) {
	w := serve(t, nil)
	long := strings.Repeat("ä", 20<<10) // 40 KiB in one line
	writeLog(t, w.LogRoot, "default/web/0/main.log", long+"\n\xff\x00\x1b[2J\n\n"+`{"slot":"9","line":"forged"}`+"\n")
	var got []api.LogLine
	err := w.client.Logs(t.Context(), api.LogRequest{Service: webService, Tail: -1}, func(l api.LogLine) error {
		got = append(got, l)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	joined := ""
	for len(got) > 0 {
		l := got[0]
		got = got[1:]
		if len(l.Line) > 16<<10 {
			t.Errorf("a record of %d bytes", len(l.Line))
		}
		if joined += l.Line; !l.More {
			break
		}
	}
	if joined != long {
		t.Errorf("a long line changed: %d bytes of %d", len(joined), len(long))
	}
	want := []string{"\uFFFD\x00\x1b[2J", "", `{"slot":"9","line":"forged"}`}
	for i, l := range got {
		if l.Slot != "0" || l.Line != want[i] {
			t.Errorf("line %d: %+v", i, l)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d lines", len(got))
	}
}

// TestAttack41LogPathTraversal: parameters name services, never paths.
func TestAttack41LogPathTraversal(t *testing.T) {
	w := serve(t, nil)
	writeLog(t, w.LogRoot, "default/web/0/main.log", "fine\n")
	secret := filepath.Join(filepath.Dir(w.LogRoot), "secret.log")
	if err := os.WriteFile(secret, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{
		"service=..", "service=../..", "service=default/..", "service=../secret", "service=/etc", "service=default//web",
		"service=default/web/0", "service=default%2Fweb%2F..%2F..", "service=Default/web", "service=", "",
		"service=web&slot=..", "service=web&slot=../0", "service=web&slot=.", "service=web&slot=0/", "service=web&slot=", "service=web&slot=0%00",
		"service=web&container=../../../../secret", "service=web&container=main.log", "service=web&container=*", "service=web&container=",
		"service=web&tail=-1", "service=web&tail=1e9", "service=web&tail=99999999999999999999", "service=web&follow=maybe",
		"service=web&service=../x", "service=web&root=/etc", "service=" + strings.Repeat("a", 300),
	} {
		code, body := overSocket(t, w, "/v1/logs?"+query)
		if code != 400 {
			t.Errorf("%s: %d %s", query, code, body)
		}
		if strings.Contains(body, "secret\n") {
			t.Errorf("%s reads a file outside", query)
		}
	}
}

// overSocket asks as raw as one can.
func overSocket(t *testing.T, w *world, path string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", w.Socket)
		},
	}}
	target := url.URL{Scheme: "http", Host: "x"}
	target.Path, target.RawQuery, _ = strings.Cut(path, "?")
	res, err := client.Get(target.String())
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// TestAttack41LogSymlinks: whatever a link in the folder of logs points to, it
// is not read through it.
func TestAttack41LogSymlinks(t *testing.T) {
	w := serve(t, nil)
	outside := t.TempDir()
	writeLog(t, outside, "0/main.log", "secret\n")
	writeLog(t, w.LogRoot, "default/web/0/main.log", "fine\n")
	writeLog(t, w.LogRoot, "other/web/0/main.log", "of another\n")
	link := func(target, name string) {
		path := filepath.Join(w.LogRoot, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, path); err != nil {
			t.Skipf("no symbolic links here: %v", err)
		}
	}
	link(filepath.Join(outside, "0", "main.log"), "default/web/0/abs.log")    // out of the folder
	link("../../../../../"+filepath.Base(outside), "default/web/0/rel.log")   // out of it by climbing
	link("../../../other/web/0/main.log", "default/web/0/in.log")             // to another service
	link("main.log", "default/web/0/same.log")                                // even beside it
	link(filepath.Join(outside, "0"), "default/web/1")                        // a slot's folder
	link("../../other/web/0", "default/web/2")                                // another's
	link("../other/web", "default/linked")                                    // a service's folder
	link(filepath.Join(outside, "0", "main.log"), "default/web/0/main.log.1") // an older part
	if err := os.Mkdir(filepath.Join(w.LogRoot, "default/web/0/folder.log"), 0o700); err != nil {
		t.Fatal(err)
	}
	same(t, lines(t, w, api.LogRequest{Service: webService, Tail: -1}), "0/main: fine")
	err := w.client.Logs(t.Context(), api.LogRequest{Service: planner.ServiceID{Namespace: "default", Name: "linked"}, Tail: -1}, func(l api.LogLine) error {
		t.Errorf("%+v through a link", l)
		return nil
	})
	if err == nil {
		t.Error("a linked folder is a service")
	}

	// A file that becomes a link while it is followed.
	out, cancel := stream(t, w, api.LogRequest{Service: webService, Container: "main", Tail: 1, Follow: true})
	defer cancel()
	expect(t, out, "0/main: fine")
	path := filepath.Join(w.LogRoot, "default/web/0/main.log")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(outside, "0", "main.log"), path); err != nil {
		t.Fatal(err)
	}
	writeLog(t, w.LogRoot, "default/web/3/main.log", "later\n")
	expect(t, out, "3/main: later")
}
