package fleettest

import (
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// Plans is a fleet without faults on which commits are made one after the other,
// each once the one before has been carried out, and compared with what was
// forecast of it.
type Plans struct {
	*story
	chains map[planner.ServiceID][]planner.LeaseDoc
	specs  map[planner.Revision]planner.Template
	stirs  time.Duration // when a document last changed
}

const (
	// stillFor is how long no document changes in a fleet that counts as at rest:
	// longer than any pause that is asked for here.
	stillFor = time.Minute
	// stirsAtMost is how long a commit may take.
	stirsAtMost = 20 * time.Minute
)

// NewPlans begins with so many nodes.
func NewPlans(seed uint64, nodes int) (*Plans, error) {
	return newPlans(seed, nodes, func(*machine) {})
}

// newPlans lets shape say what each node is like before it boots.
func newPlans(seed uint64, nodes int, shape func(*machine)) (*Plans, error) {
	p := &Plans{story: &story{told: func(string, ...any) {}}, specs: map[planner.Revision]planner.Template{}}
	if err := p.do("seed", []string{fmt.Sprint(seed)}); err != nil {
		return nil, err
	}
	p.c.calm = true
	p.c.Nodes(nodes, time.Second)
	for _, m := range p.c.machines {
		shape(m)
	}
	p.c.witness.told = func(doc planner.LeaseDoc) {
		p.chains[doc.Service] = append(p.chains[doc.Service], doc)
		p.stirs = p.c.now
	}
	p.c.Run(2 * time.Minute)
	return p, p.c.broken
}

// Commit carries out commands of a story, and makes a commit of what they came to.
func (p *Plans) Commit(what string, commands []string) (planner.Forecast, []planner.Outcome, error) {
	for _, command := range commands {
		words := strings.Fields(command)
		if err := p.do(words[0], words[1:]); err != nil {
			return planner.Forecast{}, nil, fmt.Errorf("%s: %w", command, err)
		}
	}
	return p.carryOut(what, nil)
}

// carryOut commits what is wanted now, and compares the forecast of that with what
// the fleet makes of it until it is at rest. approve are Prune-Approved trailers.
func (p *Plans) carryOut(what string, approve []string) (planner.Forecast, []planner.Outcome, error) {
	c := p.c.commit(p.c.history.tip, what)
	c.approve = approve
	for _, s := range c.desired.Services {
		p.specs[s.Revision] = s.Template
		for _, h := range s.Hooks {
			p.specs[h.Revision] = h.Template
		}
	}
	forecast := planner.Foresee(planner.Settle(p.c.machines[0].disk.followed, c.desired, c.approve), p.view())
	p.chains = map[planner.ServiceID][]planner.LeaseDoc{}
	for id, doc := range p.c.witness.docs {
		p.chains[id] = []planner.LeaseDoc{doc}
	}
	for _, d := range forecast.Decisions {
		if id := d.Doc.Service; p.chains[id] == nil {
			p.chains[id] = []planner.LeaseDoc{{}}
		}
	}
	p.c.push(c)
	p.stirs = p.c.now
	for begin := p.c.now; p.c.now < p.stirs+stillFor && p.c.now < begin+stirsAtMost && p.c.broken == nil; {
		p.c.Run(p.c.now + time.Second)
	}
	came := map[planner.ServiceID]planner.Came{}
	for id, docs := range p.chains {
		came[id] = planner.Came{Docs: docs}
	}
	return forecast, forecast.Compare(came), p.c.broken
}

// view is what the records say, as somebody reads them who is no node.
func (p *Plans) view() planner.View {
	wit := p.c.witness
	v := planner.View{Nodes: map[planner.NodeName]planner.NodeView{}, Docs: map[planner.ServiceID]planner.DocView{}, Fleet: wit.fleet, Specs: maps.Clone(p.specs)}
	for name, record := range wit.nodes {
		v.Nodes[name] = planner.NodeView{Record: record, Status: wit.status[name]}
	}
	for id, doc := range wit.docs {
		v.Docs[id] = planner.DocView{Doc: doc}
	}
	return v
}
