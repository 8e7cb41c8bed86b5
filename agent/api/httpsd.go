package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

// maxTargetGroups bounds an answer of /v1/http_sd: some 10 MB.
const maxTargetGroups = 20_000

// targetGroup is one of Prometheus' HTTP service discovery. Every target has a
// group of its own, since its labels are.
type targetGroup struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// wantedTargets are those that a query asks for. Of each list one has to
// match, an empty one always does.
type wantedTargets struct {
	services, namespaces, ports []string
	all                         bool // also those that take no connections
}

// parseTargets refuses what it does not know: misspelt, it would be everything.
func parseTargets(q url.Values) (w wantedTargets, err error) {
	for name, values := range q {
		switch name {
		case "service":
			w.services = values
		case "namespace":
			w.namespaces = values
		case "port":
			w.ports = values
		case "all":
			if w.all, err = strconv.ParseBool(values[0]); err != nil {
				return w, fmt.Errorf("all: write 1 or 0, not %q", values[0])
			}
		default:
			return w, fmt.Errorf("there is no filter %q; filters are service, namespace, port (its name) and all=1", name)
		}
	}
	return w, nil
}

// groups lists the TCP targets that are asked for, in the order of endpoints.
func (w wantedTargets) groups(e *Endpoints) []targetGroup {
	groups := []targetGroup{}
	for _, s := range e.Services {
		if !oneOf(w.services, s.Name) || !oneOf(w.namespaces, s.Namespace) {
			continue
		}
		for _, at := range s.Endpoints {
			if !w.all && at.State != EndpointReady {
				continue
			}
			for i, target := range at.Targets[:min(len(at.Targets), len(s.Ports))] {
				p := s.Ports[i]
				// A port that images expose and the manifest has by another number is
				// listed twice, and one that is published several times as often.
				again := slices.ContainsFunc(s.Ports[:i], func(o EndpointPort) bool { return o.Container == p.Container && o.Protocol == p.Protocol })
				if target != "" && !again && p.Protocol == "tcp" && oneOf(w.ports, p.Name) {
					groups = append(groups, targetGroup{[]string{target}, targetLabels(s, at, p)})
				}
			}
		}
	}
	return groups
}

func oneOf(wanted []string, name string) bool {
	return len(wanted) == 0 || slices.Contains(wanted, name)
}

// targetLabels has every label always: a rule about one that is missing would
// see the empty text, which it could not tell from a mistake.
func targetLabels(s ServiceEndpoints, at Endpoint, p EndpointPort) map[string]string {
	return map[string]string{
		"__meta_orpheus_namespace": s.Namespace,
		"__meta_orpheus_service":   s.Name,
		"__meta_orpheus_slot":      at.Slot,
		"__meta_orpheus_node":      string(at.Node),
		"__meta_orpheus_revision":  string(at.Revision),
		"__meta_orpheus_state":     at.State,
		"__meta_orpheus_port":      strconv.Itoa(p.Container),
		"__meta_orpheus_port_name": p.Name,
	}
}

// serveTargets is GET /v1/http_sd. Whatever is no list is no 200: Prometheus
// keeps the targets it has then.
func (l *leading) serveTargets(w http.ResponseWriter, r *http.Request) {
	wanted, err := parseTargets(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	e := l.newest(w)
	if e == nil {
		return
	}
	groups := wanted.groups(e)
	if len(groups) > maxTargetGroups {
		http.Error(w, fmt.Sprintf("these are %d targets, and an answer holds %d: ask for fewer with service, namespace or port", len(groups), maxTargetGroups), http.StatusBadRequest)
		return
	}
	body, err := json.Marshal(groups)
	if err != nil {
		http.Error(w, "the targets cannot be encoded", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(body, '\n')) // an error means that the client has gone
}
