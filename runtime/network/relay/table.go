package relay

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/orpheus-cd/orpheus/runtime"
)

// File is the name of the relay's file in its folder; where it exists, Serve has
// something to do.
const File = "relay.json"

// Bounds of the file.
const (
	maxFile    = 64 << 20
	maxFronts  = 8192
	maxTargets = 1024 // of one front
)

// table is everything the relay serves: the content of File.
type table struct {
	Fronts []entry `json:"fronts"`
}

// entry is one place to listen at, and where connections to it lead.
type entry struct {
	Listen   string           `json:"listen"`   // address:port; ":port" = all addresses
	Protocol string           `json:"protocol"` // "tcp" or "udp"
	Service  string           `json:"service"`  // for people
	Affinity bool             `json:"affinity,omitempty"`
	Targets  []netip.AddrPort `json:"targets"`
}

// place tells entries apart.
type place struct{ listen, protocol string }

func (e entry) place() place { return place{e.Listen, e.Protocol} }

// tableOf is what is to be served, in a total order, the front that each place
// is for, and what is left out.
func tableOf(b runtime.Balancing, lowest int) (t table, of map[place]runtime.Front, left runtime.LeftOutError) {
	fronts := slices.Clone(b.Fronts)
	// A port that keeps its number comes before one that is raised to it.
	slices.SortStableFunc(fronts, func(a, b runtime.Front) int {
		return cmp.Compare(portFrom(a.Port, lowest)-a.Port, portFrom(b.Port, lowest)-b.Port)
	})
	of = map[place]runtime.Front{}
	for _, f := range fronts {
		e, err := entryOf(f, lowest)
		if err == nil && e.Listen == "" {
			continue
		}
		if other, is := of[e.place()]; err == nil && is {
			err = fmt.Errorf("%s has it already", other.Service)
		}
		if err == nil && len(t.Fronts) == maxFronts {
			err = fmt.Errorf("more than %d are not served", maxFronts)
		}
		if err != nil {
			left = append(left, runtime.LeftOut{Front: f, Reason: err.Error()})
			continue
		}
		of[e.place()] = f
		t.Fronts = append(t.Fronts, e)
	}
	slices.SortFunc(t.Fronts, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.Listen, b.Listen), cmp.Compare(a.Protocol, b.Protocol))
	})
	return t, of, left
}

// entryOf is a front as the relay serves it; without Listen where there is
// nothing to do. Nobody listens for a front without targets: that is how it
// refuses connections.
func entryOf(f runtime.Front, lowest int) (entry, error) {
	e := entry{Protocol: f.Protocol, Service: f.Service.String(), Affinity: f.Affinity}
	if f.Protocol != "tcp" && f.Protocol != "udp" {
		return e, fmt.Errorf("protocol %q: want tcp or udp", f.Protocol)
	}
	if f.Port < 1 || f.Port > 65535 {
		return e, errors.New("want 1 to 65535")
	}
	if len(f.Targets) > maxTargets {
		return e, fmt.Errorf("%d targets are more than %d", len(f.Targets), maxTargets)
	}
	for _, t := range f.Targets {
		addr, err := netip.ParseAddr(t.Address)
		if err != nil || addr.IsUnspecified() || addr.IsMulticast() || t.Port < 1 || t.Port > 65535 {
			return e, fmt.Errorf("target %q port %d: want an address and a port", t.Address, t.Port)
		}
		e.Targets = append(e.Targets, netip.AddrPortFrom(addr.Unmap(), uint16(t.Port)))
	}
	slices.SortFunc(e.Targets, netip.AddrPort.Compare)
	e.Targets = slices.Compact(e.Targets)
	if len(e.Targets) == 0 {
		return e, nil
	}
	switch own := func(t netip.AddrPort) bool { return int(t.Port()) == f.Port }; f.Kind {
	case runtime.FrontService:
		if at := Address(f.Address); at != "" {
			e.Listen = net.JoinHostPort(at, strconv.Itoa(portFrom(f.Port, lowest)))
		}
	case runtime.FrontPublished:
		if slices.ContainsFunc(e.Targets, own) {
			return e, nil // instances have this port themselves
		}
		if f.Port < lowest {
			return e, fmt.Errorf("ports below %d need rights that the agent lacks; publish a higher one, or lower the kernel's net.ipv4.ip_unprivileged_port_start", lowest)
		}
		if f.Address != "" {
			if _, err := netip.ParseAddr(f.Address); err != nil {
				return e, fmt.Errorf("address %q: want one of the node", f.Address)
			}
		}
		e.Listen = net.JoinHostPort(f.Address, strconv.Itoa(f.Port))
	}
	return e, nil
}

// encode is the content of File, and what a server that serves it names.
func (t table) encode() (text []byte, name string, err error) {
	if text, err = json.Marshal(t); err != nil {
		return nil, "", err
	}
	if len(text) > maxFile {
		return nil, "", fmt.Errorf("%d bytes are more than the %d the relay reads", len(text), maxFile)
	}
	return text, nameOf(text), nil
}

func nameOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// write makes text the content of File at once and whole. A file that has it
// already is not touched.
func write(dir string, text []byte) error {
	if have, err := readFile(dir); err == nil && bytes.Equal(have, text) {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".relay-*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, File))
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

func readFile(dir string) ([]byte, error) {
	f, err := os.Open(filepath.Join(dir, File))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Mode()&fs.ModeType != 0 {
		return nil, errors.Join(err, fmt.Errorf("%s is not a regular file", f.Name()))
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s has more than %d bytes", f.Name(), maxFile)
	}
	return text, err
}

// parse reads what encode wrote, and checks what a server relies on.
func parse(text []byte) (table, error) {
	var t table
	if err := json.Unmarshal(text, &t); err != nil {
		return t, err
	}
	if len(t.Fronts) > maxFronts {
		return t, fmt.Errorf("%d fronts are more than %d", len(t.Fronts), maxFronts)
	}
	for _, e := range t.Fronts {
		_, port, err := net.SplitHostPort(e.Listen)
		if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n == 0 {
			return t, fmt.Errorf("listen %q: want address:port", e.Listen)
		}
		if e.Protocol != "tcp" && e.Protocol != "udp" {
			return t, fmt.Errorf("protocol %q: want tcp or udp", e.Protocol)
		}
		if len(e.Targets) > maxTargets || slices.ContainsFunc(e.Targets, func(a netip.AddrPort) bool { return !a.IsValid() }) {
			return t, fmt.Errorf("%s: bad targets", e.Listen)
		}
	}
	return t, nil
}
