package devfleet

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Side is whom a node is cut from.
type Side string

// The sides. Git is the Git server alone: the registry at the same address
// stays in reach. Peers are all other nodes, whatever the protocol.
const (
	FromNobody Side = ""
	FromGit    Side = "git"
	FromPeers  Side = "peers"
	FromBoth   Side = "both"
)

// Sides lists what a node can be cut from.
var Sides = []Side{FromGit, FromPeers, FromBoth}

// errNoCut says what cutting needs.
var errNoCut = errors.New("nodes that share this machine's network cannot be cut off: make the fleet as root, so that each has its own")

// cutTable is the nftables table, family ip, in the network of a node that is
// cut off:
//
//	in   (prerouting, before connections are tracked)  from one of the others → drop
//	out  (postrouting)                                 to one of the others → drop
//
// So packets vanish both ways, as on a broken line: nobody is told.
const cutTable = "orpheus_dev_cut"

// Cut parts the node from others, in place of a former cut, until Heal. It
// lasts while the node is off. Connections that are open fall silent.
func (n *Node) Cut(from Side) error {
	switch {
	case !slices.Contains(Sides, from):
		return fmt.Errorf("cut %s from %q: write git, peers or both", n.Name, from)
	case n.cluster == nil || n.cluster.net == nil:
		return errNoCut
	case n.hub.localPath && from != FromPeers:
		return fmt.Errorf("cut %s from git: it reads the repository by its path", n.Name)
	}
	n.cut = from
	return n.applyCut()
}

// Heal ends a cut; that there is none is success.
func (n *Node) Heal() error {
	if n.cluster == nil || n.cluster.net == nil {
		return errNoCut
	}
	n.cut = FromNobody
	return n.applyCut()
}

// CutFrom is whom the node is cut from.
func (n *Node) CutFrom() Side { return n.cut }

// applyCut makes the node's rules those of its cut, all at one moment.
func (n *Node) applyCut() error {
	if n.ns == nil {
		return nil
	}
	conn, err := nftables.New(nftables.WithNetNSFd(int(n.ns.net.Fd())))
	if err != nil {
		return fmt.Errorf("cut %s: %w", n.Name, err)
	}
	table := &nftables.Table{Name: cutTable, Family: nftables.TableFamilyIPv4}
	conn.AddTable(table) // so that there is one to remove
	conn.DelTable(table)
	if n.cut != FromNobody {
		conn.AddTable(table)
		in := conn.AddChain(&nftables.Chain{Name: "in", Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRef(-500)})
		out := conn.AddChain(&nftables.Chain{Name: "out", Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityRef(500)})
		for _, o := range n.others() {
			conn.AddRule(&nftables.Rule{Table: table, Chain: in, Exprs: o.drop(12, 0)})
			conn.AddRule(&nftables.Rule{Table: table, Chain: out, Exprs: o.drop(16, 2)})
		}
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("cut %s: %w", n.Name, err)
	}
	return nil
}

// other is one the node is cut from.
type other struct {
	addr netip.Addr
	port int // of TCP there; 0 = all that is said
}

func (n *Node) others() []other {
	var all []other
	if n.cut != FromGit {
		for _, peer := range n.cluster.Nodes {
			if peer != n {
				all = append(all, other{addr: peer.Address.Addr()})
			}
		}
	}
	if n.cut != FromPeers {
		all = append(all, other{addr: n.cluster.net.host(hubHost), port: n.cluster.gitPort})
	}
	return all
}

// drop matches the address and the port at these offsets of the headers.
func (o other) drop(address, port uint32) []expr.Any {
	const register = 1
	equal := func(data []byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: data} }
	exprs := []expr.Any{
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: address, Len: 4},
		equal(o.addr.AsSlice()),
	}
	if o.port != 0 {
		exprs = append(exprs,
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register}, equal([]byte{unix.IPPROTO_TCP}),
			&expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: port, Len: 2},
			equal(binaryutil.BigEndian.PutUint16(uint16(o.port))))
	}
	return append(exprs, &expr.Verdict{Kind: expr.VerdictDrop})
}
