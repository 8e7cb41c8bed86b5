package agent

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/orpheus-cd/orpheus/planner"
)

// pressureMetrics measure what the node may run short of.
type pressureMetrics struct {
	free, total *prometheus.GaugeVec
	short       *prometheus.GaugeVec
	removed     *prometheus.CounterVec
}

func newPressureMetrics() pressureMetrics {
	return pressureMetrics{
		free: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "orpheus_node_free",
			Help: "What is left of a resource (disk and memory in bytes, inodes, pids), by place."}, []string{"resource", "place"}),
		total: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "orpheus_node_total",
			Help: "What there is of a resource (disk and memory in bytes, inodes, pids), by place."}, []string{"resource", "place"}),
		short: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "orpheus_node_pressure",
			Help: "1 while the node is short of a resource and takes no new work."}, []string{"resource"}),
		removed: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "orpheus_images_removed_total",
			Help: "Images removed to make room, by driver."}, []string{"driver"}),
	}
}

func (m pressureMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.free, m.total, m.short, m.removed}
}

// weighed takes readings in. One that failed leaves the last value.
func (m pressureMetrics) weighed(readings []planner.Reading, shortages []planner.Shortage) {
	m.short.Reset()
	for _, r := range readings {
		m.short.WithLabelValues(string(r.Resource)).Set(0)
		if r.Total > 0 {
			m.free.WithLabelValues(string(r.Resource), r.Place).Set(float64(r.Free))
			m.total.WithLabelValues(string(r.Resource), r.Place).Set(float64(r.Total))
		}
	}
	for _, s := range shortages {
		m.short.WithLabelValues(string(s.Reading.Resource)).Set(1)
	}
}

func (m pressureMetrics) imageRemoved(driver string) { m.removed.WithLabelValues(driver).Inc() }
