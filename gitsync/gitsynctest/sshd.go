package gitsynctest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// SSHDOptions say what an SSH server serves.
type SSHDOptions struct {
	Root string // folder of the repositories; relative paths begin here
	// Dir is for keys and configuration; it must exist.
	Dir string
	// OnlyVersion0 keeps GIT_PROTOCOL from getting through, as a plain sshd
	// does.
	OnlyVersion0 bool
	// LoginShell makes users log in as somebody who owns nothing and whose
	// login shell is git-shell, as on a server for Git alone, instead of as
	// whoever runs this program. It takes root and folders that all may enter;
	// variables of AddKey do not get through.
	LoginShell bool
}

// SSHD is OpenSSH's sshd behind a listener on loopback that lives in this
// process: one sshd for every connection, nothing installed, no service. It
// has two host keys, of which KnownHosts holds the second choice of most
// clients, and lets users do nothing but Git.
type SSHD struct {
	Address    string // host:port
	User       string
	KnownHosts string // file with the key of this server
	KeyFile    string // a private key that is let in

	opts     SSHDOptions
	program  []string
	listener net.Listener
	accepted atomic.Int64
	served   sync.WaitGroup

	mu     sync.Mutex
	keys   int
	conns  map[net.Conn]bool
	cut    func(direction Direction, bytes []byte) bool
	closed bool
}

// Direction is where bytes on a connection go.
type Direction int

// The directions.
const (
	ToServer Direction = iota
	ToClient
)

// ErrNoSSHD: this machine cannot run sshd; the text says why.
var ErrNoSSHD = errors.New("no sshd")

const (
	// privsepDir is where sshd locks its unprivileged half up, if root runs it.
	privsepDir = "/run/sshd"
	// gitUser is who logs in with LoginShell, known to sshd alone.
	gitUser = "orpheus-git"
	gitID   = 64170 // of no user of a system, by Debian's ranges
)

// StartSSHD starts a server; Close ends it.
func StartSSHD(opts SSHDOptions) (*SSHD, error) {
	program, err := sshdProgram(opts)
	if err != nil {
		return nil, err
	}
	who, err := user.Current()
	if err != nil {
		return nil, fmt.Errorf("%w: find out who we are: %w", ErrNoSSHD, err)
	}
	if _, err := exec.LookPath("git-shell"); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoSSHD, err)
	}
	if opts.LoginShell {
		who.Username = gitUser
	}
	s := &SSHD{User: who.Username, opts: opts, conns: map[net.Conn]bool{},
		KnownHosts: filepath.Join(opts.Dir, "known_hosts")}
	s.program = append(program, "-i", "-f", s.file("sshd_config"), "-E", s.file("sshd.log"))
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	s.Address = s.listener.Addr().String()
	if err := s.configure(); err != nil {
		s.listener.Close()
		return nil, err
	}
	s.served.Go(s.serve)
	return s, nil
}

// sshdProgram is the command line of sshd. Root's wants a folder that only the
// system's own service makes, and LoginShell a user: it gets what nobody else
// sees.
func sshdProgram(opts SSHDOptions) ([]string, error) {
	sshd, err := exec.LookPath("sshd")
	if err != nil {
		if _, err := os.Stat("/usr/sbin/sshd"); err != nil {
			return nil, fmt.Errorf("%w: install openssh-server", ErrNoSSHD)
		}
		sshd = "/usr/sbin/sshd"
	}
	var before []string
	if _, err := os.Stat(privsepDir); err != nil && os.Getuid() == 0 {
		before = append(before, "mount -t tmpfs -o mode=755 none /run", "mkdir -m 755 "+privsepDir)
	}
	if opts.LoginShell {
		users, err := writeUsers(opts.Dir)
		if err != nil {
			return nil, err
		}
		before = append(before, "mount --bind '"+users+"' /etc/passwd")
	}
	if len(before) == 0 {
		return []string{sshd}, nil
	}
	in := []string{"unshare", "--mount", "sh", "-c", strings.Join(before, " && ") + ` && exec "$@"`, "sh"}
	if out, err := exec.Command(in[0], append(in[1:], "true")...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: it cannot be given what it needs: %w: %s", ErrNoSSHD, err, out)
	}
	return append(in, sshd), nil
}

// writeUsers writes this machine's users and gitUser, as /etc/passwd has them.
func writeUsers(dir string) (string, error) {
	shell, err := exec.LookPath("git-shell")
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoSSHD, err)
	}
	users, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return "", err
	}
	users = fmt.Appendf(users, "%s:x:%d:%d::/:%s\n", gitUser, gitID, gitID, shell)
	name := filepath.Join(dir, "passwd")
	return name, os.WriteFile(name, users, 0o644)
}

func (s *SSHD) file(name string) string { return filepath.Join(s.opts.Dir, name) }

