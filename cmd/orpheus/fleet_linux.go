package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/orpheus-cd/orpheus/agent"
	"github.com/orpheus-cd/orpheus/agent/fleet"
	"github.com/orpheus-cd/orpheus/agent/peer"
	"github.com/orpheus-cd/orpheus/gitsync"
	"github.com/orpheus-cd/orpheus/gitsync/trust"
	"github.com/orpheus-cd/orpheus/planner"
)

// nodeKeyFile is the node's key in its state folder.
const nodeKeyFile = "node.key"

// fleet is the node's part in a fleet; nil with coordination: none.
func (n *node) fleet() (*agent.Fleet, error) {
	c := n.config
	if c.Coordination == coordinationNone {
		return nil, nil
	}
	key, err := trust.LoadOrCreateKey(filepath.Join(c.StateDir, nodeKeyFile))
	if err != nil {
		return nil, fmt.Errorf("key of this node: %w", err)
	}
	life, err := c.life()
	if err != nil {
		return nil, fmt.Errorf("identity of this node: %w", err)
	}
	self := planner.NodeRecord{
		Node: planner.NodeName(c.Node.Name), Key: key.Public(), Life: life, Labels: c.Node.Labels, Taints: c.Node.Taints,
		OS: goruntime.GOOS, Arch: goruntime.GOARCH, Capacity: c.capacity(), Version: version,
	}
	f := &agent.Fleet{
		Open: func(place *planner.RecordsPlace) (agent.Board, error) {
			return gitsync.NewBoard(c.board(place, n.log))
		},
		Hint:   n.hintNow,
		Random: randomNumber,
	}
	if c.Peer.Listen != "none" {
		self.Address = c.peerAddress()
		if f.Peers, err = c.peers(key, n); err != nil {
			return nil, fmt.Errorf("peers: %w", err)
		}
	}
	f.Member = fleet.Config{Self: self, Sign: key.Sign, Verify: trust.Verify}
	return f, nil
}

// peers makes the node's part in watching others.
func (c *config) peers(key *trust.Key, n *node) (agent.Peers, error) {
	certificate, err := key.TLSCertificate()
	if err != nil {
		return nil, err
	}
	return peer.New(peer.Config{
		Node: planner.NodeName(c.Node.Name), Listen: c.Peer.Listen, Certificate: certificate, KeyOf: trust.KeyOfCertificate, Log: n.log,
	})
}

func randomNumber() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

// life tells this machine, this state folder and this boot from others.
func (c *config) life() (planner.Life, error) {
	machine, err := readSecret("/etc/machine-id")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return planner.Life{}, err
	}
	boot, err := readSecret("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return planner.Life{}, err
	}
	if err := os.MkdirAll(c.StateDir, 0o711); err != nil {
		return planner.Life{}, err
	}
	path := filepath.Join(c.StateDir, "life")
	state, err := readSecret(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && state == "" {
		var b [16]byte
		_, _ = rand.Read(b[:]) // never fails
		state = hex.EncodeToString(b[:])
		err = os.WriteFile(path, []byte(state+"\n"), 0o600)
	}
	return planner.Life{Machine: machine, State: state, Boot: boot}, err
}

// capacity is what is configured, else what the machine has.
func (c *config) capacity() planner.ResourceList {
	var have planner.ResourceList
	have.CPUMillis = int64(goruntime.NumCPU()) * 1000
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err == nil {
		have.MemoryBytes = int64(info.Totalram) * int64(info.Unit)
	}
	if v := c.Node.Capacity.CPU; v != "" {
		q := resource.MustParse(v) // validated
		have.CPUMillis = q.MilliValue()
	}
	if v := c.Node.Capacity.Memory; v != "" {
		q := resource.MustParse(v) // validated
		have.MemoryBytes = q.Value()
	}
	return have
}

// peerAddress is where others reach this node: as configured, else the address
// with which it reaches the Git server. "" = none was found: it then shows life
// through the records.
func (c *config) peerAddress() string {
	if c.Peer.Address != "" {
		return c.Peer.Address
	}
	host, port, _ := net.SplitHostPort(c.Peer.Listen) // validated
	if ip := net.ParseIP(host); ip != nil && !ip.IsUnspecified() {
		return c.Peer.Listen
	}
	if own := ownAddress(c.Repository.URL); own != "" {
		return net.JoinHostPort(own, port)
	}
	return ""
}

// ownAddress is the address this machine uses towards a repository's server.
// No packet is sent.
func ownAddress(repository string) string {
	target := "192.0.2.1:9" // of a range for documentation: shows the default route
	if u, err := url.Parse(repository); err == nil && u.Hostname() != "" {
		target = net.JoinHostPort(u.Hostname(), "9")
	} else if _, rest, ok := strings.Cut(repository, "@"); ok {
		host, _, _ := strings.Cut(rest, ":")
		target = net.JoinHostPort(host, "9")
	}
	conn, err := net.DialTimeout("udp", target, 3*time.Second)
	if err != nil {
		return ""
	}
	defer conn.Close()
	if addr, ok := conn.LocalAddr().(*net.UDPAddr); ok && !addr.IP.IsLoopback() {
		return addr.IP.String()
	}
	return ""
}

// resetFloor hands a person's reset to the agent. The commit must be in the
// node's clone.
func (n *node) resetFloor(a *agent.Agent) func(context.Context, string) error {
	return func(ctx context.Context, commit string) error {
		if commit != "" {
			found, err := n.source.repo.Commit(commit)
			if err != nil {
				return fmt.Errorf("commit %s: %w", commit, err)
			}
			commit = found.Hash
		}
		return a.ResetFloor(ctx, commit)
	}
}
