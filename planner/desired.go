package planner

import (
	"fmt"
	"strings"
	"time"
)

// Commit is the commit a decision was taken on.
type Commit struct {
	Hash    string    `json:"hash"` // full hexadecimal object id; "" = none yet
	Subject string    `json:"subject,omitempty"`
	Author  string    `json:"author,omitempty"`
	Time    time.Time `json:"time,omitzero"` // the committer's claim; for people only, never compared
}

// Short is the form people read.
func (c Commit) Short() string {
	if len(c.Hash) > 8 {
		return c.Hash[:8]
	}
	return c.Hash
}

// ObjectID is implemented by FileInfo.Sys() of the files and folders of a
// snapshot: the same id means the same content, all the way down.
type ObjectID interface{ ObjectID() string }

// Desired is what one commit asks for: the output of the manifest reader.
type Desired struct {
	Commit   Commit
	Fleet    Fleet
	Services map[ServiceID]Service
	Nodes    map[NodeName]NodeSpec
	// Faults lists everything wrong in the commit, ordered by file and line.
	// A file with a fault contributes no service at all.
	Faults []Fault
}

// Complete reports whether every file could be read: only then may the
// absence of a service mean that it was deleted.
func (d Desired) Complete() bool {
	for _, f := range d.Faults {
		if !f.Warning {
			return false
		}
	}
	return true
}

// Fleet is the document in fleet.yaml that marks the fleet.
type Fleet struct {
	Name string `json:"name,omitempty"`
	// PollInterval is how often agents look at the repository without a hint;
	// 0 = 5 s.
	PollInterval time.Duration `json:"pollInterval,omitempty"`
	// Nodes lists the fleet's nodes. Where it is given, a node without write
	// access runs a service without a selector only if the list is empty or
	// holds just this node.
	Nodes []NodeName `json:"nodes,omitempty"`
	// Ignore lists globs of YAML files that are not manifests.
	Ignore  []string `json:"ignore,omitempty"`
	Budgets Budgets  `json:"budgets,omitzero"`
	// FastFailover replaces a node that its peers cannot reach without asking
	// it through the repository first: sooner, and wrong more often.
	FastFailover bool `json:"fastFailover,omitempty"`
	// Records says where the records are; nil = in the manifests' repository.
	Records *RecordsPlace `json:"records,omitempty"`
	Network FleetNetwork  `json:"network,omitzero"`
}

// FleetNetwork is what the nodes' networks have in common.
type FleetNetwork struct {
	// Services and Services6 are the ranges (CIDR) of service addresses; "" =
	// DefaultServiceRange, DefaultServiceRange6.
	Services  string `json:"services,omitempty"`
	Services6 string `json:"services6,omitempty"`
}

// Budgets bound what the whole fleet asks of the Git server. Each agent
// stretches its own intervals so that all together keep within them.
type Budgets struct {
	ReadsPerSecond  int `json:"readsPerSecond,omitempty"`  // 0 = 200
	PushesPerMinute int `json:"pushesPerMinute,omitempty"` // 0 = 600
}

// The budgets of a server of one's own, and those that GitHub recommends.
var (
	DefaultBudgets = Budgets{ReadsPerSecond: 200, PushesPerMinute: 600}
	GitHubBudgets  = Budgets{ReadsPerSecond: 15, PushesPerMinute: 6}
)

// WithDefaults fills in what is zero.
func (b Budgets) WithDefaults() Budgets {
	if b.ReadsPerSecond == 0 {
		b.ReadsPerSecond = DefaultBudgets.ReadsPerSecond
	}
	if b.PushesPerMinute == 0 {
		b.PushesPerMinute = DefaultBudgets.PushesPerMinute
	}
	return b
}

// RecordsPlace is where the records are.
type RecordsPlace struct {
	URL string `json:"url,omitempty"` // "" = the manifests' repository
	// Prefix of the refs; "" = refs/orpheus/.
	Prefix string `json:"prefix,omitempty"`
}

// DefaultPoll is the interval between looks without a hint.
const DefaultPoll = 5 * time.Second

// Poll is how often agents look at the repository, before the budget stretches
// it.
func (f Fleet) Poll() time.Duration {
	if f.PollInterval == 0 {
		return DefaultPoll
	}
	return f.PollInterval
}

