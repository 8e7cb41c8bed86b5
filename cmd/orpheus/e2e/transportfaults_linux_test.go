package e2e

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/agent/event"
	"github.com/orpheus-cd/orpheus/cmd/internal/devfleet"
	"github.com/orpheus-cd/orpheus/gitsync/gitsynctest"
	"github.com/orpheus-cd/orpheus/planner"
)

// fault is something that keeps a node from its repository.
type fault struct {
	name         string
	spoil, mend  func() error
	says, remedy string // parts of what the node says
}

// TestTransportFaults spoils the way to the repository under a node at work,
// in every way there is. Each time nothing is touched, everything that a person
// may look at says what is wrong and what to do, and once it is mended the
// commit that was made meanwhile arrives by itself.
func TestTransportFaults(t *testing.T) {
	t.Parallel()
	https := func(faults func(*node, *connectProxy) []fault) func(*testing.T) {
		return func(t *testing.T) {
			n := newNodeNow(t, devfleet.Options{Driver: planner.DriverProcess, Git: gitsynctest.Options{TLS: true, Token: gitToken}})
			n.sufferAll(faults(n, n.configuredProxy()))
		}
	}
	allAtOnce(t, map[string]func(*testing.T){
		"HTTPS": https(serverFaults),
		"Proxy": https(proxyFaults),
		"SSH": func(t *testing.T) {
			n := newNodeNow(t, devfleet.Options{Driver: planner.DriverProcess})
			srv := n.sshServer()
			n.overSSH(srv)
			n.sufferAll(sshFaults(n, srv))
		},
	})
}

// serverFaults are those of a server behind a proxy that works.
func serverFaults(n *node, _ *connectProxy) []fault {
	answers := func(f gitsynctest.Fault) func() error {
		return func() error { n.Git.SetFault(f); return nil }
	}
	write := func(name, value string) func() error {
		return func() error { return os.WriteFile(n.secretFile(name), []byte(value+"\n"), 0o600) }
	}
	return []fault{
		{"wrong token", write("token", wrongToken), write("token", gitToken),
			"the server wants credentials (401)", "check user name and token"},
		{"token file gone", func() error { return os.Remove(n.secretFile("token")) }, write("token", gitToken),
			"read credentials for https://" + gitHost, n.secretFile("token") + ": no such file"},
		{"redirect to another host", answers(gitsynctest.Redirect("https://mirror.example.net")), answers(nil),
			" to https://mirror.example.net, which is not followed", "use that address if you trust it"},
		{"too many requests", answers(gitsynctest.Status(http.StatusTooManyRequests, "2", "slow down")), answers(nil),
			"the server answers 429 Too Many Requests", "as it wishes, it is not asked again before"},
	}
}

// proxyFaults are those of the way to a server that works.
func proxyFaults(n *node, p *connectProxy) []fault {
	refuse := func(status int32) func() error {
		return func() error { p.refuses.Store(status); p.cut(); return nil }
	}
	// A tunnel that is open stays so.
	change := func(name, value string) func() error {
		return func() error { defer p.cut(); return os.WriteFile(n.secretFile(name), []byte(value+"\n"), 0o600) }
	}
	ca := filepath.Join(n.Dir, "git-ca.pem")
	own, err := os.ReadFile(ca)
	if err != nil {
		n.t.Fatal(err)
	}
	trust := func(pem []byte) func() error {
		return func() error { defer p.cut(); return os.WriteFile(ca, pem, 0o644) }
	}
	return []fault{
		{"proxy says no", refuse(http.StatusForbidden), refuse(0),
			"answers 403 Forbidden when asked for the way to " + gitHost, "have its owner allow that"},
		{"proxy password wrong", change("proxy", wrongToken), change("proxy", proxyPassword),
			"answers 407 Proxy Authentication Required", "check the user name and the password that are configured for it"},
		{"unknown authority", trust(newAuthority(n.t)), trust(own),
			"an authority that this node does not know signed the server's certificate", "name a file with that authority's certificate as caFile"},
	}
}

