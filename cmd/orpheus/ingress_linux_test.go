package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime/network/resolver"
)

const ingressFolder = "../../examples/ingress/base"

// TestIngressExample runs the proxy of examples/ingress, with its configuration
// as it is but for the place of the certificates, against this project's name
// server, in a network namespace of its own.
func TestIngressExample(t *testing.T) {
	haproxy, err := exec.LookPath("haproxy")
	if err != nil {
		haproxy = "/usr/sbin/haproxy"
		if _, err := os.Stat(haproxy); err != nil {
			t.Skip("needs haproxy: apt-get install haproxy")
		}
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs ip: apt-get install iproute2")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces, and the proxy changes its user")
	}
	const inside = "ORPHEUS_TEST_INGRESS"
	if os.Getenv(inside) == "" {
		goruntime.LockOSThread() // Pdeathsig is bound to the thread
		defer goruntime.UnlockOSThread()
		cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.timeout=8m")
		cmd.Env = append(os.Environ(), inside+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("in its own namespace: %v\n%s", err, out)
		}
		return
	}
	w := newIngressWorld(t)
	w.startProxy(haproxy)

	t.Run("http goes to https", func(t *testing.T) {
		res := w.get(t, "http://shop.example.com/cart?a=b")
		if res.code != http.StatusPermanentRedirect || res.location != "https://shop.example.com/cart?a=b" {
			t.Errorf("%+v", res)
		}
	})
	t.Run("hosts are told apart", func(t *testing.T) {
		if res := w.get(t, "https://blog.example.com/"); res.code != 200 || !strings.HasPrefix(res.body, "blog https "+bridgeAddress) {
			t.Errorf("%+v", res)
		}
		if res := w.get(t, "https://nobody.example.com/"); res.code != 404 {
			t.Errorf("%+v", res)
		}
	})
	t.Run("the ready slots of a headless service share", func(t *testing.T) { w.servedBy(t, "shop-0", "shop-1", "shop-2") })
	t.Run("one that is not ready gets none", func(t *testing.T) {
		w.serveNames("shop", 0, 2)
		w.servedBy(t, "shop-0", "shop-2")
	})
	t.Run("one that is new gets its share", func(t *testing.T) {
		w.serveNames("shop", 0, 1, 2)
		w.servedBy(t, "shop-0", "shop-1", "shop-2")
	})
	t.Run("one that dies costs no request", func(t *testing.T) {
		w.shops[0].Close()
		for range 20 {
			if res := w.get(t, "https://shop.example.com/"); res.code != 200 {
				t.Errorf("%+v", res)
			}
		}
	})
	t.Run("its probe", func(t *testing.T) {
		if status, err := w.probe(); err != nil || !strings.HasSuffix(status, " 200 OK") {
			t.Errorf("%s, %v", status, err)
		}
	})
	t.Run("the stop signal lets requests end", w.stops)
}

// ingressWorld is a node with a name server, the services behind the proxy, and
// its clients.
type ingressWorld struct {
	t       *testing.T
	dir     string
	shops   []*http.Server
	client  *http.Client
	proxy   *exec.Cmd
	output  *bytes.Buffer
	ended   chan error
	release chan struct{} // of requests for /slow
}

const (
	bridgeAddress = "10.231.0.1"
	proxyAddress  = "10.231.0.5"
	blogAddress   = "10.232.0.9"
)

func shopAddress(slot int) string { return fmt.Sprintf("10.232.0.%d", 20+slot) }

func newIngressWorld(t *testing.T) *ingressWorld {
	w := &ingressWorld{t: t, dir: t.TempDir(), release: make(chan struct{})}
	lo, err := netlink.LinkByName("lo")
	w.must(err)
	w.must(netlink.LinkSetUp(lo))
	for _, address := range []string{blogAddress, shopAddress(0), shopAddress(1), shopAddress(2)} {
		parsed, err := netlink.ParseAddr(address + "/32")
		w.must(err)
		w.must(netlink.AddrAdd(lo, parsed))
	}
	for slot := range 3 {
		w.shops = append(w.shops, w.serveHTTP(shopAddress(slot)+":8080", fmt.Sprintf("shop-%d", slot)))
	}
	w.serveHTTP(blogAddress+":80", "blog")
	w.join()
	w.serveNames("shop", 0, 1, 2)
	w.startNames()
	return w
}

