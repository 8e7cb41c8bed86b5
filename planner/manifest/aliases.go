package manifest

import (
	"fmt"

	"github.com/orpheus-cd/orpheus/planner"
)

// checkAliases looks at the further names of a service, beside those of others:
// see crossCheck.aliases. It returns where they stand.
func (w *writtenService) checkAliases(id planner.ServiceID) []place {
	d, seen := w.d, map[string]bool{}
	var at []place
	for i, alias := range w.spec.aliases {
		field := fmt.Sprintf("spec.aliases[%d]", i)
		at = append(at, place{field, d.where(field)})
		switch {
		case alias == "":
			continue // said already
		case alias == id.Name:
			d.fault(field, "is the service's own name", "remove it")
		case seen[alias]:
			d.fault(field, quote(alias)+" is listed twice", "remove one")
		}
		seen[alias] = true
		checkShortName(d, field, alias)
	}
	if len(w.spec.aliases) > 0 && !w.named() {
		d.warn("spec.aliases", "changes nothing: a service has names only where it has an address", "write port: PORT on one of its ports, imagePorts: true or endpointMode: dnsrr")
	}
	return at
}

// named reports whether the name server knows the service.
func (w *writtenService) named() bool {
	for _, c := range w.all() {
		for _, p := range c.ports {
			if p.port != 0 {
				return true
			}
		}
	}
	return w.spec.endpointMode == endpointModes[1] || w.spec.imagePorts && !w.onHost()
}

// aliases refuses an alias that is the name of a service of its namespace, or an
// alias of another.
func (c *crossCheck) aliases(services []placedService) {
	type named struct {
		origin
		field string
		what  string // of the name
		told  bool
	}
	names := make(map[planner.ServiceID]*named, len(services))
	has := false
	for _, s := range services {
		has = has || len(s.Aliases) > 0
		if names[s.ID] == nil {
			names[s.ID] = &named{s.origin(), "metadata.name", "the name of service " + s.ID.String(), false}
		}
	}
	if !has {
		return
	}
	const remedy = "choose another alias, or remove it"
	for _, s := range services {
		for i, alias := range s.Aliases {
			id := planner.ServiceID{Namespace: s.ID.Namespace, Name: alias}
			p := s.aliases[i]
			own := &named{origin{s.file, p.at}, p.field, "an alias of service " + s.ID.String(), false}
			other := names[id]
			if other == nil {
				names[id] = own
				continue
			}
			c.fault(own.origin, own.field, own.at, quote(alias)+" is "+other.what, other.origin, remedy)
			if !other.told {
				other.told = true
				c.fault(other.origin, other.field, other.at, quote(alias)+" is "+own.what, own.origin, remedy)
			}
		}
	}
}
