package fleet

import (
	"maps"
	"slices"

	"github.com/orpheus-cd/orpheus/planner"
)

// Memory is what must survive a restart of the process: it is on disk before
// anything is pushed or acted on (Todo.Save). Its JSON form is the file's.
type Memory struct {
	// Epochs, Tokens, Generation and FleetTokens are the highest ever seen, by
	// which a server restored from a backup is known.
	Epochs      map[planner.NodeName]uint64 `json:"epochs,omitempty"`
	Tokens      []DocTokens                 `json:"tokens,omitempty"` // ordered by service
	Generation  uint64                      `json:"generation,omitempty"`
	FleetTokens uint64                      `json:"fleetTokens,omitempty"`
	// Own is the highest epoch this node ever had, or was ever leased at: no
	// reset forgets it.
	Own uint64 `json:"own,omitempty"`
	// Floor is the commit below which the branch may not go in this generation.
	Floor string `json:"floor,omitempty"`
	// Followed is the commit that was followed last, whatever the floor is.
	Followed string `json:"followed,omitempty"`
	// Docs are the leases in force that last stood for this node, Keep the void
	// ones under which something may run on, Behind those that must not start
	// yet: what goes on without Git.
	Docs   []planner.LeaseDoc `json:"docs,omitempty"`
	Keep   []planner.LeaseDoc `json:"keep,omitempty"`
	Behind []BehindLease      `json:"behind,omitempty"`
	// Keys are those under which the nodes' names were last seen.
	Keys map[planner.NodeName]string `json:"keys,omitempty"`
	// Hosts are the addresses of the nodes' peer ports as last seen; "" = the
	// node is not live.
	Hosts map[planner.NodeName]string `json:"hosts,omitempty"`
	// Addresses are those of services that last stood. What is in it is never
	// changed.
	Addresses planner.Addresses `json:"addresses,omitempty"`
}

// DocTokens is the highest token seen of a service.
type DocTokens struct {
	Service planner.ServiceID `json:"service"`
	Tokens  uint64            `json:"tokens"`
}

// BehindLease is a lease that must not start yet.
type BehindLease struct {
	Service planner.ServiceID `json:"service"`
	Token   uint64            `json:"token"`
	Reason  string            `json:"reason"`
}

func (m Memory) clone() Memory {
	m.Epochs, m.Keys, m.Hosts = maps.Clone(m.Epochs), maps.Clone(m.Keys), maps.Clone(m.Hosts)
	m.Tokens, m.Docs = slices.Clone(m.Tokens), slices.Clone(m.Docs)
	m.Keep, m.Behind = slices.Clone(m.Keep), slices.Clone(m.Behind)
	if m.Epochs == nil {
		m.Epochs = map[planner.NodeName]uint64{}
	}
	if m.Keys == nil {
		m.Keys = map[planner.NodeName]string{}
	}
	if m.Hosts == nil {
		m.Hosts = map[planner.NodeName]string{}
	}
	return m
}

// tokens is the highest token seen of a service; 0 = none.
func (m *Memory) tokens(id planner.ServiceID) uint64 {
	if at, ok := m.find(id); ok {
		return m.Tokens[at].Tokens
	}
	return 0
}

func (m *Memory) find(id planner.ServiceID) (int, bool) {
	return slices.BinarySearchFunc(m.Tokens, id, func(t DocTokens, id planner.ServiceID) int { return t.Service.Compare(id) })
}

// seenTokens notes the counter of a document; it reports whether that is news.
func (m *Memory) seenTokens(id planner.ServiceID, tokens uint64) bool {
	at, ok := m.find(id)
	switch {
	case !ok:
		m.Tokens = slices.Insert(m.Tokens, at, DocTokens{id, tokens})
	case m.Tokens[at].Tokens < tokens:
		m.Tokens[at].Tokens = tokens
	default:
		return false
	}
	return true
}

// forgetTokens drops a service whose document was deleted.
func (m *Memory) forgetTokens(id planner.ServiceID) {
	if at, ok := m.find(id); ok {
		m.Tokens = slices.Delete(m.Tokens, at, at+1)
	}
}
