package gitsync_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/anishathalye/porcupine"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
)

// TestBoardOnJGit holds records on JGit, the server inside Gerrit and others,
// to the promises of every board. It speaks version 0, and waits for its file
// system's clock at every change, so the cases run at once.
func TestBoardOnJGit(t *testing.T) {
	if testing.Short() {
		t.Skip("a Java program")
	}
	differs := map[string]string{
		"a chain is read without what is below": "in version 0, only over http may be asked for what is no ref's value now",
		"of 16 writers exactly one wins":        "jgit ends a connection now and then while refs change under it; the history bears that",
	}
	root := t.TempDir()
	board := sshBridge(t, startJGit(t, root))
	fresh := func(t *testing.T) func() gitsync.Board {
		t.Helper()
		dir := gitsynctest.Must(os.MkdirTemp(root, "records"))(t)
		r := gitsynctest.Must(gitsynctest.NewRepo(dir))(t)
		return func() gitsync.Board { return openBoard(t, board("/"+r.Name())) }
	}
	t.Run("suite", func(t *testing.T) {
		for _, c := range gitsynctest.BoardSuite() {
			t.Run(c.Name, func(t *testing.T) {
				if why, ok := differs[c.Name]; ok {
					t.Skip(why)
				}
				t.Parallel()
				c.Run(t, fresh(t))
			})
		}
		t.Run("probe", func(t *testing.T) {
			t.Parallel()
			able, err := fresh(t)().(*gitsync.RefBoard).Probe(t.Context(), "node-1")
			if want := (gitsync.Abilities{Compares: true, Atomic: true}); err != nil || able != want {
				t.Errorf("abilities %+v, want %+v, error %v", able, want, err)
			}
		})
	})
	t.Run("history", func(t *testing.T) { // by itself: too many at once, and it ends connections
		h := write(t, 3, fresh(t))
		h.doubtCreations()
		if result := h.check(t); result != porcupine.Ok || h.count[gitsync.Won] == 0 || h.count[gitsync.Lost] == 0 {
			h.tell(t)
			t.Errorf("the history is %s, outcomes %v", result, h.count)
		}
	})
}

// doubtCreations has the check believe no creation that was called a success.
// Of creations of one ref at the same instant, JGit 4.11 calls now and then more
// than one that: about one history in twenty on a loaded machine. Every other
// change of a ref goes through its value.
func (h *history) doubtCreations() {
	for i, op := range h.ops {
		if in := op.Input.(operation); in.swap && in.old == "" && op.Output.(answer).outcome == gitsync.Won {
			h.ops[i].Output, h.ops[i].Return = answer{outcome: gitsync.Unknown}, math.MaxInt64
		}
	}
}

// startJGit starts jgit daemon over the repositories below root and returns
// its address, or skips the test where there is none.
func startJGit(t *testing.T, root string) (address string) {
	t.Helper()
	for _, program := range []string{"jgit", "java"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("no %s: install jgit-cli and a Java runtime", program)
		}
	}
	const jars = "/usr/share/java/" // Debian's jgit does not name all it needs
	var path []string
	for _, jar := range []string{"org.eclipse.jgit.lfs", "org.eclipse.jgit.lfs.server", "org.eclipse.jgit.http.apache", "slf4j-api", "slf4j-nop"} {
		path = append(path, jars+jar+".jar")
	}
	cmd := exec.Command("jgit", "daemon", "--export-all", "--enable", "receive-pack", "--listen", "127.0.0.1", "--port", "0", root)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "JGIT_CLASSPATH="+strings.Join(path, ":"))
	var port string
	startServer(t, cmd, func(line string) bool {
		_, rest, ok := strings.Cut(line, "Listening on")
		if ok {
			port = rest[strings.LastIndex(rest, ":")+1:]
		}
		return ok
	})
	return "127.0.0.1:" + port
}

// startServer starts a program that ends with the test, and waits for the line
// that says it listens.
func startServer(t *testing.T, cmd *exec.Cmd, listens func(line string) bool) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	drained := make(chan struct{})
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-drained
		_ = cmd.Wait() // it was killed
	})
	ready := make(chan bool)
	go func() {
		defer close(drained)
		lines := bufio.NewScanner(out)
		for lines.Scan() && !listens(lines.Text()) {
		}
		ready <- lines.Err() == nil && lines.Text() != ""
		_, _ = io.Copy(io.Discard, out)
	}()
	if !<-ready {
		_ = cmd.Process.Kill()
		<-drained
		_ = cmd.Wait() // what it said is complete then
		t.Skipf("%s does not start: %s", cmd.Path, said.String())
	}
}

