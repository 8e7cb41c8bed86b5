package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/orpheus-cd/orpheus/runtime"
)

// pool hands out the addresses of the subnet and ports of the node. What an
// instance has is one small file named for it, written whole before address or
// port goes to the kernel and removed after it has left it: two instances never
// have one address or port, whenever the agent dies.
type pool struct {
	dir      string
	subnet   netip.Prefix
	address6 func(netip.Addr) netip.Addr // see Config.address6
	reserved []int                       // see Config.ReservedPorts

	mu     sync.Mutex
	loaded bool
	byID   map[string]record
	used   map[netip.Addr]string
	ports  map[int]string
	// nextAddr and nextPort are where the searches begin. They move on with
	// what is given, so that it is given again as late as possible: peers
	// remember neighbours, connections and endpoints for a while.
	nextAddr netip.Addr
	nextPort int
}

// record is what one instance has.
type record struct {
	Address netip.Addr `json:"address"`
	// Address6 is invalid for an instance that was attached without IPv6.
	Address6 netip.Addr   `json:"address6,omitzero"`
	Ports    []hostedPort `json:"ports,omitempty"`
}

// hostedPort is a port of the node that leads to one of an instance.
type hostedPort struct {
	Port     int    `json:"port"`
	Protocol string `json:"protocol"`
	Host     int    `json:"host"`
}

const recordSuffix = ".json"

// take returns what the instance has, an address at least.
func (p *pool) take(id string) (record, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.load(); err != nil {
		return record{}, err
	}
	if r, ok := p.byID[id]; ok {
		return r, nil
	}
	addr, err := p.free()
	if err != nil {
		return record{}, err
	}
	r := record{Address: addr, Address6: p.address6(addr)}
	if err := p.keep(id, r); err != nil {
		return record{}, err
	}
	p.nextAddr = addr.Next()
	return r, nil
}

// adopt returns the record of an instance that has these addresses. Of one whose
// record says otherwise, or was lost, it is made to say so, if they are still to
// be had.
func (p *pool) adopt(id string, has record) (record, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.load(); err != nil {
		return record{}, err
	}
	r := p.byID[id]
	if r.Address == has.Address {
		return r, nil
	}
	if !p.subnet.Contains(has.Address) {
		return record{}, fmt.Errorf("its address %s is none of %s: restart it", has.Address, p.subnet)
	}
	if other, taken := p.used[has.Address]; taken {
		return record{}, fmt.Errorf("its address %s was given to %s: restart both", has.Address, other)
	}
	delete(p.used, r.Address)
	r.Address, r.Address6 = has.Address, has.Address6
	return r, p.keep(id, r)
}

// renew gives an instance that is attached anew the IPv6 address that goes with
// its IPv4 address today.
func (p *pool) renew(id string) (record, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.byID[id]
	if six := p.address6(r.Address); r.Address6 != six {
		r.Address6 = six
		if err := p.keep(id, r); err != nil {
			return record{}, err
		}
	}
	return r, nil
}

// host returns the node's port for each of these ports of the instance; free
// looks for those it has not yet. What is missing is given in one step.
func (p *pool) host(id string, ports []runtime.ContainerPort, free func(taken map[int]string, from, count int) ([]int, error)) (map[runtime.ContainerPort]int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.load(); err != nil {
		return nil, err
	}
	r, ok := p.byID[id]
	if !ok {
		return nil, fmt.Errorf("%s is not attached: %w", id, runtime.ErrNotFound)
	}
	has := map[runtime.ContainerPort]int{}
	kept := make([]hostedPort, 0, len(r.Ports)+len(ports)) // others may read the old ones
	for _, h := range r.Ports {
		if !slices.Contains(p.reserved, h.Host) {
			has[runtime.ContainerPort{Port: h.Port, Protocol: h.Protocol}] = h.Host
			kept = append(kept, h)
		}
	}
	answer := map[runtime.ContainerPort]int{}
	var missing []runtime.ContainerPort
	for _, port := range ports {
		if host, ok := has[port]; ok {
			answer[port] = host
		} else if !slices.Contains(missing, port) {
			missing = append(missing, port)
		}
	}
	if len(missing) == 0 {
		return answer, nil
	}
	found, err := free(p.ports, p.nextPort, len(missing))
	if err != nil {
		return nil, err
	}
	r.Ports = kept
	for k, port := range missing {
		answer[port] = found[k]
		r.Ports = append(r.Ports, hostedPort{Port: port.Port, Protocol: port.Protocol, Host: found[k]})
	}
	if err := p.keep(id, r); err != nil {
		return nil, err
	}
	p.nextPort = found[len(found)-1] + 1
	return answer, nil
}

