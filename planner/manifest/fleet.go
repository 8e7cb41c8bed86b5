package manifest

import (
	"fmt"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// envelope is what every document has. Spec is of the kind's type.
type envelope[S any] struct {
	apiVersion string
	kind       string
	metadata   metadata
	spec       S
}

type metadata struct {
	name        string
	namespace   string
	labels      map[string]string
	annotations map[string]string
}

// newEnvelope is the schema of a kind's documents.
func newEnvelope[S any](meta *schema[metadata], spec field[envelope[S]]) *schema[envelope[S]] {
	return newSchema(
		text("apiVersion", anyText, func(e *envelope[S]) *string { return &e.apiVersion }).must(),
		text("kind", anyText, func(e *envelope[S]) *string { return &e.kind }).must(),
		object("metadata", meta, func(e *envelope[S]) *metadata { return &e.metadata }).must(),
		spec,
	).foreign("status", "status is never written by people: remove it")
}

// fleetSpec is the spec of a Fleet.
type fleetSpec struct {
	poll     time.Duration
	nodes    []string
	ignore   []string
	budgets  budgets
	failover string
	records  planner.RecordsPlace
	network  planner.FleetNetwork
	compose  []string
	layered  bool // says what only the reading of layers knows: see layers.go
}

// budgets as written: a preset, or numbers.
type budgets struct {
	planner.Budgets
	preset string
}

var budgetsSchema = newSchema(
	text("preset", oneOf("own", "github"), func(b *budgets) *string { return &b.preset }),
	number("readsPerSecond", 1, maxBudget, func(b *budgets) *int { return &b.ReadsPerSecond }),
	number("pushesPerMinute", minPushes, maxBudget, func(b *budgets) *int { return &b.PushesPerMinute }),
).like("{preset: github}, or {readsPerSecond: 200, pushesPerMinute: 600}")

var fleetMetadata = newSchema(
	text("name", dnsLabel(63), func(m *metadata) *string { return &m.name }).must(),
	textMap("labels", maxLabels, ownLabelKey, labelValue, func(m *metadata) *map[string]string { return &m.labels }),
	textMap("annotations", maxLabels, annotationKey, anyText, func(m *metadata) *map[string]string { return &m.annotations }),
)

var fleetSpecSchema = newSchema(
	duration("pollInterval", minPollInterval, maxPollInterval, func(s *fleetSpec) *time.Duration { return &s.poll }),
	texts("nodes", maxNodes, dnsLabel(63), func(s *fleetSpec) *[]string { return &s.nodes }),
	texts("ignore", maxIgnore, globPattern, func(s *fleetSpec) *[]string { return &s.ignore }),
	object("budgets", budgetsSchema, func(s *fleetSpec) *budgets { return &s.budgets }),
	text("failover", oneOf("careful", "fast"), func(s *fleetSpec) *string { return &s.failover }),
	object("records", recordsSchema, func(s *fleetSpec) *planner.RecordsPlace { return &s.records }),
	object("network", networkSchema, func(s *fleetSpec) *planner.FleetNetwork { return &s.network }),
	special("base", listShape(maxLayers, basePath.shape()).or(basePath.shape()), func(_ *decoder, _ value, s *fleetSpec) { s.layered = true }),
	special("variables", variablesShape, func(_ *decoder, _ value, s *fleetSpec) { s.layered = true }),
	unread[fleetSpec]("trust"),
	texts("compose", maxIgnore, globPattern, func(s *fleetSpec) *[]string { return &s.compose }),
)

var fleetSchema = newEnvelope(fleetMetadata,
	object("spec", fleetSpecSchema, func(e *envelope[fleetSpec]) *fleetSpec { return &e.spec }))

// decodeFleet reads a Fleet. layered says that it has bases or variables, so
// that this is not all of it; composed, that it lists Compose files.
func decodeFleet(d *decoder, v value) (f *planner.Fleet, layered, composed bool) {
	var e envelope[fleetSpec]
	decodeObject(d, v, fleetSchema, &e)
	f = &planner.Fleet{
		Name:         e.metadata.name,
		PollInterval: e.spec.poll,
		Ignore:       e.spec.ignore,
		Budgets:      e.spec.budgets.check(d, "spec.budgets"),
		FastFailover: e.spec.failover == "fast",
		Network:      e.spec.network,
	}
	zeroIf(&f.PollInterval, planner.DefaultPoll)
	if zeroIf(&e.spec.records.Prefix, defaultPrefix); e.spec.records != (planner.RecordsPlace{}) {
		f.Records = &e.spec.records
	}
	seen := map[string]bool{}
	for i, n := range e.spec.nodes {
		if n != "" && seen[n] {
			d.fault(fmt.Sprintf("spec.nodes[%d]", i), "node "+quote(n)+" is listed twice", "remove one")
		}
		seen[n] = true
		f.Nodes = append(f.Nodes, planner.NodeName(n))
	}
	return f, e.spec.layered, len(e.spec.compose) > 0
}

// check lets a preset stand for its numbers, and defaults for zero.
func (b budgets) check(d *decoder, at string) planner.Budgets {
	if d.has(at+".preset") && (d.has(at+".readsPerSecond") || d.has(at+".pushesPerMinute")) {
		d.fault(at+".preset", "is given beside numbers", "keep the preset, or readsPerSecond and pushesPerMinute")
	}
	if b.preset == "github" {
		return planner.GitHubBudgets
	}
	zeroIf(&b.ReadsPerSecond, planner.DefaultBudgets.ReadsPerSecond)
	zeroIf(&b.PushesPerMinute, planner.DefaultBudgets.PushesPerMinute)
	return b.Budgets
}