// sshBridge is an SSH server that lets everybody in and passes commands on to
// a daemon that speaks Git's own protocol, which boards do not.
func sshBridge(t *testing.T, daemon string) func(path string) gitsync.BoardConfig {
	t.Helper()
	config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }}
	host := newSigner(t)
	config.AddHostKey(host)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			served.Go(func() { bridge(conn, config, daemon) })
		}
	})
	t.Cleanup(func() { listener.Close(); served.Wait() })
	dir := t.TempDir()
	hosts, key := filepath.Join(dir, "hosts"), filepath.Join(dir, "key")
	address := listener.Addr().String()
	line := knownhosts.Line([]string{knownhosts.Normalize(address)}, host.PublicKey()) + "\n"
	if err := errors.Join(os.WriteFile(hosts, []byte(line), 0o600), os.WriteFile(key, []byte(newKey(t, "")), 0o600)); err != nil {
		t.Fatal(err)
	}
	return func(path string) gitsync.BoardConfig {
		return gitsync.BoardConfig{URL: "ssh://git@" + address + path, KnownHostsFile: hosts, SSHKeyFile: key}
	}
}

func bridge(conn net.Conn, config *ssh.ServerConfig, daemon string) {
	defer conn.Close()
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	var served sync.WaitGroup
	defer served.Wait()
	for c := range channels {
		channel, requests, err := c.Accept()
		if err != nil {
			return
		}
		served.Go(func() {
			for r := range requests {
				_ = r.Reply(r.Type == "exec", nil)
				if r.Type == "exec" {
					go bridgeCommand(channel, string(r.Payload[4:]), daemon)
				}
			}
		})
	}
}

// bridgeCommand passes git-upload-pack '/path' on.
func bridgeCommand(channel ssh.Channel, command, daemon string) {
	defer channel.Close()
	conn, err := net.Dial("tcp", daemon)
	if err != nil {
		return
	}
	defer conn.Close()
	service, path, _ := strings.Cut(command, " ")
	request := service + " " + strings.Trim(path, "'") + "\x00host=localhost\x00"
	fmt.Fprintf(conn, "%04x%s", len(request)+4, request)
	go func() { _, _ = io.Copy(conn, channel) }()
	_, _ = io.Copy(channel, conn)
	_, _ = channel.SendRequest("exit-status", false, make([]byte, 4))
}

// serveDulwich is Dulwich's server over http, which prints its port.
const serveDulwich = `
import sys
from dulwich.repo import Repo
from dulwich.server import DictBackend
from dulwich.web import WSGIRequestHandlerLogger, WSGIServerLogger, make_server, make_wsgi_chain
server = make_server("127.0.0.1", 0, make_wsgi_chain(DictBackend({"/": Repo(sys.argv[1])})),
                     handler_class=WSGIRequestHandlerLogger, server_class=WSGIServerLogger)
print(server.server_port, flush=True)
server.serve_forever()
`

func startDulwich(t *testing.T, repo *gitsynctest.Repo) gitsync.BoardConfig {
	t.Helper()
	python := "/usr/bin/python3" // the system's, which has the packages
	if err := exec.Command(python, "-c", "import dulwich.web").Run(); err != nil {
		t.Skip("no dulwich: install python3-dulwich")
	}
	var port string
	startServer(t, exec.Command(python, "-c", serveDulwich, repo.Dir), func(line string) bool { port = line; return true })
	return gitsync.BoardConfig{URL: "http://127.0.0.1:" + port + "/"}
}

// TestAttack39Dulwich: a server that compares old values, but says "ok" when
// they differ, is found out by the probe; its history shows that it must be.
func TestAttack39Dulwich(t *testing.T) {
	if testing.Short() {
		t.Skip("a Python program")
	}
	cfg := startDulwich(t, newRepo(t))
	able, err := openBoard(t, cfg).Probe(t.Context(), "node-1")
	if err != nil || able.Compares {
		t.Errorf("abilities %+v, error %v", able, err)
	}
	h := write(t, 2, func() gitsync.Board { return openBoard(t, cfg) })
	if result := h.check(t); result != porcupine.Illegal {
		t.Errorf("the history is %s, outcomes %v", result, h.count)
	}
}
