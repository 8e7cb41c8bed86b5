package network

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime"
)

// paths are what packets need besides the tables: routes for the ranges of
// service addresses, for a packet without a route is dropped before it is
// balanced; and leave for 127.0.0.1 to be led to other nodes.
type paths struct {
	cfg Config

	mu     sync.Mutex // held throughout Balance
	memory memory
	home   []netip.Addr // targets of others that are this machine's, as told last
	// routed are the ranges whose routes were last made whole, on the bridge
	// with this index.
	routed []netip.Prefix
	bridge int
	// targets are those elsewhere that published ports led to when leave was
	// last given, and links those it was given on.
	targets []netip.Addr
	links   []string
}

func (p *paths) ensure(h *netlink.Handle, want []balance) error {
	return errors.Join(p.ensureRoutes(h, want), p.ensureLoopback(h, want))
}

// routeProtocol marks our routes: whoever lists them sees who made them, and we
// know them again. Names of such numbers are in /etc/iproute2/rt_protos.
const routeProtocol = 0x6f

// ensureRoutes leads the ranges of service addresses over the bridge. Nothing
// goes there: what is no front is refused. Another range takes the place of the
// one before; that of a node that is given none any more stays until then, for
// connections that stand.
func (p *paths) ensureRoutes(h *netlink.Handle, want []balance) error {
	bridge, err := h.LinkByName(p.cfg.Bridge)
	if err != nil {
		return fmt.Errorf("bridge %s: %w", p.cfg.Bridge, err)
	}
	var ranges []netip.Prefix
	for _, b := range want {
		ranges = append(ranges, b.services...)
	}
	if len(ranges) == 0 {
		return nil
	}
	index := bridge.Attrs().Index
	if p.bridge == index && slices.Equal(p.routed, ranges) && !slices.ContainsFunc(ranges, func(r netip.Prefix) bool { return !leadsTo(h, r, index) }) {
		return nil
	}
	p.bridge = 0
	var faults []error
	for _, f := range p.cfg.families() {
		faults = append(faults, p.ensureFamilyRoutes(h, f, index, ranges))
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	p.bridge, p.routed = index, ranges
	return nil
}

// leaveReached takes the service addresses of a family out of what is wanted
// where the host reaches their range, or a part of it, in another way: it would
// be cut off from what is there. A range that is led over the bridge already
// stays, whatever routes came since.
func (p *paths) leaveReached(h *netlink.Handle, given []runtime.Front, want []balance) (left runtime.LeftOutError, err error) {
	bridge, err := h.LinkByName(p.cfg.Bridge)
	if err != nil {
		return nil, fmt.Errorf("bridge %s: %w", p.cfg.Bridge, err)
	}
	reasons := map[int]string{}
	for k, f := range p.cfg.families() {
		if len(want[k].services) == 0 || p.bridge == bridge.Attrs().Index && !slices.ContainsFunc(want[k].services, func(r netip.Prefix) bool { return !slices.Contains(p.routed, r) }) {
			continue
		}
		why, err := reachedElsewhere(h, f, bridge.Attrs().Index, want[k].services)
		if err != nil {
			return nil, err
		}
		if why == "" {
			continue
		}
		want[k].services = nil
		for at, l := range want[k].fronts {
			if l.kind == runtime.FrontService {
				reasons[l.source] = why
				delete(want[k].fronts, at)
			}
		}
	}
	for _, source := range slices.Sorted(maps.Keys(reasons)) {
		left = append(left, runtime.LeftOut{Front: given[source], Reason: reasons[source]})
	}
	return left, nil
}

// reachedElsewhere says by which route that is none of ours the host reaches
// addresses of the ranges; "" = by none, or ours stand.
func reachedElsewhere(h *netlink.Handle, f family, bridge int, ranges []netip.Prefix) (why string, err error) {
	routes, err := dump(func() ([]netlink.Route, error) { return h.RouteList(nil, f.routes) })
	if err != nil {
		return "", fmt.Errorf("list routes: %w", err)
	}
	for _, want := range ranges {
		stands := false
		for _, r := range routes {
			dst, ok := prefix(r.Dst)
			switch {
			case !ok:
			case r.LinkIndex == bridge:
				stands = stands || dst == want
			case dst.Bits() > 0 && dst.Overlaps(want) && why == "":
				why = fmt.Sprintf("service addresses %s overlap the host's route to %s: set another range of service addresses in fleet.yaml", want, dst)
			}
		}
		if stands {
			why = ""
		}
		if why != "" {
			return why, nil
		}
	}
	return "", nil
}

// leadsTo asks the kernel, which costs the same however many routes there are.
func leadsTo(h *netlink.Handle, r netip.Prefix, index int) bool {
	routes, err := h.RouteGet(net.IP(r.Addr().Next().AsSlice()))
	return err == nil && len(routes) > 0 && routes[0].LinkIndex == index
}

func (p *paths) ensureFamilyRoutes(h *netlink.Handle, f family, bridge int, ranges []netip.Prefix) error {
	routes, err := dump(func() ([]netlink.Route, error) { return h.RouteList(nil, f.routes) })
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		dst, ok := prefix(r.Dst)
		ours := r.LinkIndex == bridge && r.Protocol == routeProtocol
		if ours && ok && !slices.Contains(ranges, dst) {
			if err := h.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("remove route to %s: %w", dst, err)
			}
		}
	}
	for _, want := range ranges {
		if !f.has(want.Addr()) {
			continue
		}
		r := &netlink.Route{Dst: ipNet(want), LinkIndex: bridge, Protocol: routeProtocol, Family: f.routes}
		if f.routes == unix.AF_INET {
			r.Scope = netlink.SCOPE_LINK
		}
		if err := h.RouteReplace(r); err != nil {
			return fmt.Errorf("route to service addresses %s: %w", want, err)
		}
	}
	return nil
}

