package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/google/nftables"

	"github.com/orpheus-cd/orpheus/runtime"
)

// Traffic implements runtime.Balancer: it reads what the kernel noted as
// packets passed. It changes nothing, and repairs nothing.
func (n *Network) Traffic(ctx context.Context) ([]runtime.Traffic, error) {
	if err := errors.Join(ctx.Err(), privileged()); err != nil {
		return nil, err
	}
	all, err := n.rules.traffic()
	if err != nil {
		return nil, fmt.Errorf("read what became of connections to other nodes: %w", err)
	}
	return all, nil
}

func (r *rules) traffic() ([]runtime.Traffic, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.connect()
	if err != nil {
		return nil, err
	}
	var all []runtime.Traffic
	for _, f := range r.cfg.families() {
		some, err := r.familyTraffic(c, f)
		if err != nil {
			// No table, or that of another version, until Balance; nftables
			// answers without a type that could be asked for.
			if there, err := r.setsOf(c, f); err == nil && !(there[setTried] && there[setAnswered] && there[setResets]) {
				continue
			}
			r.disconnect()
			return nil, explain(err)
		}
		all = append(all, some...)
	}
	return all, nil
}

func (r *rules) familyTraffic(c *nftables.Conn, f family) ([]runtime.Traffic, error) {
	sets := newSets(f, r.table(f))
	// What was tried is read last: ages grow between the readings, and a target
	// that answers must not look as if it had done so before it was tried last.
	answered, err := r.ages(c, f, sets[setAnswered])
	if err != nil {
		return nil, err
	}
	refused, err := r.ages(c, f, sets[setResets])
	if err != nil {
		return nil, err
	}
	tried, err := r.ages(c, f, sets[setTried])
	if err != nil {
		return nil, err
	}
	targets := make([]front, 0, len(tried))
	for t := range tried {
		targets = append(targets, t)
	}
	slices.SortFunc(targets, front.compare)
	all := make([]runtime.Traffic, 0, len(targets))
	for _, t := range targets {
		all = append(all, runtime.Traffic{
			Target:   runtime.Target{Address: t.addr.String(), Port: int(t.port)},
			Protocol: protocolName(t.proto),
			Tried:    tried[t],
			Answered: orNever(answered, t),
			Refused:  orNever(refused, t),
		})
	}
	return all, nil
}

// ages is how long ago the targets in a set were put there.
func (r *rules) ages(c *nftables.Conn, f family, s *nftables.Set) (map[front]time.Duration, error) {
	found, err := c.GetSetElements(s)
	if err != nil {
		return nil, fmt.Errorf("set %s: %w", s.Name, err)
	}
	ages := make(map[front]time.Duration, len(found))
	for _, e := range found {
		if t, ok := f.frontOf(e.Key); ok {
			ages[t] = max(0, trafficWindow-e.Expires)
		}
	}
	return ages, nil
}

func orNever(ages map[front]time.Duration, t front) time.Duration {
	if age, ok := ages[t]; ok {
		return age
	}
	return -1
}

func protocolName(p byte) string {
	if p == unix.IPPROTO_UDP {
		return "udp"
	}
	return "tcp"
}

// Forget implements runtime.Balancer.
func (n *Network) Forget(ctx context.Context, targets []runtime.Target) error {
	if len(targets) > maxElements {
		return fmt.Errorf("forget connections: %d targets are more than %d: %w", len(targets), maxElements, runtime.ErrInvalid)
	}
	if len(targets) == 0 {
		return nil
	}
	all, err := parseTargets(targets)
	if err != nil {
		return fmt.Errorf("forget connections: %w: %w", err, runtime.ErrInvalid)
	}
	if err := errors.Join(ctx.Err(), privileged()); err != nil {
		return err
	}
	waiting := func(c connection) bool {
		moves := c.proto == unix.IPPROTO_UDP || c.tcpState == tcpSYNSent
		_, found := slices.BinarySearchFunc(all, c.target, netip.AddrPort.Compare)
		return moves && found
	}
	for _, f := range n.cfg.families() {
		if err := n.flows.conn.remove(f.routes, true, waiting); err != nil {
			return fmt.Errorf("forget connections: %w", err)
		}
	}
	return nil
}
