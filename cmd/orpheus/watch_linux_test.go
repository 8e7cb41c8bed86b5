package main

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/cmd/internal/terminal"
)

// glass is a terminal that a command writes on.
type glass struct {
	t    *testing.T
	file *os.File
	cmd  *exec.Cmd
	mu   sync.Mutex
	text strings.Builder
	over chan struct{}
}

// newGlass runs orpheus on a terminal of a size.
func newGlass(t *testing.T, columns, lines uint16, environ []string, args ...string) *glass {
	t.Helper()
	g := &glass{t: t, over: make(chan struct{})}
	g.cmd = exec.CommandContext(t.Context(), os.Args[0], args...)
	g.cmd.Env = append(append(os.Environ(), asMain+"=1", "TERM=xterm", "NO_COLOR=", "CLICOLOR_FORCE="), environ...)
	var err error
	if g.file, err = pty.StartWithSize(g.cmd, &pty.Winsize{Cols: columns, Rows: lines}); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(g.over)
		buffer := make([]byte, 4096)
		for {
			n, err := g.file.Read(buffer)
			g.mu.Lock()
			g.text.Write(buffer[:n])
			g.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = g.cmd.Process.Kill()
		g.file.Close()
		<-g.over
	})
	return g
}

func (g *glass) all() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.text.String()
}

// until waits for something that what was written has to be.
func (g *glass) until(what string, is func(string) bool) {
	g.t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(g.all()); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			g.t.Fatalf("%s does not come:\n%q", what, g.all())
		}
	}
}

// escapes are all sequences that a terminal acts on.
var escapes = regexp.MustCompile("\x1b\\[[0-9;?]*[a-zA-Z]")

// TestWatchOnTerminal: it is drawn in place on the second screen, follows changes
// and the size of the window, and gives the terminal back as it was, with the last
// view on it.
func TestWatchOnTerminal(t *testing.T) {
	all := scenarios()
	states := make(chan *api.Status, 1)
	states <- all["healthy"]
	socket, _ := serveStatus(t, func() *api.Status {
		st := <-states
		states <- st
		return st
	})
	g := newGlass(t, 100, 30, nil, "status", "--watch", "--socket", socket)
	g.until("the first view", func(s string) bool { return strings.Contains(s, "FINE: 3 of 3") })
	if !strings.HasPrefix(g.all(), "\x1b[?1049h\x1b[?25l") {
		t.Errorf("it does not begin on the second screen: %q", g.all()[:20])
	}
	<-states
	states <- all["crash loop"]
	g.until("the change", func(s string) bool { return strings.Contains(s, "NOT FINE: shop/api") })
	// A small window: the last line says what does not fit, and no line is too long.
	at := len(g.all())
	if err := pty.Setsize(g.file, &pty.Winsize{Cols: 44, Rows: 6}); err != nil {
		t.Fatal(err)
	}
	g.until("the smaller view", func(s string) bool { return strings.Contains(s[at:], "more lines") })
	frame := g.all()[at:]
	frame = frame[strings.Index(frame, "\x1b[H"):]
	frame = frame[:strings.Index(frame, "\x1b[?2026l")]
	lines := strings.Split(escapes.ReplaceAllString(frame, ""), "\r\n")
	if len(lines) != 6 {
		t.Errorf("%d lines in a window of 6: %q", len(lines), lines)
	}
	for _, l := range lines {
		if terminal.Columns(l) > 44 {
			t.Errorf("%d columns in a window of 44: %s", terminal.Columns(l), l)
		}
	}
	if _, err := g.file.Write([]byte{3}); err != nil { // Ctrl-C
		t.Fatal(err)
	}
	if err := g.cmd.Wait(); err != nil {
		t.Errorf("an interrupted watch: %v", err)
	}
	<-g.over
	_, end, left := strings.Cut(g.all(), "\x1b[?7h\x1b[?25h\x1b[?1049l")
	if !left || !strings.Contains(end, "NOT FINE: shop/api") || strings.Contains(end, "\x1b[?") {
		t.Errorf("the terminal is left with %q", end)
	}
}

// A terminal that ends is not drawn on: the program ends, too.
func TestWatchEndsWithItsTerminal(t *testing.T) {
	healthy := scenarios()["healthy"]
	socket, _ := serveStatus(t, func() *api.Status { return healthy })
	g := newGlass(t, 80, 24, nil, "status", "--watch", "--socket", socket)
	g.until("the first view", func(s string) bool { return strings.Contains(s, "FINE") })
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := g.cmd.Wait(); err != nil {
		t.Errorf("a watch that is told to end: %v", err)
	}
	<-g.over
	if !strings.Contains(g.all(), "\x1b[?1049l") {
		t.Errorf("the terminal is left as it is: %q", g.all())
	}
}

// TestColoursOnTerminal: who has colours, and who cannot move a cursor.
func TestColoursOnTerminal(t *testing.T) {
	crash := scenarios()["crash loop"]
	socket, _ := serveStatus(t, func() *api.Status { return crash })
	for _, row := range []struct {
		name    string
		environ []string
		want    bool
	}{
		{"as it is", nil, true},
		{"NO_COLOR", []string{"NO_COLOR=1"}, false},
		{"a dumb terminal", []string{"TERM=dumb"}, false},
	} {
		g := newGlass(t, 80, 24, row.environ, "status", "--socket", socket)
		_ = g.cmd.Wait()
		<-g.over
		if got := strings.Contains(g.all(), "\x1b["); got != row.want || !strings.Contains(g.all(), "NOT FINE") {
			t.Errorf("%s: %q", row.name, g.all())
		}
	}
	g := newGlass(t, 80, 24, []string{"TERM=dumb"}, "status", "--watch", "--socket", socket)
	g.until("a block", func(s string) bool { return strings.Contains(s, "NOT FINE") })
	if strings.Contains(g.all(), "\x1b") {
		t.Errorf("a dumb terminal is drawn on: %q", g.all())
	}
}
