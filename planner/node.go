package planner

import "cmp"

// NodeRecord is what a node says of itself, in nodes/<node>. Only the node
// writes it; others only fence it.
type NodeRecord struct {
	Format int      `json:"format"` // FormatNode
	Node   NodeName `json:"node"`
	// Key is the node's public key in authorized_keys form. It signs the node's
	// records and is its identity towards peers.
	Key string `json:"key"`
	// Former lists keys the name had before: what they signed still counts.
	Former []string `json:"former,omitempty"`
	// Life tells two machines, or two boots of one, under the same name apart.
	Life Life `json:"life"`
	// Epoch of the leases that are in force here. Raising it revokes every
	// lease the node holds.
	Epoch uint64 `json:"epoch"`
	// Since is the epoch at which this life took the name.
	Since uint64 `json:"since"`
	// Incarnation is random per agent process.
	Incarnation string `json:"incarnation"`
	// Salt makes the ring of this process's beats.
	Salt string `json:"salt"`
	// Address is host:port of the peer port; "" = peers cannot reach it.
	Address string            `json:"address,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	Taints  []Taint           `json:"taints,omitempty"`
	OS      string            `json:"os,omitempty"`   // GOOS of the agent
	Arch    string            `json:"arch,omitempty"` // GOARCH of the agent
	// Capacity is what instances may ask for in sum; zero fields are unknown
	// and bound nothing.
	Capacity ResourceList `json:"capacity,omitzero"`
	Drivers  []string     `json:"drivers,omitempty"` // that work and that its policy allows
	// Volumes lists the slots whose local volumes lie here.
	Volumes []SlotID `json:"volumes,omitempty"`
	Version string   `json:"version,omitempty"`
	// Reads is the range of record formats the agent understands.
	Reads [2]int `json:"reads"`
	// Retired marks a node that left for good.
	Retired bool `json:"retired,omitempty"`

	// Fence is set when another node fenced this one; only the node itself
	// clears it, by registering. It is not part of what the node signed; Epoch
	// is then the fence's.
	Fence *Fence `json:"-"`
	// Unknown holds fields of later versions; they are written back.
	Unknown Unknown `json:"-"`
}

// Life is one existence of a node's name.
type Life struct {
	Machine string `json:"machine"` // machine id
	State   string `json:"state"`   // made at the first start in a state folder
	Boot    string `json:"boot"`    // boot id
}

// Fence is what a fencer adds to another node's record.
type Fence struct {
	Epoch  uint64   `json:"epoch"`
	Fenced bool     `json:"fenced"` // always true
	By     NodeName `json:"by"`
	// Nonce makes the value unique.
	Nonce  string `json:"nonce"`
	Reason string `json:"reason,omitempty"`
}

// Taint keeps services without a matching toleration away, as in Kubernetes.
type Taint struct {
	Key    string `json:"key"`
	Value  string `json:"value,omitempty"`
	Effect string `json:"effect"` // NoSchedule or NoExecute
}

// Compare orders taints by key, value and effect.
func (t Taint) Compare(o Taint) int {
	return cmp.Or(cmp.Compare(t.Key, o.Key), cmp.Compare(t.Value, o.Value), cmp.Compare(t.Effect, o.Effect))
}

// Live reports whether the node takes part: registered, not fenced, not
// retired. A dead node is live until it is fenced.
func (r NodeRecord) Live() bool { return r.Epoch > 0 && r.Fence == nil && !r.Retired }

// describe is the node as placement on a single node knows it.
func (r NodeRecord) describe() Node {
	return Node{Name: r.Node, Labels: r.Labels, OS: r.OS, Arch: r.Arch}
}

// Formats this version writes and reads.
const (
	FormatNode   = 1
	FormatStatus = 1
	FormatLeases = 1
	FormatFleet  = 1
	// MinFormat and MaxFormat are the range this version reads.
	MinFormat = 1
	MaxFormat = 1
)

// NodeSpec is what people say of a node, in nodes/*.yaml.
type NodeSpec struct {
	Name   NodeName          `json:"name"`
	Labels map[string]string `json:"labels,omitempty"` // laid over the node's own
	Taints []Taint           `json:"taints,omitempty"` // beside the node's own
	// Unschedulable is cordon: no new work.
	Unschedulable bool `json:"unschedulable,omitempty"`
	// Drain moves everything away and implies Unschedulable.
	Drain bool `json:"drain,omitempty"`
	// Abandoned says that the node is gone for good and what is in its local
	// volumes with it: while it is not live it binds no slot.
	Abandoned bool `json:"abandoned,omitempty"`
	// Key, where given, is the only key the node's record may have.
	Key string `json:"key,omitempty"`
	// OwnLabels lists the label keys the node may give itself, with * for any
	// part of a key; nil = all but those of the domain orpheus, empty = none.
	OwnLabels []string `json:"ownLabels,omitzero"`
	File      string   `json:"file,omitempty"`
	Line      int      `json:"line,omitempty"`
	// Kept is set where the commit that is followed does not say it, but may: it
	// has files that cannot be read.
	Kept bool `json:"kept,omitempty"`
}