// loopbackMark remembers, with the name of a link, that it was us who let
// 127.0.0.1 pass there.
const loopbackMark = "route_localnet-was-off-"

// ensureLoopback lets connections from 127.0.0.1 to published ports leave by
// the links that lead to their targets, and the answers in again: the kernel
// takes neither unless told. Chain guard drops what others send to 127/8.
func (p *paths) ensureLoopback(h *netlink.Handle, want []balance) error {
	targets := targetsElsewhere(want[0], p.cfg.families()[0])
	if !slices.Equal(targets, p.targets) {
		p.links, p.targets = linksTo(h, targets), targets
	}
	for _, link := range p.links {
		if err := p.openLoopback(link); err != nil {
			p.targets = nil
			return err
		}
	}
	return nil
}

// linksTo are the names of the links that lead to hosts elsewhere.
func linksTo(h *netlink.Handle, targets []netip.Addr) []string {
	var names []string
	for _, t := range targets {
		routes, err := h.RouteGet(net.IP(t.AsSlice()))
		if err != nil || len(routes) == 0 || routes[0].Type == unix.RTN_LOCAL {
			continue // not to be reached now
		}
		link, err := h.LinkByIndex(routes[0].LinkIndex)
		if err != nil {
			continue
		}
		if name := link.Attrs().Name; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func (p *paths) openLoopback(link string) error {
	path := loopbackSysctl(link)
	on, err := sysctl(path)
	if errors.Is(err, os.ErrNotExist) {
		p.targets = nil // the link is gone: look for another next time
		return nil
	}
	if err != nil || on != "0" {
		return err
	}
	if err := os.MkdirAll(p.cfg.StateDir, 0o700); err != nil {
		return fmt.Errorf("note that loopback was kept in: %w", err)
	}
	if err := os.WriteFile(filepath.Join(p.cfg.StateDir, loopbackMark+link), nil, 0o600); err != nil {
		return fmt.Errorf("note that loopback was kept in: %w", err)
	}
	return setSysctl(path, "1")
}

// closeLoopback undoes what openLoopback did, before the table goes that makes
// it safe.
func (p *paths) closeLoopback() error {
	notes, err := filepath.Glob(filepath.Join(p.cfg.StateDir, loopbackMark+"*"))
	if err != nil {
		return fmt.Errorf("look for links that loopback may use: %w", err)
	}
	for _, note := range notes {
		link := strings.TrimPrefix(filepath.Base(note), loopbackMark)
		if err := setSysctl(loopbackSysctl(link), "0"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := os.Remove(note); err != nil {
			return fmt.Errorf("remove the note on loopback: %w", err)
		}
	}
	return nil
}

// loopbackSysctl is per link; links have no slash in their names.
func loopbackSysctl(link string) string {
	return "/proc/sys/net/ipv4/conf/" + link + "/route_localnet"
}

// targetsElsewhere are the hosts outside the subnet that published ports lead
// to, sorted.
func targetsElsewhere(b balance, f family) []netip.Addr {
	seen := map[netip.Addr]bool{}
	for _, l := range b.fronts {
		if l.kind != runtime.FrontPublished {
			continue
		}
		for _, t := range l.targets {
			if !f.subnet.Contains(t.Addr()) {
				seen[t.Addr()] = true
			}
		}
	}
	all := make([]netip.Addr, 0, len(seen))
	for a := range seen {
		all = append(all, a)
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return all
}
