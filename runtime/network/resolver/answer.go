package resolver

import (
	"net/netip"

	"golang.org/x/net/dns/dnsmessage"
)

// How long answers may be kept, in seconds: also that there is nothing.
const answerTTL = 5

// maxAnswers bounds the records of one answer; more do not fit any message.
const maxAnswers = 4000

// ownName is that of the domain itself.
var ownName = dnsmessage.MustNewName(Domain + ".")

// answer answers what is ours to know; nil = others must be asked. turn goes
// round the addresses of a name, so that those who take the first share them.
func (x *index) answer(q *query, turn int) *reply {
	if q.question.Class != dnsmessage.ClassINET {
		return &reply{code: dnsmessage.RCodeRefused}
	}
	switch q.question.Type {
	case dnsmessage.TypeAXFR, typeIXFR:
		return &reply{code: dnsmessage.RCodeRefused}
	}
	if addr, ok := reverseAddr(q.name); ok {
		return x.answerReverse(q, addr)
	}
	e, ours := x.find(q.name)
	if !ours {
		return nil
	}
	r := &reply{authoritative: true}
	if e == nil {
		r.code = dnsmessage.RCodeNameError
	} else {
		x.records(r, q, e, turn)
	}
	if len(r.answers) == 0 {
		r.authorities = []dnsmessage.Resource{x.authority()}
	}
	return r
}

// records puts what a name has of the wanted type into the answer.
func (x *index) records(r *reply, q *query, e *entry, turn int) {
	kind := q.question.Type
	all := kind == dnsmessage.TypeALL
	for _, a := range rotated(e.addrs, turn) {
		if all || a.Is4() == (kind == dnsmessage.TypeA) && (kind == dnsmessage.TypeA || kind == dnsmessage.TypeAAAA) {
			r.answers = append(r.answers, addressRecord(q.question.Name, a))
		}
	}
	if all || kind == dnsmessage.TypeSRV {
		for _, t := range rotated(e.targets, turn) {
			r.addTarget(q.question.Name, t)
		}
	}
	if (all || kind == dnsmessage.TypeSOA) && q.name == Domain+"." {
		r.answers = append(r.answers, x.authority())
	}
}

// addTarget adds an SRV record and the addresses of its host.
func (r *reply) addTarget(name dnsmessage.Name, t target) {
	host, err := dnsmessage.NewName(t.host)
	if err != nil {
		return
	}
	r.answers = append(r.answers, dnsmessage.Resource{
		Header: header(name),
		Body:   &dnsmessage.SRVResource{Priority: 0, Weight: 1, Port: t.port, Target: host},
	})
	for _, a := range t.addrs {
		r.additionals = append(r.additionals, addressRecord(host, a))
	}
}

// answerReverse names an address.
func (x *index) answerReverse(q *query, addr netip.Addr) *reply {
	owner, known := x.owners[addr]
	if !known && !containsAddr(x.reverse, addr) {
		return nil
	}
	r := &reply{authoritative: true}
	switch kind := q.question.Type; {
	case !known:
		r.code = dnsmessage.RCodeNameError
	case kind == dnsmessage.TypePTR || kind == dnsmessage.TypeALL:
		if name, err := dnsmessage.NewName(owner); err == nil {
			r.answers = []dnsmessage.Resource{{Header: header(q.question.Name), Body: &dnsmessage.PTRResource{PTR: name}}}
		}
	}
	return r
}

// authority is the SOA record, which says how long a negative answer may be
// kept.
func (x *index) authority() dnsmessage.Resource {
	return dnsmessage.Resource{Header: header(ownName), Body: &dnsmessage.SOAResource{
		NS: ownName, MBox: ownName, Serial: x.serial, Refresh: answerTTL, Retry: answerTTL, Expire: answerTTL, MinTTL: answerTTL,
	}}
}

func header(name dnsmessage.Name) dnsmessage.ResourceHeader {
	return dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: answerTTL}
}

func addressRecord(name dnsmessage.Name, a netip.Addr) dnsmessage.Resource {
	if a.Is4() {
		return dnsmessage.Resource{Header: header(name), Body: &dnsmessage.AResource{A: a.As4()}}
	}
	return dnsmessage.Resource{Header: header(name), Body: &dnsmessage.AAAAResource{AAAA: a.As16()}}
}

// rotated is all, beginning elsewhere each turn, at most maxAnswers.
func rotated[T any](all []T, turn int) []T {
	if len(all) < 2 {
		return all
	}
	first := turn % len(all)
	out := append(append(make([]T, 0, len(all)), all[first:]...), all[:first]...)
	return out[:min(len(out), maxAnswers)]
}
