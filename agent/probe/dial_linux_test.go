package probe

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	goruntime "runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/planner"
)

// namespace makes a network namespace with its loopback up, and a server on
// its port; it is gone with the test.
func namespace(t *testing.T) (path string, port string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	path = filepath.Join(t.TempDir(), "ns")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	type made struct {
		l   net.Listener
		err error
	}
	var in func(done chan<- made)
	in = func(done chan<- made) {
		goruntime.LockOSThread() // the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			// The first thread would not end, and /proc/self would show where it is.
			other := make(chan made)
			go in(other)
			m := <-other
			goruntime.UnlockOSThread()
			done <- m
			return
		}
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- made{nil, err}
			return
		}
		if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
			done <- made{nil, err}
			return
		}
		if err := loopbackUp(); err != nil {
			done <- made{nil, err}
			return
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		done <- made{l, err}
	}
	done := make(chan made)
	go in(done)
	m := <-done
	if m.err != nil {
		t.Skip("no network namespace can be made here: ", m.err)
	}
	t.Cleanup(func() { m.l.Close(); _ = unix.Unmount(path, unix.MNT_DETACH) })
	_, port, _ = net.SplitHostPort(m.l.Addr().String())
	return path, port
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}

// Checks see the network of the instance, and the agent stays in its own.
func TestDialInNamespace(t *testing.T) {
	ns, port := namespace(t)
	probe := &planner.Probe{TCPSocket: &planner.ProbePort{Port: port}}
	inside := Target{Place: Place{NetNS: ns, Address: "127.0.0.1"}}
	outside := Target{Place: Place{Address: "127.0.0.1"}}
	for range 20 {
		wantOutcome(t, "inside", Check(t.Context(), inside, probe), succeeded)
		wantOutcome(t, "outside", Check(t.Context(), outside, probe), failed("connection refused"))
	}
	inside.Place.NetNS += "-gone"
	wantOutcome(t, "gone", Check(t.Context(), inside, probe), unknown("the network of the instance cannot be entered"))
}

// A check that nobody answers ends with its context.
func TestDialInNamespaceEnds(t *testing.T) {
	ns, _ := namespace(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if conn, err := dialIn(ctx, ns, "192.0.2.1:80"); err == nil {
		conn.Close()
		t.Error("somebody answered")
	}
}

// What a check costs, inside a namespace and not: it is made for every
// container, every few seconds, for ever.
func BenchmarkCheck(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	address, _ := url.Parse(server.URL)
	own := Target{Place: Place{Address: "127.0.0.1"}}
	for name, target := range map[string]Target{"host": own, "namespace": {Place: Place{NetNS: "/proc/self/ns/net", Address: "127.0.0.1"}}} {
		for kind, probe := range map[string]*planner.Probe{
			"http": {HTTPGet: &planner.ProbeHTTP{Port: address.Port()}}, "tcp": {TCPSocket: &planner.ProbePort{Port: address.Port()}},
		} {
			b.Run(kind+"/"+name, func(b *testing.B) {
				for b.Loop() {
					if out := Check(b.Context(), target, probe); out.result != planner.CheckSuccess {
						b.Fatal(out)
					}
				}
			})
		}
	}
}
