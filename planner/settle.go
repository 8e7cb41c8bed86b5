package planner

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Followed is what a node works towards: the last commit it accepted, with
// the services that commit could not speak for kept as they were. It is the
// node's last good state and is kept on disk.
type Followed struct {
	Commit   Commit                `json:"commit"`
	Fleet    Fleet                 `json:"fleet"`
	Services map[ServiceID]Service `json:"-"`
	// Nodes is what people say of nodes, as Commit has it. As long as Commit has
	// files that could not be read, nodes it lacks stay as they were.
	Nodes map[NodeName]NodeSpec `json:"nodes,omitempty"`
	// Unread is set when Commit has files that could not be read.
	Unread bool `json:"unread,omitempty"`
	// Total is the number of services in the whole repository when Commit was
	// accepted. After a restart Services holds only those that run here.
	Total int `json:"total"`
	// Pending maps each service whose deletion awaits approval to the commit
	// that first lacked it.
	Pending map[ServiceID]string `json:"-"`
	// Gone maps each service whose deletion was carried out to the commit that
	// deleted it, until it returns; at most maxGone. Only a node that saw a
	// service being deleted may take its leases back: one that merely never
	// knew it may not. It is to be kept on disk like Pending.
	Gone map[ServiceID]string `json:"-"`
	// Held explains every service that is not as Commit has it, in order.
	Held []Held `json:"held,omitempty"`
	// Faults are the first of those of Commit, at most maxKeptFaults.
	Faults []Fault `json:"faults,omitempty"`
}

// Held is one service kept as it was, and why.
type Held struct {
	Service ServiceID `json:"service"`
	Reason  string    `json:"reason"`
	// Approve is the trailer that releases the service, if a person may.
	Approve string `json:"approve,omitempty"`
}

// maxKeptFaults bounds what is remembered of a commit with many.
const maxKeptFaults = 200

// maxGone bounds what is remembered of deleted services.
const maxGone = 4096

// PruneTrailer is the commit trailer that approves deletions that wait.
const PruneTrailer = "Prune-Approved"

// Settle lays a commit over what the node follows. approved lists the values
// of the Prune-Approved trailers of the commits that are new with it.
//
// Services in files without fault are taken as they are. A service that the
// commit lacks goes only if every file of the commit was read without fault
// and the deletion is within the budget: at most max(2, 20 %) of all services
// at once, none with a volume that keeps data, none known only from what runs
// (it may keep data). What exceeds it runs on until a later commit approves it.
func Settle(prev Followed, next Desired, approved []string) Followed {
	out := Followed{
		Commit:   next.Commit,
		Fleet:    next.Fleet,
		Nodes:    settleNodes(prev.Nodes, next),
		Unread:   !next.Complete(),
		Services: maps.Clone(next.Services),
		Total:    len(next.Services),
		Pending:  map[ServiceID]string{},
		Gone:     stillGone(prev, next),
		Faults:   slices.Clone(next.Faults[:min(len(next.Faults), maxKeptFaults)]),
	}
	if out.Services == nil {
		out.Services = map[ServiceID]Service{}
	}
	if !next.Complete() {
		// Nothing is deleted, so the services of unread files still count.
		out.Total = max(prev.Total, out.Total)
	}
	gone := missing(prev, next)
	over := exceedsBudget(prev, next, gone)
	for _, id := range gone {
		s := prev.Services[id]
		since, pending := prev.Pending[id]
		switch {
		case !next.Complete():
			out.hold(s, Held{Service: id, Reason: incompleteReason(s, next)})
			if pending {
				out.Pending[id] = since
			}
			continue
		case !pending && !over && !s.HasVolumes() && !s.Orphan:
			out.deleted(id)
			continue
		case !pending:
			since = next.Commit.Hash
		case approves(approved, since):
			out.deleted(id) // by a person's word
			continue
		}
		out.Pending[id] = since
		out.hold(s, Held{
			Service: id,
			Reason:  pendingReason(s, since),
			Approve: PruneTrailer + ": " + since,
		})
	}
	return out
}

