package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// Usage is the answer of GET /v1/usage: what the instances of a node use. CPU is
// counted, so that a rate comes of two answers: see Millicores.
type Usage struct {
	Node planner.NodeName `json:"node"`
	// At is when it was read, by the node's calendar.
	At time.Time `json:"at"`
	// Cores is how many the machine has; Capacity is what the node offers to
	// services, where it is in a fleet.
	Cores    int                  `json:"cores"`
	Capacity planner.ResourceList `json:"capacity,omitzero"`
	// MemoryUsed and MemoryTotal are of the whole machine, in bytes; 0 = not known.
	MemoryUsed  uint64          `json:"memoryUsed,omitempty"`
	MemoryTotal uint64          `json:"memoryTotal,omitempty"`
	Instances   []InstanceUsage `json:"instances"` // ordered by service, slot and id
}

// InstanceUsage is what one instance uses.
type InstanceUsage struct {
	Namespace string           `json:"namespace"`
	Name      string           `json:"name"`
	Slot      string           `json:"slot"`
	ID        string           `json:"id"`
	Driver    string           `json:"driver"`
	Revision  planner.Revision `json:"revision,omitempty"`
	StartedAt time.Time        `json:"startedAt,omitzero"`
	Restarts  int              `json:"restarts"`
	// CPU is the time it used on all cores together since its start.
	CPU         time.Duration `json:"cpuNanoseconds"`
	MemoryBytes int64         `json:"memoryBytes"`
	PIDs        int64         `json:"pids"`
	// Asked and Limits are of all its containers together; a limit that one of them
	// does not have is none.
	Asked  planner.ResourceList `json:"asked,omitzero"`
	Limits planner.ResourceList `json:"limits,omitzero"`
	// Error says why its figures are not known.
	Error string `json:"error,omitempty"`
}

// SlotID names the slot whose instance it is.
func (u InstanceUsage) SlotID() planner.SlotID {
	return planner.SlotID{Service: planner.ServiceID{Namespace: u.Namespace, Name: u.Name}, Name: u.Slot}
}

// Millicores is the CPU that an instance used between two answers, in thousandths
// of a core; known is false where the two are not of one run of it.
func (u *Usage) Millicores(before *Usage, k int) (millis int64, known bool) {
	now := u.Instances[k]
	if before == nil || now.Error != "" {
		return 0, false
	}
	passed := u.At.Sub(before.At)
	for _, then := range before.Instances {
		if then.ID != now.ID {
			continue
		}
		// A container that was started again counts from nought.
		if used := now.CPU - then.CPU; then.Error == "" && passed > 0 && used >= 0 {
			return int64(float64(used) / float64(passed) * 1000), true
		}
		return 0, false
	}
	return 0, false
}

// usage answers with what instances use now.
func (s *server) usage(w http.ResponseWriter, r *http.Request) {
	if s.Usage == nil {
		http.Error(w, "this agent does not measure what its instances use", http.StatusNotFound)
		return
	}
	u, err := s.Usage(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	body, err := json.Marshal(u)
	if err != nil {
		s.Log.Error("encode usage", "err", err)
		http.Error(w, "the usage cannot be encoded", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(body, '\n')) // an error means that the client has gone
}

// Usage asks what the node's instances use now.
func (c *Client) Usage(ctx context.Context) (*Usage, error) {
	res, err := c.do(ctx, http.MethodGet, "/v1/usage", nil, "")
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if err := c.expect(res, http.StatusOK); err != nil {
		return nil, err
	}
	u := &Usage{}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(u); err != nil {
		return nil, fmt.Errorf("read the usage from %s: %w; is it an Orpheus agent?", c.address, err)
	}
	return u, nil
}
