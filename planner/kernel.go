package planner

import (
	"slices"
	"strings"
)

// HostAlias is one line of /etc/hosts: names of an address.
type HostAlias struct {
	// IP is the address in its normal form, or NodeHost.
	IP        string   `json:"ip"`
	Hostnames []string `json:"hostnames"`
}

// NodeHost stands in a HostAlias for the address at which the instance reaches
// its node; with IPv6 for both.
const NodeHost = "node"

// DNS is how an instance looks up names that are not the fleet's.
type DNS struct {
	// Servers are the addresses of name servers that are asked instead of those of
	// the node, in order.
	Servers []string `json:"servers,omitempty"`
	// Search are domains that are searched after those of the fleet, instead of
	// those of the node; NoSearch alone = none.
	Search []string `json:"search,omitempty"`
	// Options are words of the line options of resolv.conf, instead of those of the
	// node; ndots:1 goes without saying.
	Options []string `json:"options,omitempty"`
}

// NoSearch stands in DNS.Search for no domains, as it does in resolv.conf.
const NoSearch = "."

// Sysctl is a parameter of the kernel that counts inside the instance only.
type Sysctl struct {
	Name  string `json:"name"` // net.core.somaxconn
	Value string `json:"value"`
}

// OfNetwork reports whether the parameter is one of the
// instance's network.
func (s Sysctl) OfNetwork() bool { return strings.HasPrefix(s.Name, "net.") }

// ipcSysctls are the parameters of a System V IPC namespace.
var ipcSysctls = []string{
	"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem",
	"kernel.shm_rmid_forced", "kernel.shmall", "kernel.shmmax", "kernel.shmmni",
}

// Namespaced reports whether the parameter has a value of its own in each
// instance. All others are the node's. A name has no slashes, which some would
// read as dots.
func (s Sysctl) Namespaced() bool {
	for part := range strings.SplitSeq(s.Name, ".") {
		if part == "" || strings.Trim(part, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != "" {
			return false
		}
	}
	return s.OfNetwork() || strings.HasPrefix(s.Name, "fs.mqueue.") || slices.Contains(ipcSysctls, s.Name)
}

// Ulimit bounds what each process of a container may use.
type Ulimit struct {
	Name string `json:"name"` // one of UlimitNames
	Soft int64  `json:"soft"` // Unlimited = none
	Hard int64  `json:"hard"` // at least Soft
}

// Unlimited is the value of an Ulimit that bounds nothing.
const Unlimited = -1

// UlimitNames are those of setrlimit(2), in lower case and without RLIMIT_.
func UlimitNames() []string {
	return []string{
		"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice",
		"nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack",
	}
}

// Within reports whether the limit's soft value is at most its hard one.
func (u Ulimit) Within() bool {
	return u.Hard == Unlimited || u.Soft != Unlimited && u.Soft <= u.Hard
}
