package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// pool hands out the addresses of the subnet. Each address in use is one small
// file named for its instance, written whole before the address goes to the
// kernel and removed after it has left it: two instances never have one
// address, whenever the agent dies.
type pool struct {
	dir    string
	subnet netip.Prefix

	mu     sync.Mutex
	loaded bool
	byID   map[string]netip.Addr
	used   map[netip.Addr]string
	// next is where the search begins. It moves on with each address, so that
	// one is used again as late as possible: peers remember neighbours and
	// connections for a while.
	next netip.Addr
}

type record struct {
	Address netip.Addr `json:"address"`
}

const recordSuffix = ".json"

// take returns the instance's address, a new one if it has none.
func (p *pool) take(id string) (netip.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.load(); err != nil {
		return netip.Addr{}, err
	}
	if addr, ok := p.byID[id]; ok {
		return addr, nil
	}
	addr, err := p.free()
	if err != nil {
		return netip.Addr{}, err
	}
	if err := p.write(id, addr); err != nil {
		return netip.Addr{}, fmt.Errorf("keep address %s: %w", addr, err)
	}
	p.byID[id], p.used[addr] = addr, id
	p.next = addr.Next()
	return addr, nil
}

// free finds the next address that nobody has. The first is the network, the
// second the gateway, the last the broadcast address.
func (p *pool) free() (netip.Addr, error) {
	first := p.subnet.Addr().Next().Next()
	size := 1<<(32-p.subnet.Bits()) - 3
	addr := p.next
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

// write makes the record appear whole or not at all. It is not synced: what a
// power cut may tear belongs to instances that the power cut ended, too.
func (p *pool) write(id string, addr netip.Addr) error {
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return err
	}
	body, err := json.Marshal(record{Address: addr})
	if err != nil {
		return err
	}
	path := p.path(id)
	if err := os.WriteFile(path+".new", body, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// release gives the address back; that it has none is success.
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
	delete(p.used, p.byID[id])
	delete(p.byID, id)
	return nil
}

// list returns the address of every instance that has one.
func (p *pool) list() (map[string]netip.Addr, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.load(); err != nil {
		return nil, err
	}
	all := make(map[string]netip.Addr, len(p.byID))
	for id, addr := range p.byID {
		all[id] = addr
	}
	return all, nil
}

// load reads the records once. One that cannot be read or that repeats an
// address is removed: its instance is attached anew when it asks.
func (p *pool) load() error {
	if p.loaded {
		return nil
	}
	entries, err := os.ReadDir(p.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read addresses: %w", err)
	}
	p.byID, p.used = map[string]netip.Addr{}, map[netip.Addr]string{}
	for _, e := range entries {
		path := filepath.Join(p.dir, e.Name())
		id, isRecord := strings.CutSuffix(e.Name(), recordSuffix)
		addr, err := p.read(path)
		if !isRecord || err != nil || p.used[addr] != "" {
			if err := os.Remove(path); err != nil {
				return fmt.Errorf("remove torn address record: %w", err)
			}
			continue
		}
		p.byID[id], p.used[addr] = addr, id
	}
	// Anywhere: what a former process gave back last is not known.
	p.next = p.subnet.Addr()
	for skip := rand.IntN(1 << (32 - p.subnet.Bits())); skip > 0; skip-- {
		p.next = p.next.Next()
	}
	p.loaded = true
	return nil
}

// read returns an address only if it is one of this subnet.
func (p *pool) read(path string) (netip.Addr, error) {
	body, err := os.ReadFile(path)
	if err != nil {
		return netip.Addr{}, err
	}
	var r record
	if err := json.Unmarshal(body, &r); err != nil {
		return netip.Addr{}, err
	}
	if !p.subnet.Contains(r.Address) {
		return netip.Addr{}, fmt.Errorf("%s is not in %s", r.Address, p.subnet)
	}
	return r.Address, nil
}

func (p *pool) path(id string) string { return filepath.Join(p.dir, id+recordSuffix) }