// stillGone is what is remembered of deleted services that did not return.
func stillGone(prev Followed, next Desired) map[ServiceID]string {
	gone := map[ServiceID]string{}
	for id, commit := range prev.Gone {
		if _, back := next.Services[id]; !back {
			gone[id] = commit
		}
	}
	return gone
}

// deleted notes that a service is gone. Where too many are remembered, the
// first by name that this commit did not delete is forgotten: its document
// then waits for a node that remembers it.
func (f *Followed) deleted(id ServiceID) {
	if len(f.Gone) >= maxGone {
		forget := slices.SortedFunc(maps.Keys(f.Gone), ServiceID.Compare)
		i := slices.IndexFunc(forget, func(id ServiceID) bool { return f.Gone[id] != f.Commit.Hash })
		if i < 0 {
			return
		}
		delete(f.Gone, forget[i])
	}
	f.Gone[id] = f.Commit.Hash
}

func (f *Followed) hold(s Service, h Held) {
	f.Services[s.ID] = s
	f.Held = append(f.Held, h)
}

// settleNodes keeps what was said of nodes that an incomplete commit lacks: a
// typo in nodes/x.yaml must not end the drain of x, nor lift its taints.
func settleNodes(prev map[NodeName]NodeSpec, next Desired) map[NodeName]NodeSpec {
	if next.Complete() || len(prev) == 0 {
		return next.Nodes
	}
	nodes := maps.Clone(prev)
	for name, spec := range nodes {
		spec.Kept = true
		nodes[name] = spec
	}
	maps.Copy(nodes, next.Nodes)
	return nodes
}

// missing lists the services that are followed and not in the commit.
func missing(prev Followed, next Desired) []ServiceID {
	var gone []ServiceID
	for id := range prev.Services {
		if _, ok := next.Services[id]; !ok {
			gone = append(gone, id)
		}
	}
	slices.SortFunc(gone, ServiceID.Compare)
	return gone
}

// exceedsBudget reports whether more services are newly gone than may go at
// once. After a restart the node knows only the services that ran here, so the
// shrinking of the whole repository counts as well.
func exceedsBudget(prev Followed, next Desired, gone []ServiceID) bool {
	fresh := 0
	for _, id := range gone {
		if _, pending := prev.Pending[id]; !pending {
			fresh++
		}
	}
	if fresh == 0 {
		return false
	}
	total := max(prev.Total, len(prev.Services))
	shrunk := prev.Total - len(next.Services)
	return max(fresh, shrunk) > max(2, total/5)
}

// approves reports whether one of the trailers names the commit, in full or
// by at least seven characters.
func approves(trailers []string, commit string) bool {
	for _, t := range trailers {
		if len(t) >= 7 && strings.HasPrefix(commit, t) {
			return true
		}
	}
	return false
}

func incompleteReason(s Service, next Desired) string {
	for _, f := range next.Faults {
		if !f.Warning && f.File != "" && f.File == s.File {
			return fmt.Sprintf("kept as it was: %s has faults in commit %s", s.File, next.Commit.Short())
		}
	}
	return fmt.Sprintf("kept as it was: commit %s lacks it, but has files that could not be read, and nothing is deleted until all can be", next.Commit.Short())
}

func pendingReason(s Service, since string) string {
	short := Commit{Hash: since}.Short()
	switch {
	case s.Orphan:
		return fmt.Sprintf("found running here, but no record tells of it and commit %s does not have it: it runs on until a commit approves its end", short)
	case s.HasVolumes():
		return fmt.Sprintf("commit %s deletes it, but it keeps data in a volume: it runs on until a commit approves the deletion", short)
	}
	return fmt.Sprintf("commit %s deletes it together with more than 20 %% of all services: it runs on until a commit approves the deletion", short)
}
