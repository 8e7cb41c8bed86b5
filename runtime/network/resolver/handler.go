package resolver

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// handler answers messages, however they came. It is safe for concurrent use.
type handler struct {
	index   atomic.Pointer[index] // never nil
	sources sources
	forward forwarder
	count   counters
}

// A task is a question that others must be asked.
type task struct {
	query
	upstream []netip.AddrPort
	limit    int
	leave    func()
}

// handle answers a message, in buf, or returns a task, which must be done. With
// neither there is nothing to send.
func (h *handler) handle(msg []byte, from netip.Addr, stream bool, buf []byte) (out []byte, t *task) {
	if !h.mayAsk(from) {
		return nil, nil
	}
	from = from.Unmap().WithZone("")
	x := h.index.Load()
	now := time.Now()
	if !h.sources.allow(from, now) {
		h.count.limited.Add(1)
		return nil, nil
	}
	q, code, ok := parseQuery(msg)
	if !ok {
		h.count.invalid.Add(1)
		return nil, nil
	}
	limit := q.limit(stream)
	if code != dnsmessage.RCodeSuccess {
		h.count.invalid.Add(1)
		return (&reply{code: code}).pack(&q, limit, buf), nil
	}
	if r := x.answer(&q, rand.IntN(1<<30)); r != nil {
		h.count.local.Add(1)
		return r.pack(&q, limit, buf), nil
	}
	upstream := x.upstreamOf(from)
	leave, ok := h.sources.forward(from, now)
	if !ok || len(upstream) == 0 {
		if ok {
			leave()
		}
		h.count.failed.Add(1)
		return (&reply{code: dnsmessage.RCodeServerFailure}).pack(&q, limit, buf), nil
	}
	h.count.forwarded.Add(1)
	return nil, &task{q, upstream, limit, leave}
}

// mayAsk reports whether anything from an address is listened to, and counts
// what is not.
func (h *handler) mayAsk(from netip.Addr) bool {
	allowed := h.index.Load().allowed(from.Unmap().WithZone(""))
	if !allowed {
		h.count.refused.Add(1)
	}
	return allowed
}

// do asks other name servers and returns the answer.
func (h *handler) do(ctx context.Context, t *task) []byte {
	defer t.leave()
	out := h.forward.ask(ctx, &t.query, t.upstream)
	switch {
	case out == nil:
		h.count.failed.Add(1)
		return (&reply{code: dnsmessage.RCodeServerFailure}).pack(&t.query, t.limit, nil)
	case len(out) > t.limit:
		cut := (&reply{code: dnsmessage.RCode(out[3] & 0xf)}).pack(&t.query, t.limit, nil)
		if cut != nil {
			cut[2] |= 0x02 // TC
		}
		return cut
	}
	return out
}
