package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime/containerd/imagetest"
)

// worldAddress is where the names of the world lead in these tests; it is of no
// network.
const worldAddress = "192.0.2.7"

// hub of images whose names have no host.
const dockerHub = "registry-1.docker.io"

// world is what a machine finds outside: a registry that calls itself Docker's,
// with a certificate that its programs trust. Images in it have the names that
// the pages say; in each is the payload, as far as it can stand for what they
// are.
type world struct {
	dir      string // for all of it
	caFile   string
	registry *imagetest.Registry
}

// newWorld is for tests that do not run beside each other.
func newWorld(t *testing.T) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it stands for machines")
	}
	for _, program := range []string{"bash", "curl", "git", "go", "make", "ssh", "ssh-keygen", "ssh-keyscan"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s, which the pages have people type", program)
		}
	}
	dir, err := os.MkdirTemp("", "world")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	w := &world{dir: dir, caFile: filepath.Join(dir, "ca.pem")}
	w.settle(t)
	if w.registry, err = imagetest.StartRegistry(imagetest.RegistryOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.registry.Stop)
	l, err := tls.Listen("tcp", ":443", &tls.Config{Certificates: []tls.Certificate{w.certificate(t)}})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: w.registry, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return w
}

// settle gives this test's network the address.
func (w *world) settle(t *testing.T) {
	t.Helper()
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	address, err := netlink.ParseAddr(worldAddress + "/32")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrAdd(lo, address); err != nil && !errors.Is(err, unix.EEXIST) {
		t.Fatal(err)
	}
}

// certificate signs itself, for dockerHub.
func (w *world) certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: dockerHub}, DNSNames: []string{dockerHub},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	signed, err := x509.CreateCertificate(rand.Reader, about, about, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed})
	if err := os.WriteFile(w.caFile, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{signed}, PrivateKey: key}
}

// image puts the payload behind a name without a host. It serves on that port,
// or, with a folder, behaves like a database that has its data there.
func (w *world) image(t *testing.T, nameTag, port, data string) {
	t.Helper()
	o := imagetest.Options{Binary: payload, Env: []string{"PORT=" + port, "VERSION=" + nameTag}, Expose: []string{port + "/tcp"}}
	if data != "" {
		o.Entrypoint = []string{imagetest.Program, "database", data}
	}
	img, err := imagetest.Build(o)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(nameTag, "/") {
		nameTag = "library/" + nameTag
	}
	if _, _, err := w.registry.Push(nameTag, img); err != nil {
		t.Fatal(err)
	}
}

// hosts is an /etc/hosts by which names lead to addresses.
func (w *world) hosts(t *testing.T, names map[string]string) string {
	t.Helper()
	text := "127.0.0.1 localhost\n" + worldAddress + " " + dockerHub + "\n"
	for name, address := range names {
		text += address + " " + name + "\n"
	}
	file := filepath.Join(w.dir, "hosts")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// folder makes one below the world's.
func (w *world) folder(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(w.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// laptop is a machine that nothing was ever done with but what its owner has
// done before: told Git who he is. /usr/local/bin, /etc/hosts and the home are
// its own. Who works on it is root, so that sudo has nothing to do.
func (w *world) laptop(t *testing.T, dir string, hosts string) *site {
	t.Helper()
	home, programs, tools := w.folder(t, "home"), w.folder(t, "programs"), w.folder(t, "tools")
	for file, text := range map[string]string{
		filepath.Join(home, ".gitconfig"): "[user]\n\tname = Ann\n\temail = ann@example.com\n",
		filepath.Join(tools, "sudo"):      "#!/bin/sh\nexec \"$@\"\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return &site{
		name: "the laptop", dir: dir, start: onto(map[string]string{"/usr/local/bin": programs, "/etc/hosts": hosts}),
		env: append(w.environment(t, home), "PATH="+tools+":/usr/local/bin:"+pathWithGo(t)),
	}
}

// environment is what shells have but a PATH. What Go keeps is kept.
func (w *world) environment(t *testing.T, home string) []string {
	t.Helper()
	env := []string{"HOME=" + home, "XDG_CACHE_HOME=" + filepath.Join(w.dir, "c"), "SSL_CERT_FILE=" + w.caFile, "GIT_CONFIG_NOSYSTEM=1",
		"LANG=C.UTF-8", "NO_COLOR=1"}
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOFLAGS", "GOPROXY", "GOTOOLCHAIN"} {
		value, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		env = append(env, name+"="+strings.TrimSpace(string(value)))
	}
	return env
}

func pathWithGo(t *testing.T) string {
	t.Helper()
	compiler, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(compiler) + ":/usr/sbin:/usr/bin:/sbin:/bin"
}

// onto starts commands where some files and folders lie over others.
func onto(over map[string]string) func(*exec.Cmd) error {
	return func(cmd *exec.Cmd) error {
		return onPassingThread(func() error {
			if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
				return fmt.Errorf("unshare: %w", err)
			}
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				return fmt.Errorf("keep mounts apart: %w", err)
			}
			if err := lay(over); err != nil {
				return err
			}
			return cmd.Start()
		})
	}
}

// lay mounts files and folders over others.
func lay(over map[string]string) error {
	for where, what := range over {
		if err := unix.Mount(what, where, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("lay %s over %s: %w", what, where, err)
		}
	}
	return nil
}

// localFleet asks "orpheus dev status" where things are.
func (s *stage) localFleet(at *site) (nodes []localNode) {
	s.t.Helper()
	out, err := s.run(at, "orpheus dev status -o json")
	var st struct {
		Nodes []localNode `json:"nodes"`
	}
	if err == nil {
		err = json.Unmarshal([]byte(out), &st)
	}
	if err != nil || len(st.Nodes) == 0 {
		s.t.Fatalf("dev status: %v\n%s", err, out)
	}
	return st.Nodes
}

type localNode struct {
	Name    string `json:"name"`
	Address string `json:"address"` // with the port of peers
	Socket  string `json:"socket"`
}

func (n localNode) host() string {
	host, _, _ := net.SplitHostPort(n.Address)
	return host
}
