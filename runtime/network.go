package runtime

import (
	"context"

	"github.com/orpheus-cd/orpheus/planner"
)

// Network is the node's network: a namespace and addresses per instance, kept
// in the kernel so that they work while the agent is down. Every method may be
// repeated and called concurrently.
type Network interface {
	// Info describes the node's network for status and doctor, and fails when
	// it cannot work here, with the remedy.
	Info(ctx context.Context) (NetworkInfo, error)

	// Attach gives the instance a network namespace with addresses and a way
	// out, or returns the one it has.
	Attach(ctx context.Context, id string, names Names) (Attachment, error)

	// Detach takes namespace and address away again.
	Detach(ctx context.Context, id string) error

	// Attachments lists what is attached, by instance id.
	Attachments(ctx context.Context) (map[string]Attachment, error)

	Sweeper
}

// NetworkInfo describes the node's network.
type NetworkInfo struct {
	Bridge string
	Subnet string // CIDR
	// Subnet6 is that of IPv6; "" = the node has no IPv6.
	Subnet6 string
	MTU     int
	// HostPorts is the range of the node's ports that lead to instances, such as
	// "20000-29999".
	HostPorts string
	Notes     []string
	// ForeignRules are rules of ours in tables of other programs.
	ForeignRules []string
	// Blocking are firewalls of others that drop what instances send or get, each
	// with what a person has to do: no rule of ours is allowed, or known, there.
	Blocking []string
}

// Names is what an instance is called and how it calls others.
type Names struct {
	Hostname  string // its own name for itself
	Namespace string // names of services without one are looked up in it
	// Aliases are further lines of its /etc/hosts.
	Aliases []planner.HostAlias
	// DNS says how it looks up other names than those of services.
	DNS planner.DNS
}

// Attachment is an instance's place in the network.
type Attachment struct {
	NetNS   string // path of the namespace
	Address string // IPv4 address, without mask
	Gateway string // address of the bridge
	// Address6 and Gateway6 are the same for IPv6; "" = the node has none.
	Address6, Gateway6 string
	// ResolvConf is the path of a file to mount as /etc/resolv.conf; Hosts
	// likewise for /etc/hosts. "" = none.
	ResolvConf, Hosts string
}

// Target is where connections to a front are led to.
type Target struct {
	Address string
	Port    int
}