func (w *ingressWorld) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// join makes the link to the instance; its other end waits for the proxy.
func (w *ingressWorld) join() {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "bridge"
	w.must(netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0"}))
	link, err := netlink.LinkByName("bridge")
	w.must(err)
	address, err := netlink.ParseAddr(bridgeAddress + "/20")
	w.must(err)
	w.must(netlink.AddrAdd(link, address))
	w.must(netlink.LinkSetUp(link))
}

// serveHTTP is a service that says its name and what it was told of its client.
func (w *ingressWorld) serveHTTP(address, name string) *http.Server {
	l, err := net.Listen("tcp", address)
	w.must(err)
	s := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			fmt.Fprint(rw, "begun ")
			_ = http.NewResponseController(rw).Flush()
			<-w.release
		}
		fmt.Fprintf(rw, "%s %s %s", name, r.Header.Get("X-Forwarded-Proto"), r.Header.Get("X-Forwarded-For"))
	})}
	go s.Serve(l)
	w.t.Cleanup(func() { s.Close() })
	return s
}

// startNames runs the node's name server.
func (w *ingressWorld) startNames() {
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		_ = resolver.Run(ctx, w.dir, "test", slog.New(slog.DiscardHandler), func(_ resolver.Health, err error) { ready <- err })
	}()
	w.t.Cleanup(func() { cancel(); <-done })
	w.must(<-ready)
}

// serveNames has the name server know blog, and these slots of a headless shop.
func (w *ingressWorld) serveNames(shop string, ready ...int) {
	headless := resolver.Service{Namespace: "default", Name: shop, Headless: true}
	for slot := range 3 {
		s := resolver.Slot{Name: fmt.Sprint(slot), Addresses: []string{shopAddress(slot)}, Ports: []resolver.Port{{Name: "http", Protocol: "tcp", Port: 8080}}}
		if s.Ready = slices.Contains(ready, slot); s.Ready {
			headless.Addresses = append(headless.Addresses, shopAddress(slot))
		}
		headless.Slots = append(headless.Slots, s)
	}
	w.must(resolver.Write(filepath.Join(w.dir, resolver.ZoneFile), resolver.Zone{
		Listen: []string{bridgeAddress + ":53"}, Allow: []string{"10.231.0.0/20"},
		Services: []resolver.Service{{Namespace: "default", Name: "blog", Addresses: []string{blogAddress}, Ports: []resolver.Port{{Name: "http", Protocol: "tcp", Port: 80}}}, headless},
	}))
}

// startProxy checks the configuration and runs the proxy as a driver would.
func (w *ingressWorld) startProxy(haproxy string) {
	certificates := filepath.Join(w.dir, "certificates")
	w.must(os.Mkdir(certificates, 0o700))
	roots := w.writeCertificate(filepath.Join(certificates, "example.pem"), "shop.example.com", "blog.example.com", "nobody.example.com")
	config, err := os.ReadFile(filepath.Join(ingressFolder, "haproxy.cfg"))
	w.must(err)
	const place = "/etc/ssl/ingress/"
	if strings.Count(string(config), place) != 1 {
		w.t.Fatalf("haproxy.cfg names %s not once", place)
	}
	file := filepath.Join(w.dir, "haproxy.cfg")
	w.must(os.WriteFile(file, []byte(strings.Replace(string(config), place, certificates+"/", 1)), 0o600))
	if out, err := exec.Command(haproxy, "-c", "-f", file).CombinedOutput(); err != nil || bytes.Contains(out, []byte("WARNING")) {
		w.t.Fatalf("haproxy -c: %v\n%s", err, out)
	}
	w.output, w.ended = &bytes.Buffer{}, make(chan error, 1)
	w.proxy = exec.Command("sh", "-euc", `read go
		ip link set lo up; ip address add "$1/20" dev eth0; ip link set eth0 up; ip route add default via "$2"
		exec "$3" -db -f "$4"`, "sh", proxyAddress, bridgeAddress, haproxy, file)
	w.proxy.Stdout, w.proxy.Stderr = w.output, w.output
	w.proxy.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	gate, err := w.proxy.StdinPipe()
	w.must(err)
	w.must(w.proxy.Start())
	inside, err := netlink.LinkByName("eth0")
	w.must(err)
	w.must(netlink.LinkSetNsPid(inside, w.proxy.Process.Pid))
	_, err = io.WriteString(gate, "go\n")
	w.must(err)
	go func() { w.ended <- w.proxy.Wait() }()
	w.t.Cleanup(func() {
		_ = w.proxy.Process.Kill() // it may have ended
		if w.t.Failed() {
			w.t.Logf("the proxy said:\n%s", w.output)
		}
	})
	w.client = &http.Client{
		Timeout:       time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{RootCAs: roots},
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				_, port, _ := net.SplitHostPort(address)
				return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(proxyAddress, port))
			},
		},
	}
	w.eventually("the proxy serves the shop", func() bool { return w.get(w.t, "https://shop.example.com/").code == 200 })
}

