package planner

// Node is what a node says of itself.
type Node struct {
	Name   NodeName          `json:"name"`
	Labels map[string]string `json:"labels,omitempty"`
	OS     string            `json:"os,omitempty"`   // GOOS of the agent
	Arch   string            `json:"arch,omitempty"` // GOARCH of the agent
}

// Labels every node has without being given them.
const (
	LabelNode = "orpheus/node"
	LabelOS   = "orpheus/os"
	LabelArch = "orpheus/arch"
)

// Label is the value of a label of the node, the built-in ones included.
func (n Node) Label(key string) (string, bool) {
	switch key {
	case LabelNode:
		return string(n.Name), true
	case LabelOS:
		return n.OS, true
	case LabelArch:
		return n.Arch, true
	}
	v, ok := n.Labels[key]
	return v, ok
}

// RunsHere is placement for a node that shares no leases with others: it runs
// every service whose selector matches it, and those without a selector only
// if fleet.yaml lists no other node.
func RunsHere(n Node, f Fleet, s Service) bool {
	for key, want := range s.NodeSelector {
		if got, ok := n.Label(key); !ok || got != want {
			return false
		}
	}
	if len(s.NodeSelector) > 0 {
		return true
	}
	for _, other := range f.Nodes {
		if other != n.Name {
			return false
		}
	}
	return true
}
