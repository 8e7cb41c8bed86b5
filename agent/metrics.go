package agent

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/orpheus-cd/orpheus/agent/api"
	"github.com/orpheus-cd/orpheus/planner"
)

// Metrics counts what the agent does; the names are API.
type Metrics struct {
	registry *prometheus.Registry
	looks    *prometheus.CounterVec
	lastRead prometheus.Gauge
	loads    prometheus.Histogram
	lists    *prometheus.HistogramVec
	listErrs *prometheus.CounterVec
	passes   prometheus.Histogram
	actions  *prometheus.CounterVec
	acting   *prometheus.HistogramVec
	prepares *prometheus.CounterVec
	services *prometheus.GaugeVec
	phases   *prometheus.GaugeVec
	asked    *prometheus.GaugeVec
	swaps    *prometheus.GaugeVec
	nodes    *prometheus.GaugeVec
	failing  prometheus.Gauge
	avoided  prometheus.Gauge
	pressureMetrics
}

// NewMetrics makes the agent's own registry.
func NewMetrics() *Metrics {
	short := []float64{.001, .003, .01, .03, .1, .3, 1, 3, 10, 30}
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		looks: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "orpheus_repository_reports_total",
			Help: "Changes reported of the repository, by result (ok, error)."}, []string{"result"}),
		lastRead: prometheus.NewGauge(prometheus.GaugeOpts{Name: "orpheus_repository_last_read_timestamp_seconds",
			Help: "When the repository was last read successfully."}),
		loads: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "orpheus_commit_load_seconds",
			Help: "Time to read the manifests of a commit.", Buckets: short}),
		lists: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "orpheus_driver_list_seconds",
			Help: "Time to list a driver's instances.", Buckets: short}, []string{"driver"}),
		listErrs: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "orpheus_driver_list_errors_total",
			Help: "Listings of a driver that failed."}, []string{"driver"}),
		passes: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "orpheus_pass_seconds",
			Help: "Time of one pass of the loop.", Buckets: short}),
		actions: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "orpheus_actions_total",
			Help: "Actions on instances, by kind and result (ok, error)."}, []string{"kind", "result"}),
		acting: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "orpheus_action_seconds",
			Help: "Time of actions on instances.", Buckets: short}, []string{"kind"}),
		prepares: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "orpheus_image_preparations_total",
			Help: "Preparations of a revision's images, by result (ok, error)."}, []string{"result"}),
		services: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "orpheus_services",
			Help: "Services on this node, by state (ready, progressing)."}, []string{"state"}),
		phases: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "orpheus_instances",
			Help: "Instances on this node, by phase."}, []string{"phase"}),
		asked: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "orpheus_records_requests_last_hour",
			Help: "Requests of this node to the records' server in the last hour, by kind (read, push)."}, []string{"kind"}),
		swaps: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "orpheus_records_swaps",
			Help: "Swaps of records since the agent started, by outcome (won, lost, unknown)."}, []string{"outcome"}),
		nodes: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "orpheus_fleet_nodes",
			Help: "Nodes of the fleet as this one knows them, by state (live, fenced, retired)."}, []string{"state"}),
		failing: prometheus.NewGauge(prometheus.GaugeOpts{Name: "orpheus_instances_failing",
			Help: "Instances on this node that did not become available in time, or failed too often."}),
		avoided: prometheus.NewGauge(prometheus.GaugeOpts{Name: "orpheus_node_failing",
			Help: "1 while everything that is started on this node fails, so that it gets no new work; else 0."}),
		pressureMetrics: newPressureMetrics(),
	}
	m.registry.MustRegister(m.pressureMetrics.collectors()...)
	m.registry.MustRegister(m.looks, m.lastRead, m.loads, m.lists, m.listErrs, m.passes, m.actions, m.acting,
		m.prepares, m.services, m.phases, m.asked, m.swaps, m.nodes, m.failing, m.avoided, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Register adds collectors of other rooms (the manifest cache) to /metrics.
func (m *Metrics) Register(c ...prometheus.Collector) { m.registry.MustRegister(c...) }

// Handler serves the metrics in Prometheus' text format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

func result(err error) string {
	if err != nil {
		return "error"
	}
	return "ok"
}

func (m *Metrics) looked(l Look) {
	m.looks.WithLabelValues(result(l.Err)).Inc()
}

func (m *Metrics) loaded(took time.Duration) { m.loads.Observe(took.Seconds()) }

func (m *Metrics) listed(driver string, took time.Duration, err error) {
	m.lists.WithLabelValues(driver).Observe(took.Seconds())
	if err != nil {
		m.listErrs.WithLabelValues(driver).Inc()
	}
}

func (m *Metrics) passed(took time.Duration) { m.passes.Observe(took.Seconds()) }

func (m *Metrics) acted(kind planner.ActionKind, took time.Duration, err error) {
	m.actions.WithLabelValues(string(kind), result(err)).Inc()
	m.acting.WithLabelValues(string(kind)).Observe(took.Seconds())
}

func (m *Metrics) prepared(err error) {
	m.prepares.WithLabelValues(result(err)).Inc()
}

// failed counts the instances that are given up, and says whether the node is.
func (m *Metrics) failed(instances int, node bool) {
	m.failing.Set(float64(instances))
	m.avoided.Set(0)
	if node {
		m.avoided.Set(1)
	}
}

// reported counts services and instances of a status.
func (m *Metrics) reported(st *api.Status) {
	m.phases.Reset()
	m.services.Reset()
	if at := st.Repository.LastRead; !at.IsZero() {
		m.lastRead.Set(float64(at.Unix()))
	}
	if f := st.Fleet; f != nil {
		m.partTaken(f)
	}
	for _, s := range st.Services {
		state := "progressing"
		if s.Ready == s.Replicas && s.Updated == s.Replicas {
			state = "ready"
		}
		m.services.WithLabelValues(state).Inc()
		for _, i := range s.Instances {
			m.phases.WithLabelValues(string(i.Phase)).Inc()
		}
	}
}

// partTaken counts the node's part in its fleet.
func (m *Metrics) partTaken(f *api.Fleet) {
	m.asked.WithLabelValues("read").Set(float64(f.Requests.ReadsPerHour))
	m.asked.WithLabelValues("push").Set(float64(f.Requests.PushesPerHour))
	m.swaps.WithLabelValues("won").Set(float64(f.Requests.Won))
	m.swaps.WithLabelValues("lost").Set(float64(f.Requests.Lost))
	m.swaps.WithLabelValues("unknown").Set(float64(f.Requests.Unknown))
	m.nodes.Reset()
	for _, n := range f.Nodes {
		m.nodes.WithLabelValues(n.State).Inc()
	}
}
