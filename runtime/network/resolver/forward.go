package resolver

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// How long other name servers are waited for. Clients give up after five
// seconds.
const (
	askTimeout    = 2 * time.Second // one of them
	askAltogether = 4800 * time.Millisecond
	shunTime      = 5 * time.Second // one that did not answer is asked last
)

// forwarder asks other name servers.
type forwarder struct {
	mu     sync.Mutex
	silent map[netip.AddrPort]time.Time // when it last did not answer
}

// order is servers with those at the end that did not answer lately.
func (f *forwarder) order(servers []netip.AddrPort, now time.Time) []netip.AddrPort {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]netip.AddrPort, 0, len(servers))
	var last []netip.AddrPort
	for _, s := range servers {
		if at, ok := f.silent[s]; ok && now.Sub(at) < shunTime {
			last = append(last, s)
		} else {
			out = append(out, s)
		}
	}
	return append(out, last...)
}

func (f *forwarder) note(server netip.AddrPort, answered bool, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if answered {
		delete(f.silent, server)
		return
	}
	if f.silent == nil || len(f.silent) > 4*maxUpstream {
		f.silent = map[netip.AddrPort]time.Time{}
	}
	f.silent[server] = now
}

// ask asks the servers in turn, a single one twice, and returns the first
// answer, with the id of the client's question. An answer that the server itself
// is in trouble counts only where there is no other. nil = there is none.
func (f *forwarder) ask(ctx context.Context, q *query, servers []netip.AddrPort) []byte {
	ctx, cancel := context.WithTimeout(ctx, askAltogether)
	defer cancel()
	if len(servers) == 0 {
		return nil
	}
	order := f.order(servers, time.Now())
	if len(order) == 1 {
		order = append(order, order[0])
	}
	var trouble []byte
	for _, server := range order {
		out, err := askOne(ctx, q, server)
		if ctx.Err() != nil {
			break
		}
		f.note(server, err == nil, time.Now())
		if err != nil {
			continue
		}
		binary.BigEndian.PutUint16(out, q.header.ID)
		switch dnsmessage.RCode(out[3] & 0xf) {
		case dnsmessage.RCodeServerFailure, dnsmessage.RCodeRefused, dnsmessage.RCodeNotImplemented:
			trouble = out
		default:
			return out
		}
	}
	return trouble
}

// askOne asks one server over UDP and, where the answer is cut short, over TCP.
// Each question has a socket of its own, so that whoever wants to forge an answer
// has to guess its port and its id.
func askOne(ctx context.Context, q *query, server netip.AddrPort) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	msg, err := forwarded(q)
	if err != nil {
		return nil, err
	}
	out, err := exchange(ctx, "udp", server, msg, q)
	if err != nil || out[2]&0x02 == 0 { // TC
		return out, err
	}
	if whole, err := exchange(ctx, "tcp", server, msg, q); err == nil {
		return whole, nil
	}
	return out, nil // the client may try TCP itself
}

// forwarded is the question as we ask it: nothing else of what the client sent
// gets beyond this node.
func forwarded(q *query) ([]byte, error) {
	var id [2]byte
	rand.Read(id[:])
	msg := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: binary.BigEndian.Uint16(id[:]), RecursionDesired: q.header.RecursionDesired,
			CheckingDisabled: q.header.CheckingDisabled, AuthenticData: q.header.AuthenticData,
		},
		Questions: []dnsmessage.Question{q.question},
	}
	if q.edns { // or the answer had options that the client does not know
		h := dnsmessage.ResourceHeader{}
		_ = h.SetEDNS0(ednsSize, 0, q.dnssec) // never fails
		msg.Additionals = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.OPTResource{}}}
	}
	return msg.Pack()
}

// exchange sends msg and waits for the answer to it.
func exchange(ctx context.Context, network string, server netip.AddrPort, msg []byte, q *query) ([]byte, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if network == "tcp" {
		if _, err := conn.Write(framed(msg)); err != nil {
			return nil, err
		}
		out, err := readFrame(conn, maxReply)
		if err == nil && !answers(out, msg, q) {
			err = fmt.Errorf("%s answered something else", server)
		}
		return out, err
	}
	if _, err := conn.Write(msg); err != nil {
		return nil, err
	}
	buf := make([]byte, maxQuery)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		if answers(buf[:n], msg, q) { // anything else is forged, or late
			return buf[:n], nil
		}
	}
}

// answers reports whether out answers what msg asked for q.
func answers(out, msg []byte, q *query) bool {
	if len(out) < headerSize || out[0] != msg[0] || out[1] != msg[1] {
		return false
	}
	var p dnsmessage.Parser
	h, err := p.Start(out)
	if err != nil || !h.Response || h.OpCode != 0 {
		return false
	}
	got, err := p.Question()
	if err != nil {
		// Servers that cannot read a question may leave it out of the refusal.
		return errors.Is(err, dnsmessage.ErrSectionDone) && h.RCode != dnsmessage.RCodeSuccess && h.RCode != dnsmessage.RCodeNameError
	}
	return got.Type == q.question.Type && got.Class == q.question.Class && lower(got.Name) == q.name
}

// framed is a message as it goes over TCP.
func framed(msg []byte) []byte {
	return append(binary.BigEndian.AppendUint16(make([]byte, 0, len(msg)+2), uint16(len(msg))), msg...)
}

// readFrame reads a message of at most limit bytes.
func readFrame(r io.Reader, limit int) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if n > limit {
		return nil, fmt.Errorf("message of %d bytes, more than %d", n, limit)
	}
	msg := make([]byte, n)
	_, err := io.ReadFull(r, msg)
	return msg, err
}
