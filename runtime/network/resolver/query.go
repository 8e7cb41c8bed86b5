package resolver

import (
	"encoding/binary"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// Sizes of messages.
const (
	headerSize  = 12
	plainSize   = 512  // what a client without EDNS takes over UDP
	ednsSize    = 1232 // what passes every network without fragments
	maxQuery    = 4096 // a question of ours has 300 bytes at most
	maxReply    = 65535
	badVersion  = dnsmessage.RCode(16) // BADVERS, RFC 6891
	typeIXFR    = dnsmessage.Type(251)
	ednsVersion = 0
)

// query is a message that somebody sent us.
type query struct {
	header   dnsmessage.Header
	question dnsmessage.Question
	asked    bool   // there is a question
	name     string // that of the question, in lower case
	edns     bool
	dnssec   bool // wants signatures
	size     int  // what it takes over UDP
}

// parseQuery reads a message. Where ok is false nobody gets an answer; where
// code is not success it is the answer.
func parseQuery(msg []byte) (q query, code dnsmessage.RCode, ok bool) {
	if len(msg) < headerSize {
		return query{}, 0, false
	}
	q.size = plainSize
	var p dnsmessage.Parser
	var err error
	// Never an answer to an answer: two servers would go on for ever.
	if q.header, err = p.Start(msg); err != nil || q.header.Response {
		return query{}, 0, false
	}
	if q.header.OpCode != 0 {
		return q, dnsmessage.RCodeNotImplemented, true
	}
	count := func(i int) uint16 { return binary.BigEndian.Uint16(msg[4+2*i:]) }
	if count(0) != 1 || count(1) != 0 || count(2) > 1 { // an IXFR has an authority
		return q, dnsmessage.RCodeFormatError, true
	}
	if q.question, err = p.Question(); err != nil {
		return q, dnsmessage.RCodeFormatError, true
	}
	q.asked = true
	q.name = lower(q.question.Name)
	if err := firstError(p.SkipAllQuestions, p.SkipAllAnswers, p.SkipAllAuthorities); err != nil {
		return q, dnsmessage.RCodeFormatError, true
	}
	code, err = q.parseOptions(&p)
	if err != nil {
		return q, dnsmessage.RCodeFormatError, true
	}
	return q, code, true
}

// parseOptions reads the OPT record among the additional ones.
func (q *query) parseOptions(p *dnsmessage.Parser) (dnsmessage.RCode, error) {
	version := byte(ednsVersion)
	for {
		h, err := p.AdditionalHeader()
		if err == dnsmessage.ErrSectionDone {
			break
		}
		if err != nil {
			return 0, err
		}
		if h.Type == dnsmessage.TypeOPT {
			if q.edns || h.Name.String() != "." {
				return dnsmessage.RCodeFormatError, nil
			}
			q.edns, q.dnssec = true, h.DNSSECAllowed()
			version = byte(h.TTL >> 16)
			q.size = min(max(int(h.Class), plainSize), ednsSize)
		}
		if err := p.SkipAdditional(); err != nil {
			return 0, err
		}
	}
	if version != ednsVersion {
		return badVersion, nil
	}
	return dnsmessage.RCodeSuccess, nil
}

// limit is how large an answer may be.
func (q *query) limit(stream bool) int {
	if stream {
		return maxReply
	}
	return q.size
}

// lower folds letters of ASCII, as names are compared.
func lower(n dnsmessage.Name) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, n.String())
}

func firstError(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}
