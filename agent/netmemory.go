package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// networkPath is the file of what connections were led by last, in the state
// folder. A new agent goes on from it until it knows as much itself, also
// without Git: nothing is taken out of balancing because the agent was
// restarted.
const networkPath = "network.json"

const (
	maxNetworkFile = 64 << 20
	networkFormat  = 1
)

// networkMemory is what the file holds, and how it stands to what is known now.
type networkMemory struct {
	networkFile
	loaded   bool // a former process left it
	known    bool // this process knows as much
	balanced bool // connections were led, by this process or one before
	unsaved  bool
	writing  bool

	addresses planner.Addresses // of a node alone: as given now
	nodes     []string
}

type networkFile struct {
	Format int `json:"format"`
	// Addresses are the places of services: of a node alone its own, else as the
	// fleet record had them.
	Addresses planner.Addresses `json:"addresses,omitempty"`
	// Nodes are the addresses of the fleet's other nodes, Elsewhere what takes
	// connections there.
	Nodes     []string         `json:"nodes,omitempty"`
	Elsewhere []rememberedNode `json:"elsewhere,omitempty"`
	// Told are the instances of this node that take connections.
	Told []planner.ServingInstance `json:"told,omitempty"`
}

type rememberedNode struct {
	Node      planner.NodeName          `json:"node"`
	Address   string                    `json:"address"`
	Instances []planner.ServingInstance `json:"instances"`
}

// loadNetwork reads what a former process led connections by.
func (a *Agent) loadNetwork() error {
	path := filepath.Join(a.cfg.StateDir, networkPath)
	data, err := readBounded(path, maxNetworkFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var f networkFile
	if err == nil {
		err = json.Unmarshal(data, &f)
	}
	if err == nil && f.Format != networkFormat {
		err = fmt.Errorf("format %d is not %d", f.Format, networkFormat)
	}
	if err != nil {
		return fmt.Errorf("what connections were led by cannot be read, so it is learnt anew (%w); see %s", err, path)
	}
	a.net.networkFile, a.net.loaded, a.net.balanced = f, true, true
	a.net.addresses, a.net.nodes = f.Addresses, f.Nodes
	a.serving.told, a.serving.number = f.Told, 1
	return nil
}

// remembered is what a former process knew of instances elsewhere, and what
// their nodes announced since.
func (a *Agent) remembered() map[planner.ServiceID][]planner.RemoteInstance {
	out := map[planner.ServiceID][]planner.RemoteInstance{}
	for _, n := range a.net.Elsewhere {
		instances := n.Instances
		if h, heard := a.serving.heard[n.Node]; heard {
			instances = h.Instances
		}
		for _, i := range instances {
			id := i.Slot.Service
			out[id] = append(out[id], planner.RemoteInstance{ServingInstance: i, Node: n.Node, Address: n.Address})
		}
	}
	for _, list := range out {
		slices.SortStableFunc(list, func(a, b planner.RemoteInstance) int {
			if c := a.Slot.Compare(b.Slot); c != 0 {
				return c
			}
			return strings.Compare(string(a.Node)+string(a.Revision), string(b.Node)+string(b.Revision))
		})
	}
	return out
}

// places are those of services in the range of service addresses: the fleet's,
// or those that a node alone gives itself. A fleet record that is gone takes
// none away.
func (a *Agent) places(changed bool) planner.Addresses {
	if a.fleet != nil {
		if known := a.fleet.member.View().Fleet.Addresses; known != nil {
			a.net.addresses = known
		}
		return a.net.addresses
	}
	if !changed {
		return a.net.addresses
	}
	services, slots := map[planner.ServiceID]planner.Service{}, map[planner.ServiceID][]string{}
	for _, id := range a.here {
		s := a.state.followed.Services[id]
		services[id], slots[id] = s, planner.Slots(a.cfg.Node, a.state.followed.Fleet, s)
	}
	given, err := a.net.addresses.Allocate(a.state.followed.Fleet.Network, services, slots, func(id planner.ServiceID) bool {
		_, followed := services[id]
		_, recorded := a.state.docs[id]
		return !followed && recorded
	})
	a.problem("service addresses", err)
	a.net.addresses = given
	return given
}

// keepNetwork writes the file if there is news, beside the loop. It is not worth
// waiting for the disk: what the machine's end takes of it is learnt anew.
func (a *Agent) keepNetwork() {
	if !a.net.unsaved || a.net.writing {
		return
	}
	a.net.unsaved = false
	g := &a.balance.gather
	f := networkFile{Format: networkFormat, Addresses: g.places, Nodes: g.nodes, Told: a.serving.told}
	at := map[planner.NodeName]int{}
	for _, id := range sortedServices(g.there) {
		for _, i := range g.there[id] {
			k, known := at[i.Node]
			if !known {
				k = len(f.Elsewhere)
				at[i.Node] = k
				f.Elsewhere = append(f.Elsewhere, rememberedNode{Node: i.Node, Address: i.Address})
			}
			f.Elsewhere[k].Instances = append(f.Elsewhere[k].Instances, i.ServingInstance)
		}
	}
	if reflect.DeepEqual(f, a.net.networkFile) {
		return
	}
	a.net.networkFile, a.net.nodes, a.net.writing = f, f.Nodes, true
	path := filepath.Join(a.cfg.StateDir, networkPath)
	a.work(func() {
		err := writeNetwork(path, f)
		a.post(func() {
			a.net.writing = false
			a.problem("network memory", err)
			a.net.unsaved = a.net.unsaved || err != nil
		})
	})
}

func writeNetwork(path string, f networkFile) error {
	data, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode what connections are led by: %w", err)
	}
	// The folder is the agent's alone, and one writes at a time.
	if err = os.WriteFile(path+".new", data, 0o600); err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("write what connections are led by: %w", err)
	}
	return nil
}