// free finds the next address that nobody has. The first is the network, the
// second the gateway, the last the broadcast address.
func (p *pool) free() (netip.Addr, error) {
	first := p.subnet.Addr().Next().Next()
	size := 1<<(32-p.subnet.Bits()) - 3
	addr := p.nextAddr
	for range size {
		if !p.subnet.Contains(addr) || !p.subnet.Contains(addr.Next()) || addr.Less(first) {
			addr = first
		}
		if _, taken := p.used[addr]; !taken {
			return addr, nil
		}
		addr = addr.Next()
	}
	return netip.Addr{}, fmt.Errorf("all %d addresses of %s are in use: set a larger subnet in the agent's configuration", size, p.subnet)
}

// keep writes the record, then remembers it.
func (p *pool) keep(id string, r record) error {
	if err := p.write(id, r); err != nil {
		return fmt.Errorf("keep address %s: %w", r.Address, err)
	}
	p.remember(id, r)
	return nil
}

func (p *pool) remember(id string, r record) {
	p.byID[id], p.used[r.Address] = r, id
	for _, h := range r.Ports {
		p.ports[h.Host] = id
	}
}

// write makes the record appear whole or not at all. It is not synced: what a
// power cut may tear belongs to instances that the power cut ended, too.
func (p *pool) write(id string, r record) error {
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return err
	}
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	path := p.path(id)
	if err := os.WriteFile(path+".new", body, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// release gives everything back; that it has nothing is success.
func (p *pool) release(id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.load(); err != nil {
		return err
	}
	for _, path := range []string{p.path(id) + ".new", p.path(id)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("give address back: %w", err)
		}
	}
	r := p.byID[id]
	delete(p.used, r.Address)
	for _, h := range r.Ports {
		delete(p.ports, h.Host)
	}
	delete(p.byID, id)
	return nil
}

// get returns what the instance has, if anything.
func (p *pool) get(id string) (record, bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.load(); err != nil {
		return record{}, false, err
	}
	r, ok := p.byID[id]
	return r, ok, nil
}

// list returns what every instance has.
func (p *pool) list() (map[string]record, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.load(); err != nil {
		return nil, err
	}
	return maps.Clone(p.byID), nil
}

// load reads the records once. One that is torn, or that repeats an address or
// port, is removed: its instance is attached anew when it asks. One that the
// disk does not give is no such: its address may be in use.
func (p *pool) load() error {
	if p.loaded {
		return nil
	}
	entries, err := os.ReadDir(p.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read addresses: %w", err)
	}
	p.byID, p.used, p.ports = map[string]record{}, map[netip.Addr]string{}, map[int]string{}
	for _, e := range entries {
		path := filepath.Join(p.dir, e.Name())
		id, isRecord := strings.CutSuffix(e.Name(), recordSuffix)
		body, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read addresses: %w", err)
		}
		r, sound := p.parse(body)
		if !isRecord || !sound || p.clashes(r) {
			if err := os.Remove(path); err != nil {
				return fmt.Errorf("remove torn address record: %w", err)
			}
			continue
		}
		p.remember(id, r)
	}
	// Anywhere: what a former process gave back last is not known.
	p.nextAddr = p.subnet.Addr()
	for skip := rand.IntN(1 << (32 - p.subnet.Bits())); skip > 0; skip-- {
		p.nextAddr = p.nextAddr.Next()
	}
	p.nextPort = rand.IntN(1 << 16)
	p.loaded = true
	return nil
}

// clashes reports whether another instance has something of this.
func (p *pool) clashes(r record) bool {
	_, taken := p.used[r.Address]
	for _, h := range r.Ports {
		_, port := p.ports[h.Host]
		taken = taken || port
	}
	return taken
}

// parse reads a record; false = it is torn, or its address none of this subnet.
func (p *pool) parse(body []byte) (r record, sound bool) {
	err := json.Unmarshal(body, &r)
	return r, err == nil && p.subnet.Contains(r.Address)
}

func (p *pool) path(id string) string { return filepath.Join(p.dir, id+recordSuffix) }
