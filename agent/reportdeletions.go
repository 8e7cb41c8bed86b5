package agent

import (
	"slices"

	"github.com/orpheus-cd/orpheus/agent/api"
)

// reportDeletions groups the deletions that wait by the trailer that releases
// them.
func (a *Agent) reportDeletions() []api.Deletion {
	var out []api.Deletion
	for _, h := range a.state.followed.Held {
		if h.Approve == "" {
			continue
		}
		k := slices.IndexFunc(out, func(d api.Deletion) bool { return d.Approve == h.Approve })
		if k < 0 {
			k, out = len(out), append(out, api.Deletion{Approve: h.Approve})
		}
		if out[k].Count++; len(out[k].Services) < maxReported {
			out[k].Services = append(out[k].Services, h.Service.String())
		}
	}
	return out
}