// writeCertificate writes certificate and key in the form the proxy reads.
func (w *ingressWorld) writeCertificate(file string, names ...string) *x509.CertPool {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.must(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	w.must(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	w.must(err)
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
	w.must(os.WriteFile(file, text, 0o600))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	return roots
}

type ingressAnswer struct {
	code     int // 0 = none
	body     string
	location string
}

func (w *ingressWorld) get(t *testing.T, url string) ingressAnswer {
	t.Helper()
	res, err := w.client.Get(url)
	if err != nil {
		return ingressAnswer{body: err.Error()}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return ingressAnswer{body: err.Error()}
	}
	return ingressAnswer{res.StatusCode, string(body), res.Header.Get("Location")}
}

func (w *ingressWorld) eventually(what string, holds func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if holds() {
			return
		}
	}
	w.t.Fatalf("two minutes, and not yet: %s", what)
}

// servedBy waits until requests are answered by exactly these instances.
func (w *ingressWorld) servedBy(t *testing.T, want ...string) {
	t.Helper()
	w.t = t
	w.eventually("requests are answered by "+strings.Join(want, ", "), func() bool {
		var got []string
		for range 12 {
			res := w.get(t, "https://shop.example.com/")
			name, _, _ := strings.Cut(res.body, " ")
			if res.code != 200 {
				t.Fatalf("a request fails meanwhile: %+v", res)
			}
			got = append(got, name)
		}
		slices.Sort(got)
		return slices.Equal(slices.Compact(got), want)
	})
}

// probe asks as the agent does: from the instance's own network.
func (w *ingressWorld) probe() (status string, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		goruntime.LockOSThread() // never unlocked: the thread ends with the goroutine
		var ns *os.File
		if ns, err = os.Open(fmt.Sprintf("/proc/%d/ns/net", w.proxy.Process.Pid)); err != nil {
			return
		}
		defer ns.Close()
		if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return
		}
		var conn net.Conn
		if conn, err = net.Dial("tcp", "127.0.0.1:8404"); err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "GET /ready HTTP/1.0\r\n\r\n")
		status, err = bufio.NewReader(conn).ReadString('\n')
		status = strings.TrimSpace(status)
	}()
	<-done
	return status, err
}

// stops sends the stop signal of the manifest while a request is under way.
func (w *ingressWorld) stops(t *testing.T) {
	w.t = t
	res, err := w.client.Get("https://blog.example.com/slow")
	w.must(err)
	defer res.Body.Close()
	begun := make([]byte, len("begun "))
	_, err = io.ReadFull(res.Body, begun)
	w.must(err)
	w.must(w.proxy.Process.Signal(syscall.SIGUSR1))
	w.eventually("the proxy takes no new connections", func() bool {
		conn, err := net.Dial("tcp", proxyAddress+":443")
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	close(w.release)
	if rest, err := io.ReadAll(res.Body); err != nil || !strings.HasPrefix(string(rest), "blog") {
		t.Errorf("the request that was under way: %q, %v", rest, err)
	}
	select {
	case err := <-w.ended:
		// HAProxy 2.6 of Debian 12 may crash when all is done and it frees its memory.
		if text := w.output.String(); err != nil && !strings.Contains(text, "Proxy nobody stopped") {
			t.Errorf("the proxy ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("the proxy does not end")
	}
}

// TestIngressServices: what the examples' configuration asks for is what their
// manifests say.
func TestIngressServices(t *testing.T) {
	config, err := os.ReadFile(filepath.Join(ingressFolder, "haproxy.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, fleet := range []string{"containers", "processes"} {
		if code, stdout, stderr := orpheus(t, filepath.Join(ingressFolder, ".."), "validate", fleet); code != 0 {
			t.Errorf("%s: exit code %d\n%s%s", fleet, code, stdout, stderr)
		}
	}
	for file, names := range map[string][]string{
		"base/shop.yaml":          {"name: shop", "endpointMode: dnsrr", "name: http", "_http._tcp.shop.default.orpheus.internal"},
		"base/blog.yaml":          {"name: blog", "port: 80", "blog.default.orpheus.internal:80"},
		"containers/ingress.yaml": {"port: 8404", "/ready", "bind 127.0.0.1:8404", "monitor-uri /ready", "SIGUSR1", "hard-stop-after 25s", "terminationGracePeriodSeconds: 30"},
		"processes/ingress.yaml":  {"port: 8404", "/ready", "containerPort: 443", "bind :443", "SIGUSR1"},
	} {
		text, err := os.ReadFile(filepath.Join(ingressFolder, "..", file))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if !strings.Contains(string(text), name) && !strings.Contains(string(config), name) {
				t.Errorf("neither %s nor haproxy.cfg has %q", file, name)
			}
		}
	}
}
