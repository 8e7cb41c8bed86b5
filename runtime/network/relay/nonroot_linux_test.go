package relay

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/runtime"
)

// The test binary is a relay's process where this names its folder.
const relayDir = "ORPHEUS_TEST_RELAY_DIR"

func TestMain(m *testing.M) {
	dir := os.Getenv(relayDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	// The port a service's port 80 is served on by this user.
	if err := json.NewEncoder(os.Stdout).Encode(Port(80)); err != nil {
		os.Exit(1)
	}
	if err := Serve(ctx, dir, slog.New(slog.NewTextHandler(os.Stderr, nil))); err != nil {
		os.Stderr.WriteString(err.Error())
		os.Exit(1)
	}
	os.Exit(0)
}

const nobody = 65534

// unprivileged starts a relay of its own process that has no rights at all.
func unprivileged(t *testing.T, exe, dir string) (cmd *exec.Cmd, port int) {
	cmd = exec.Command(exe)
	cmd.Env, cmd.Dir, cmd.Stderr = append(os.Environ(), relayDir+"="+dir), "/", os.Stderr
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	if err := json.NewDecoder(out).Decode(&port); err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, out)
	return cmd, port
}

// TestWithoutRights runs relays as their users do: as processes without rights,
// one taking over from the other.
func TestWithoutRights(t *testing.T) {
	shared, err := os.MkdirTemp("", "relay")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(shared) })
	dir, exe := filepath.Join(shared, "state"), filepath.Join(shared, "relay.test")
	for _, err := range []error{os.Chmod(shared, 0o755), os.Mkdir(dir, 0o700), copyFile(exe, "/proc/self/exe")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	s := &stage{t, Client{Dir: dir}}
	one := s.backend(1)
	front, _ := s.service("tcp", one.target)
	front.Port = 80
	table, _, left := tableOf(runtime.Balancing{Fronts: []runtime.Front{front}}, 1024)
	if len(left) > 0 {
		t.Fatal(left)
	}
	text, name, err := table.encode()
	if err == nil {
		err = write(dir, text)
	}
	if err == nil {
		err = os.Chmod(filepath.Join(dir, File), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	first, port := unprivileged(t, exe, dir)
	if port != 80 && port != 10080 {
		t.Fatalf("port 80 is served on %d", port)
	}
	at := table.Fronts[0].Listen
	s.eventually("the relay serves", func() bool {
		st, err := askStatus(t.Context(), dir)
		return err == nil && st.Name == name
	})
	standing, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer standing.Close()
	standing.SetDeadline(time.Now().Add(2 * patience))
	if _, err := io.ReadFull(standing, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(filepath.Join(dir, socketFile))
	if err != nil {
		t.Fatal(err)
	}
	unprivileged(t, exe, dir)
	s.eventually("another process takes over", func() bool {
		if _, err := call(at); err != nil {
			t.Fatal(err)
		}
		now, err := os.Stat(filepath.Join(dir, socketFile))
		return err == nil && !os.SameFile(before, now)
	})
	first.Process.Signal(syscall.SIGTERM)
	standing.Write([]byte("ping"))
	if _, err := io.ReadFull(standing, make([]byte, 4)); err != nil {
		t.Errorf("a connection that stood: %v", err)
	}
	standing.Close()
	ended := make(chan error, 1)
	go func() { ended <- first.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the process before: %v", err)
		}
	case <-time.After(patience):
		t.Error("the process before does not end once its connection has")
	}
	if who, err := call(at); err != nil || who != 1 {
		t.Errorf("%d answered, %v", who, err)
	}
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
