package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

const (
	// hearLines is how many connections a caller may have to announce, one of
	// which is usually being replaced.
	hearLines = 2
	// What a caller may announce, in KiB; a new connection and each call have a
	// price of their own.
	hearRate      = 512 // a second
	hearBurst     = 2048
	hearLineCosts = 32
	hearCallCosts = 4
	// applyPatience is how long a receipt waits for the owner to go by what was
	// announced: the caller asks again.
	applyPatience = time.Second
)

// forProbes is the configuration for callers that do not announce, which keep
// their connection: they are given no sessions. Those that announce come often
// and shortly. Resuming their sessions spares both sides the signatures;
// whether the key may still call is asked all the same.
func (p *Peers) forProbes(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if slices.Contains(hello.SupportedProtos, announcing) {
		return nil, nil
	}
	return p.probing, nil
}

// hear takes what a caller announces, no faster than it may, until an error
// ends the call.
func (p *Peers) hear(ctx context.Context, c *caller, conn net.Conn, line uint64) error {
	for {
		conn.SetDeadline(time.Now().Add(idle))
		body, err := readLong(conn, maxCall)
		if err != nil {
			return err
		}
		said, err := decodeTelling(body)
		if err != nil {
			return err
		}
		if body = nil; said.Told {
			if body, err = readLong(conn, maxAnnouncement); err != nil {
				return err
			}
		}
		if err := p.pace(ctx, &c.hearing, hearCallCosts+float64(len(body)>>10)); err != nil {
			return err
		}
		if said.Told {
			a, err := decodeAnnouncement(body)
			if err != nil {
				return err
			}
			if (position{a.Incarnation, a.Serving}) != said.At {
				return errors.New("a peer says one announcement and sends another")
			}
			if err := p.take(c, line, a); err != nil {
				return err
			}
		}
		p.announcer.called(c.node, said.Have)
		reply, err := long(p.hearsay.await(ctx, c.node, said.At, applyPatience))
		if err != nil {
			return err
		}
		conn.SetDeadline(time.Now().Add(timeout))
		if _, err := conn.Write(reply); err != nil {
			return err
		}
	}
}

// take notes what a caller announces, unless it may not call any more.
func (p *Peers) take(c *caller, line uint64, a planner.Announcement) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.gone {
		return errors.New("the caller's key is of no node of the fleet any more")
	}
	p.heard.Add(1)
	return p.hearsay.take(c.node, line, a)
}