func (s *SSHD) configure() error {
	variables := []string{"SHLVL=1"} // bash reads no start-up file of the user then
	if s.opts.LoginShell {
		variables = slices.DeleteFunc(cleanEnv(), func(v string) bool { return !strings.HasPrefix(v, "GIT_") })
	}
	config := []string{
		"AuthorizedKeysFile " + s.AuthorizedKeys(),
		"StrictModes no", "UsePAM no", "PermitRootLogin prohibit-password", "PasswordAuthentication no",
		"KbdInteractiveAuthentication no", "PrintMotd no", "PrintLastLog no", "PidFile none", "MaxSessions 20",
		"SetEnv " + strings.Join(variables, " "),
	}
	if !s.opts.OnlyVersion0 {
		config = append(config, "AcceptEnv GIT_PROTOCOL")
	}
	_, first, err := ecdsaKey()
	if err != nil {
		return err
	}
	public, second, err := ed25519Key()
	if err != nil {
		return err
	}
	for name, key := range map[string][]byte{"host_ecdsa": first, "host_ed25519": second} {
		if err := os.WriteFile(s.file(name), key, 0o600); err != nil {
			return err
		}
		config = append(config, "HostKey "+s.file(name))
	}
	slices.Sort(config)
	line := knownhosts.Line([]string{knownhosts.Normalize(s.Address)}, public)
	if err := os.WriteFile(s.KnownHosts, []byte(line+"\n"), 0o644); err != nil {
		return err
	}
	if s.KeyFile, err = s.AddKey(); err != nil {
		return err
	}
	return os.WriteFile(s.file("sshd_config"), []byte(strings.Join(config, "\n")+"\n"), 0o644)
}

// AddKey makes a key that is let in, with variables (NAME=value, without
// spaces or quotes) for the commands it runs, and returns its file.
func (s *SSHD) AddKey(env ...string) (string, error) {
	public, private, err := ed25519Key()
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	s.keys++
	name := s.file("key-" + strconv.Itoa(s.keys))
	s.mu.Unlock()
	if err := os.WriteFile(name, private, 0o600); err != nil {
		return "", err
	}
	env = append(cleanEnv(), env...)
	command := `cd '` + s.opts.Root + `' && exec env -i GIT_PROTOCOL=\"$GIT_PROTOCOL\" '` + strings.Join(env, "' '") +
		`' git-shell -c \"$SSH_ORIGINAL_COMMAND\"`
	options := `restrict,command="` + command + `"`
	if s.opts.LoginShell {
		options = "restrict" // git-shell is run already, and runs nothing but Git
	}
	f, err := os.OpenFile(s.AuthorizedKeys(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return "", err
	}
	_, err = fmt.Fprintf(f, "%s %s", options, ssh.MarshalAuthorizedKey(public))
	return name, errors.Join(err, f.Close())
}

func ed25519Key() (ssh.PublicKey, []byte, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	return encodeKey(key)
}

func ecdsaKey() (ssh.PublicKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	return encodeKey(key)
}

func encodeKey(key any) (ssh.PublicKey, []byte, error) {
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return nil, nil, err
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return nil, nil, err
	}
	return signer.PublicKey(), pem.EncodeToMemory(block), nil
}

// RepoURL is the address of a repository.
func (s *SSHD) RepoURL(r *Repo) string { return "ssh://" + s.User + "@" + s.Address + r.Dir }

// AuthorizedKeys is the file of the keys that are let in.
func (s *SSHD) AuthorizedKeys() string { return s.file("authorized_keys") }

// Connections is how many connections there were so far.
func (s *SSHD) Connections() int64 { return s.accepted.Load() }

// CutConnections ends all connections there are; new ones are served.
func (s *SSHD) CutConnections() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

// SetCut asks f about everything that passes, from now on: true ends the
// connection before these bytes get through. nil = never.
func (s *SSHD) SetCut(f func(direction Direction, bytes []byte) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = f
}

// Close ends all connections and the server, and waits for its processes.
func (s *SSHD) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.listener.Close()
	s.CutConnections()
	s.served.Wait()
}

// Log is what sshd wrote.
func (s *SSHD) Log() string {
	text, _ := os.ReadFile(s.file("sshd.log")) // nothing, if it wrote nothing
	return string(text)
}

func (s *SSHD) serve() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.closed {
			conn.Close()
		} else {
			s.accepted.Add(1)
			s.conns[conn] = true
			s.served.Go(func() { s.handle(conn) })
		}
		s.mu.Unlock()
	}
}

// handle runs one sshd between its pipes and the connection.
func (s *SSHD) handle(conn net.Conn) {
	defer func() {
		conn.Close()
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	}()
	cmd := exec.Command(s.program[0], s.program[1:]...)
	cmd.Env = cleanEnv()
	in, err := cmd.StdinPipe()
	if err != nil {
		return
	}
	cmd.Stdout = s.pass(ToClient, conn, conn)
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		return
	}
	s.served.Go(func() {
		_, _ = io.Copy(s.pass(ToServer, conn, in), conn) // ends with either side
		_ = in.Close()
	})
	_ = cmd.Wait() // its status says nothing: sshd ends when its client is gone
}

// pass is a writer that SetCut's function watches.
func (s *SSHD) pass(d Direction, conn net.Conn, to io.Writer) io.Writer {
	return writerFunc(func(b []byte) (int, error) {
		s.mu.Lock()
		cut := s.cut
		s.mu.Unlock()
		if cut != nil && cut(d, bytes.Clone(b)) {
			conn.Close()
			return 0, net.ErrClosed
		}
		return to.Write(b)
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
