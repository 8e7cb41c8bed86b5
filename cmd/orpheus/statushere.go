package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/agent/api"
)

// narrow keeps the service that was asked for.
func (v statusView) narrow(st *api.Status) (*api.Status, error) {
	if v.service == "" {
		return st, nil
	}
	for _, s := range st.Services {
		if s.ID().String() == v.service || s.Namespace+"/"+s.Name == v.service {
			one := *st
			one.Services, one.Faults = []api.Service{s}, nil
			for _, f := range st.Faults {
				if s.File != "" && f.File == s.File {
					one.Faults = append(one.Faults, f)
				}
			}
			one.NotOpened = notOpened(st, s)
			one.Problems = otherProblems(st)
			one.Fleet = withoutRollouts(st.Fleet)
			return &one, nil
		}
	}
	if s, ok := serviceElsewhere(st, v.service); ok {
		one := *st
		one.Services, one.Faults, one.NotOpened = []api.Service{s}, nil, nil
		one.Problems, one.Fleet = otherProblems(st), withoutRollouts(st.Fleet)
		return &one, nil
	}
	return nil, noService(st, v.service)
}

// withoutRollouts leaves out those of other services.
func withoutRollouts(f *api.Fleet) *api.Fleet {
	if f == nil {
		return nil
	}
	one := *f
	one.Rollouts = nil
	return &one
}

// notOpened lists the ports of a service that the node does not open.
func notOpened(st *api.Status, s api.Service) []api.NotOpened {
	return slices.DeleteFunc(slices.Clone(st.NotOpened), func(n api.NotOpened) bool { return n.ID() != s.ID() })
}

// otherProblems are the node's, less those of single ports, which are their
// services'.
func otherProblems(st *api.Status) []string {
	ports := map[string]bool{}
	for _, n := range st.NotOpened {
		ports[n.String()] = true
	}
	return slices.DeleteFunc(slices.Clone(st.Problems), func(p string) bool { return ports[p] })
}

// noService says which services there are, and that a broken manifest may be
// the reason why one is missing.
func noService(st *api.Status, name string) error {
	names := serviceNames(st, false)
	text := fmt.Sprintf("there is no service %q on node %s", name, st.Node)
	const few = 12
	switch {
	case len(names) == 0 && st.Fleet != nil:
		text += ", on which nothing runs now, nor among those of the fleet that it knows"
	case len(names) == 0:
		text += ", nor any other"
	case len(names) > few:
		text += fmt.Sprintf("; \"orpheus status\" lists its %d services", len(names))
	default:
		text += "; it has " + strings.Join(names, ", ")
	}
	if st.Fleet != nil {
		text += "; \"orpheus status\" with -C, --repository or --config shows the services of the whole fleet"
	}
	if n := broken(st.Faults); n > 0 {
		text += fmt.Sprintf("; %s of the commit may hold it back, see \"orpheus status\"", count(n, "fault"))
	}
	return errors.New(text)
}

// underWay reports whether the slots of a service are not what they are to be, on
// any node.
func underWay(r *api.Rollout) bool { return r != nil && !r.Steady() }

// asAsked reports whether nothing is amiss, or on its way.
func asAsked(st *api.Status) bool {
	r := st.Repository
	if r.Refused != "" || r.Error != "" || r.Applied.Hash == "" || broken(st.Faults) > 0 || len(st.Problems) > 0 || slices.ContainsFunc(st.NotOpened, func(n api.NotOpened) bool { return !n.Meant }) || len(st.Pressure) > 0 {
		return false
	}
	for _, d := range st.Drivers {
		if d.Error != "" {
			return false
		}
	}
	for _, s := range st.Services {
		if !settled(s) {
			return false
		}
	}
	if f := st.Fleet; f != nil && (f.Error != "" || !f.Registered || len(f.Unplaced) > 0 || slices.ContainsFunc(f.Rollouts, underWay)) {
		return false
	}
	return st.Network == nil || st.Network.Error == ""
}
