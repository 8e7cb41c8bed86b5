package resolver

import (
	"sort"

	"golang.org/x/net/dns/dnsmessage"
)

// reply is an answer of our own.
type reply struct {
	code          dnsmessage.RCode
	authoritative bool
	answers       []dnsmessage.Resource
	authorities   []dnsmessage.Resource
	additionals   []dnsmessage.Resource
}

// pack writes the answer to q in at most limit bytes, using buf. What does not
// fit is left out: additional records without a word, answers with the mark that
// makes the client ask again over TCP. As many answers as fit are there all the
// same, for clients that never do. nil = it cannot be written.
func (r *reply) pack(q *query, limit int, buf []byte) []byte {
	msg := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: q.header.ID, Response: true, OpCode: q.header.OpCode, Authoritative: r.authoritative,
			RecursionDesired: q.header.RecursionDesired, RecursionAvailable: true,
			CheckingDisabled: q.header.CheckingDisabled, RCode: r.code & 0xf,
		},
		Answers: r.answers, Authorities: r.authorities,
	}
	if q.asked {
		msg.Questions = []dnsmessage.Question{q.question}
	}
	var options []dnsmessage.Resource
	if q.edns {
		h := dnsmessage.ResourceHeader{}
		_ = h.SetEDNS0(ednsSize, r.code, q.dnssec) // never fails
		options = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.OPTResource{}}}
	}
	msg.Additionals = append(options, r.additionals...)
	fits := func() []byte {
		out, err := msg.AppendPack(buf[:0])
		if err != nil || len(out) > limit {
			return nil
		}
		return out
	}
	if out := fits(); out != nil {
		return out
	}
	msg.Additionals = options
	if out := fits(); out != nil {
		return out
	}
	msg.Truncated = true
	msg.Authorities = nil
	n := sort.Search(len(r.answers), func(n int) bool {
		msg.Answers = r.answers[:n+1]
		return fits() == nil
	})
	msg.Answers = r.answers[:n]
	return fits()
}