func sshFaults(n *node, srv *gitsynctest.SSHD) []fault {
	known, err := os.ReadFile(srv.KnownHosts)
	if err != nil {
		n.t.Fatal(err)
	}
	host := knownhosts.Normalize(srv.Address)
	// The connection is kept: only the next one shows what is known.
	knows := func(text string) func() error {
		return func() error {
			err := os.WriteFile(srv.KnownHosts, []byte(text), 0o644)
			srv.CutConnections()
			return err
		}
	}
	other := knownhosts.Line([]string{host}, hostKey(n.t))
	return []fault{
		{"unknown host key", knows("# nobody\n"), knows(string(known)),
			host + " is not in " + srv.KnownHosts, "append what ssh-keyscan prints for it"},
		{"changed host key", knows(other + "\n"), knows(string(known)),
			"the host key of " + host + " is not the one in " + srv.KnownHosts + ":1", "if the host really has a new key, replace that line"},
		{"key not let in", func() error {
			srv.CutConnections()
			return os.Rename(srv.AuthorizedKeys(), srv.AuthorizedKeys()+".away")
		},
			func() error { return os.Rename(srv.AuthorizedKeys()+".away", srv.AuthorizedKeys()) },
			"does not let user " + srv.User + " in with the key in " + srv.KeyFile, "add its public key there"},
	}
}

// newAuthority is the certificate of an authority that signed nothing.
func newAuthority(t *testing.T) []byte {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "another authority"},
		NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// hostKey is the key of some other host.
func hostKey(t *testing.T) ssh.PublicKey {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sufferAll lets a node at work suffer one fault after the other.
func (n *node) sufferAll(faults []fault) {
	n.t.Helper()
	hash := n.commit("first version", n.bystanders())
	n.agent()
	n.await("first version", devfleet.SettledAt(hash))
	for _, f := range faults {
		n.suffer(f)
	}
	n.tellsNoSecrets(gitToken, wrongToken, proxyPassword)
}

func (n *node) suffer(f fault) {
	n.t.Helper()
	before := n.lives()
	if err := f.spoil(); err != nil {
		n.t.Fatal(err)
	}
	name := "after-" + strings.ReplaceAll(f.name, " ", "-")
	hash := n.commit(f.name, map[string]string{name + ".yaml": n.manifest(spec{name: name})})
	st := n.await(f.name+" is told", repositoryError(f.says))
	n.t.Logf("%s: %s", f.name, st.Repository.Error)
	for where, text := range n.told() {
		contains(n.t, f.name+": "+where, text, f.says, f.remedy)
	}
	n.untouched(f.name, before)
	if err := f.mend(); err != nil {
		n.t.Fatal(err)
	}
	n.await(f.name+" is mended", devfleet.SettledAt(hash))
	n.untouched(f.name+" was mended", before)
	contains(n.t, "events", n.say("events", "--tail", "20"), "repository can be read again", f.name)
}

// told is what people see of a repository that cannot be read, by where. What
// is wrapped for a terminal is put together again.
func (n *node) told() map[string]string {
	n.t.Helper()
	// A file that has changed may be told after what it brought about.
	var last []event.Event
	text := n.say("events", "--tail", "4", "-o", "json")
	for line := range strings.Lines(text) {
		var e event.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			n.t.Fatalf("events -o json: %v: %s", err, text)
		}
		last = append(last, e)
	}
	var st api.Status
	if err := json.Unmarshal([]byte(n.say("status", "-o", "json")), &st); err != nil {
		n.t.Fatal(err)
	}
	status := n.say("status")
	contains(n.t, "orpheus status", status, "cannot be read since", "What runs keeps running and is kept in order.")
	return map[string]string{
		"orpheus status": status, "orpheus status -o json": st.Repository.Error,
		"orpheus events": n.say("events", "--tail", "4"), "orpheus events -o json": fmt.Sprint(last),
		"orpheus why": n.say("why", "calm"), "the agent's log": strings.ReplaceAll(n.AgentLog(6), `\"`, `"`),
	}
}

// say runs a verb that asks the agent and must succeed.
func (n *node) say(args ...string) string {
	n.t.Helper()
	out, code := n.orpheus(append(args, "--socket", n.Socket())...)
	if code != 0 {
		n.t.Errorf("orpheus %s ends with %d:\n%s", strings.Join(args, " "), code, out)
	}
	return out
}