// Service is one named workload.
type Service struct {
	ID        ServiceID `json:"id"`
	File      string    `json:"file"` // path in the repository, for people
	Line      int       `json:"line,omitempty"`
	Replicas  int       `json:"replicas,omitempty"`
	EveryNode bool      `json:"everyNode,omitempty"` // one slot on every matching node; Replicas is unused
	Template  Template  `json:"template"`
	Revision  Revision  `json:"revision"`

	// What follows never restarts an instance.
	Ports []Port `json:"ports,omitempty"`
	// Headless: the service's name resolves to the addresses of its ready slots
	// instead of one that is balanced (endpointMode: dnsrr).
	Headless bool `json:"headless,omitempty"`
	// ClientAffinity leads all connections of a client's address to one
	// instance (sessionAffinity: ClientIP).
	ClientAffinity bool `json:"clientAffinity,omitempty"`
	// ImagePorts: each port that an instance's images expose is a port of the
	// service's address, too, with its own number. See PortsWith.
	ImagePorts bool `json:"imagePorts,omitempty"`
	// Aliases are further names of the service within its namespace.
	Aliases      []string          `json:"aliases,omitempty"`
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	Tolerations  []Toleration      `json:"tolerations,omitempty"`
	// Spread lists the topology keys over whose values replicas are spread,
	// beside nodes; a hard one refuses a place rather than break it.
	Spread      []SpreadConstraint `json:"topologySpreadConstraints,omitempty"`
	Labels      map[string]string  `json:"labels,omitempty"`
	Annotations map[string]string  `json:"annotations,omitempty"`
	// Observe is set where nothing is to be done for the service, only told
	// what would be.
	Observe bool        `json:"observe,omitempty"`
	Suspend *Suspension `json:"suspend,omitempty"`
	Update  Update      `json:"update,omitzero"`
	// MinReady is how long an instance must have been ready to be available,
	// ProgressDeadline how long it may take from its lease to that (0 = 10 min).
	MinReady         time.Duration     `json:"minReady,omitempty"`
	ProgressDeadline time.Duration     `json:"progressDeadline,omitempty"`
	Reschedule       Reschedule        `json:"reschedule,omitzero"`
	DependsOn        []Dependency      `json:"dependsOn,omitempty"`
	Hooks            map[HookKind]Hook `json:"hooks,omitempty"`
	// Files holds the content of the template's file volumes, by volume name.
	Files []File `json:"files,omitempty"`
	// Orphan marks a service known only from instances found running: their
	// labels name it, no manifest or record does (the node's state was lost).
	Orphan bool `json:"orphan,omitempty"`
}

// Toleration lets a service run on tainted nodes, with Kubernetes' meaning.
type Toleration struct {
	Key      string `json:"key,omitempty"`      // "" with Exists = every taint
	Operator string `json:"operator,omitempty"` // "" = Equal; or Exists
	Value    string `json:"value,omitempty"`
	Effect   string `json:"effect,omitempty"` // "" = all
}

// SpreadConstraint is one of Kubernetes' topologySpreadConstraints.
type SpreadConstraint struct {
	TopologyKey string `json:"topologyKey"`
	MaxSkew     int    `json:"maxSkew,omitempty"` // 0 = 1
	Soft        bool   `json:"soft,omitempty"`    // whenUnsatisfiable: ScheduleAnyway
}

// HasVolumes reports whether the service keeps data on a node: its deletion
// always waits for approval.
func (s Service) HasVolumes() bool {
	for _, v := range s.Template.Volumes {
		if v.Local != nil {
			return true
		}
	}
	return false
}

// Port is a container port that others can reach.
type Port struct {
	Name      string   `json:"name,omitempty"`
	Container int      `json:"containerPort"`
	Protocol  string   `json:"protocol"`          // "tcp" or "udp"
	Port      int      `json:"port,omitempty"`    // of the service address; 0 = none
	Publish   *Publish `json:"publish,omitempty"` // nil = not opened to the world
}

// Publish opens a port to the world.
type Publish struct {
	Port    int    `json:"port"`
	Mode    string `json:"mode,omitempty"`    // "" = "fleet"; or "node"
	Address string `json:"address,omitempty"` // "" = all addresses of the node
}

// File is the content of a file volume.
type File struct {
	Volume string `json:"volume"`
	Path   string `json:"path"` // in the repository
	SHA256 string `json:"sha256"`
	// Data is at most 1 MiB. It is not part of any record: the node keeps the
	// files it needs by their sum.
	Data []byte `json:"-"`
}

// Fault is one thing wrong with a commit, in the user's words.
type Fault struct {
	File    string `json:"file"`           // path in the repository; "" = the repository itself
	Line    int    `json:"line,omitempty"` // from 1; 0 = unknown
	Column  int    `json:"column,omitempty"`
	Field   string `json:"field,omitempty"` // spec.containers[0].image
	Reason  string `json:"reason"`
	Remedy  string `json:"remedy,omitempty"`
	Warning bool   `json:"warning,omitempty"` // worth saying, holds nothing back
}

// String is the one-line form: file:line:column: field: reason; remedy.
func (f Fault) String() string {
	var b strings.Builder
	if f.File != "" {
		b.WriteString(f.File)
		if f.Line > 0 {
			fmt.Fprintf(&b, ":%d", f.Line)
			if f.Column > 0 {
				fmt.Fprintf(&b, ":%d", f.Column)
			}
		}
		b.WriteString(": ")
	}
	if f.Field != "" {
		b.WriteString(f.Field + ": ")
	}
	b.WriteString(f.Reason)
	if f.Remedy != "" {
		b.WriteString("; " + f.Remedy)
	}
	return b.String()
}

// CompareFaults orders faults by file, line, column, field and reason.
func CompareFaults(a, b Fault) int {
	if c := strings.Compare(a.File, b.File); c != 0 {
		return c
	}
	if a.Line != b.Line {
		return a.Line - b.Line
	}
	if a.Column != b.Column {
		return a.Column - b.Column
	}
	if c := strings.Compare(a.Field, b.Field); c != 0 {
		return c
	}
	return strings.Compare(a.Reason, b.Reason)
}
