package network

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/orpheus-cd/orpheus/runtime"
)

var _ runtime.HostPorts = (*Network)(nil)

// maxHostPorts bounds what one instance is given.
const maxHostPorts = 256

// HostPorts implements runtime.HostPorts. A number is given to one port of one
// instance only, whatever the protocol; never one that a program of the machine
// listens on, that is published, or that is reserved for others. One that was
// given before it became the agent's own is given back for another.
func (n *Network) HostPorts(ctx context.Context, id string, ports []runtime.ContainerPort) (map[runtime.ContainerPort]int, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	if len(ports) > maxHostPorts {
		return nil, fmt.Errorf("host ports of %s: %d are more than %d: %w", id, len(ports), maxHostPorts, runtime.ErrInvalid)
	}
	for _, p := range ports {
		if protocols[p.Protocol] == 0 || p.Port < 1 || p.Port > 65535 {
			return nil, fmt.Errorf("host port of %s for %d/%s: want tcp or udp, and 1 to 65535: %w", id, p.Port, p.Protocol, runtime.ErrInvalid)
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	defer n.ids.lock(id)()
	all, err := n.pool.host(id, ports, n.freeHostPorts)
	if err != nil {
		return nil, fmt.Errorf("host ports of %s: %w", id, err)
	}
	n.step("host ports")
	return all, nil
}

// freeHostPorts finds so many ports that nobody has, from one of the range on
// and around.
func (n *Network) freeHostPorts(taken map[int]string, from, count int) ([]int, error) {
	others, err := n.othersPorts()
	if err != nil {
		return nil, err
	}
	first, last := n.cfg.hostPorts()
	size := last - first + 1
	var found []int
	for k := range size {
		port := first + ((from-first)%size+size+k)%size
		if _, ours := taken[port]; ours || others[port] {
			continue
		}
		if found = append(found, port); len(found) == count {
			return found, nil
		}
	}
	return nil, fmt.Errorf("no %d of the ports %d-%d are free: %d lead to instances, programs of the machine, published ports and the kernel's ip_local_port_range have the others; set another range (network.hostPorts) in the agent's configuration",
		count, first, last, len(taken))
}

// othersPorts are the ports that are not ours to give.
func (n *Network) othersPorts() (map[int]bool, error) {
	others := map[int]bool{}
	listening, err := listeners()
	if err == nil { // a kernel without socket diagnosis keeps nobody from serving
		for _, l := range listening {
			others[int(l.port)] = true
		}
	}
	for _, port := range n.cfg.ReservedPorts {
		others[port] = true
	}
	for f := range n.rules.standing() {
		others[int(f.port)] = true
	}
	files := []string{"/proc/sys/net/ipv4/ip_local_reserved_ports"}
	if n.cfg.HostPorts == [2]int{} {
		files = append(files, "/proc/sys/net/ipv4/ip_local_port_range")
	}
	for _, path := range files {
		text, err := sysctl(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, r := range portRanges(text) {
			for port := r[0]; port <= r[1]; port++ {
				others[port] = true
			}
		}
	}
	return others, nil
}

// portRanges reads what the kernel writes of ports: "8080,9148-9200" or, of the
// local range, two numbers.
func portRanges(text string) [][2]int {
	var all [][2]int
	for part := range strings.SplitSeq(strings.Join(strings.Fields(text), "-"), ",") {
		low, high, ranged := strings.Cut(part, "-")
		if !ranged {
			high = low
		}
		first, err := strconv.ParseUint(low, 10, 16)
		if err != nil {
			continue // an empty list
		}
		if last, err := strconv.ParseUint(high, 10, 16); err == nil {
			all = append(all, [2]int{int(first), int(last)})
		}
	}
	return all
}

// portNote says how much of the range the kernel gives to outgoing connections.
func (n *Network) portNote() (string, error) {
	const path = "/proc/sys/net/ipv4/ip_local_port_range"
	text, err := sysctl(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	first, last := n.cfg.hostPorts()
	for _, r := range portRanges(text) {
		if n.cfg.HostPorts == [2]int{} && r[0] <= last && r[1] >= first {
			return fmt.Sprintf("ports %d-%d of net.ipv4.ip_local_port_range are not used as host ports %d-%d: set network.hostPorts in the agent's configuration if few are left", r[0], r[1], first, last), nil
		}
	}
	return "", err
}
