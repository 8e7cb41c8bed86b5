package manifest

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
	yaml "go.yaml.in/yaml/v3"
)

// node is a parsed Node document, without File.
type node struct {
	planner.NodeSpec
	at position
}

var nodeMetadata = newSchema(
	text("name", nodeName, func(m *metadata) *string { return &m.name }).must(),
	textMap("annotations", maxLabels, annotationKey, anyText, func(m *metadata) *map[string]string { return &m.annotations }),
).foreign(
	"labels", "write them in spec.labels",
	"namespace", "remove it: a node belongs to no namespace",
)

// nodeName is a label that is no slot's: decodeNode says which ones are.
var nodeName = rule{dnsLabel(63).check, form{pattern: dnsLabel(63).pattern, never: "^(" + hookSlots() + ")$", says: dnsLabel(63).says}}

func hookSlots() string {
	var slots []string
	for _, kind := range planner.HookKinds {
		slots = append(slots, string(kind))
	}
	return strings.Join(slots, "|")
}

var nodeSpecSchema = newSchema(
	textMap("labels", maxLabels, ownLabelKey, labelValue, func(n *planner.NodeSpec) *map[string]string { return &n.Labels }),
	objects("taints", maxTaints, taintSchema, func(n *planner.NodeSpec) *[]planner.Taint { return &n.Taints }),
	boolean("unschedulable", func(n *planner.NodeSpec) *bool { return &n.Unschedulable }),
	boolean("drain", func(n *planner.NodeSpec) *bool { return &n.Drain }),
	boolean("abandoned", func(n *planner.NodeSpec) *bool { return &n.Abandoned }),
	special("key", patterned(`\s*`+keyType+`\s+[A-Za-z0-9+/]+=*(\s.*)?`, "a public key: "+keyType+" AAAA…"), decodeNodeKey),
	special("ownLabels", listShape(maxOwnLabels, ownLabelPattern.shape()), decodeOwnLabels),
).foreign(
	"abandon", "write abandoned: true",
	"cordon", "write unschedulable: true",
	"cordoned", "write unschedulable: true",
	"podCIDR", "remove it: addresses belong to the agent's configuration",
	"podCIDRs", "remove it: addresses belong to the agent's configuration",
	"providerID", "remove it",
	"address", "remove it: a node tells its address itself, see peer.address in agent.yaml",
	"capacity", "remove it: a node tells its capacity itself, see node.capacity in agent.yaml",
	"annotations", "write them in metadata",
	"name", "write it in metadata",
)

var nodeSchema = newEnvelope(nodeMetadata,
	object("spec", nodeSpecSchema, func(e *envelope[planner.NodeSpec]) *planner.NodeSpec { return &e.spec }))

// decodeNode reads a Node, nil if it has no name.
func decodeNode(d *decoder, v value) *node {
	var e envelope[planner.NodeSpec]
	decodeObject(d, v, nodeSchema, &e)
	if !d.has("metadata.name") {
		return nil
	}
	checkTaints(d, e.spec.Taints)
	if slices.Contains(planner.HookKinds, planner.HookKind(e.metadata.name)) {
		d.fault("metadata.name", quote(e.metadata.name)+" is the name of the slot of a hook, which a service with everyNode would have on this node as well", "give the node another name")
	}
	n := &node{e.spec, d.where("metadata.name")}
	n.Name, n.Line = planner.NodeName(e.metadata.name), n.at.line
	return n
}

// checkTaints refuses what a toleration could not tell apart.
func checkTaints(d *decoder, taints []planner.Taint) {
	type id struct{ key, effect string }
	first := map[id]bool{}
	for i, t := range taints {
		if t.Key != "" && t.Effect != "" && first[id{t.Key, t.Effect}] {
			d.fault(fmt.Sprintf("spec.taints[%d].key", i), "taint "+quote(t.Key)+" with effect "+t.Effect+" exists already", "remove one")
		}
		first[id{t.Key, t.Effect}] = true
	}
}

const keyType = "ssh-ed25519"

// decodeNodeKey takes a public key as a line of authorized_keys and drops its
// comment.
func decodeNodeKey(d *decoder, v value, into *planner.NodeSpec) {
	const remedy = "write what the agent shows as the node's key: " + keyType + " AAAA…"
	n := v.node
	if n.Kind == yaml.ScalarNode && strings.Contains(n.Value, "PRIVATE KEY") {
		// Never repeated: what is in the repository is bad enough.
		d.wrong(v, "is a private key, and whoever reads the repository reads it: count it as lost", "remove it, and give the node a new one")
		return
	}
	s, ok := d.text(v, anyText)
	if !ok {
		return
	}
	fields := strings.Fields(s)
	if len(fields) < 2 || fields[0] != keyType {
		d.wrong(v, "is not an ed25519 public key", remedy)
		return
	}
	if blob, err := base64.StdEncoding.Strict().DecodeString(fields[1]); err != nil || !isKeyBlob(blob) {
		d.wrong(v, "is a damaged public key", remedy)
		return
	}
	into.Key = keyType + " " + fields[1]
}

// isKeyBlob reports whether b is the wire form of an ed25519 public key: type
// and key, each after its length in four bytes.
func isKeyBlob(b []byte) bool {
	const head = "\x00\x00\x00\x0b" + keyType + "\x00\x00\x00\x20"
	return len(b) == len(head)+ed25519.PublicKeySize && string(b[:len(head)]) == head
}

// decodeOwnLabels keeps an empty list apart from none: it allows no label, none
// allows all.
func decodeOwnLabels(d *decoder, v value, into *planner.NodeSpec) {
	into.OwnLabels = []string{}
	for _, item := range d.items(v, maxOwnLabels, "write it as a list: [disk, example.com/*], or [] for none") {
		if s, ok := d.text(item, ownLabelPattern); ok {
			into.OwnLabels = append(into.OwnLabels, s)
		}
	}
}

// ownLabelPattern allows label keys in which * stands for any text.
var ownLabelPattern = rule{checkOwnLabelPattern, form{
	pattern: "([A-Za-z0-9_.*-]+/)?[A-Za-z0-9_.*-]+", never: "^" + planner.ReservedDomain,
	says: "a label key such as disk, or a pattern of one such as example.com/*",
}}

func checkOwnLabelPattern(s string) (reason, remedy string) {
	if strings.HasPrefix(s, planner.ReservedDomain) {
		return "begins with orpheus/, which no node can give itself", "remove it"
	}
	// A star may stand for what makes the rest a key: try it as a letter.
	if reason, _ := checkLabelKey(strings.ReplaceAll(s, "*", "x")); s != "" && reason == "" {
		return "", ""
	}
	return "is neither a label key nor a pattern of one", "write one like disk, example.com/* or *"
}
