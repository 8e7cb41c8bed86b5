package peer

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"
)

// outcome is how telling a peer went.
type outcome struct {
	receipt
	deaf bool // it is of a version that knows no announcements
	err  error
}

// tell tells a peer the announcement at; held says that it is known to hold it,
// and is only asked whether it still does. The line is kept where that works.
func (a *announcer) tell(ctx context.Context, t *told, at position, frame []byte, held bool) outcome {
	used := t.line != nil
	out := a.converse(ctx, t, at, frame, held)
	if out.err != nil && used && ctx.Err() == nil {
		// The peer had hung up meanwhile, as it may at any time.
		out = a.converse(ctx, t, at, frame, held)
	}
	return out
}

func (a *announcer) converse(ctx context.Context, t *told, at position, frame []byte, held bool) (out outcome) {
	defer func() {
		if t.line != nil && (out.err != nil || out.deaf) {
			t.line.Close()
			t.line = nil
		}
	}()
	if t.line == nil {
		out.deaf, out.err = a.dial(ctx, t)
		if out.err != nil || out.deaf {
			return out
		}
	}
	line := t.line
	defer context.AfterFunc(ctx, func() { line.Close() })()
	line.SetDeadline(time.Now().Add(ackPatience))
	ask := telling{At: at, Have: a.peers.hearsay.holds(t.peer.Node), Told: !held}
	out.receipt, out.err = a.exchange(line, ask, frame)
	if out.err == nil && held && out.Heard != at { // it has forgotten, by a restart
		ask.Told = true
		out.receipt, out.err = a.exchange(line, ask, frame)
	}
	return out
}

// exchange sends a call and reads the receipt.
func (a *announcer) exchange(line net.Conn, ask telling, frame []byte) (receipt, error) {
	header, err := long(ask)
	if err != nil {
		return receipt{}, err
	}
	if _, err := line.Write(header); err != nil {
		return receipt{}, fmt.Errorf("announce to peer: %w", err)
	}
	if ask.Told {
		a.peers.announced.Add(1)
		if _, err := line.Write(frame); err != nil {
			return receipt{}, fmt.Errorf("announce to peer: %w", err)
		}
	}
	body, err := readLong(line, maxCall)
	if err != nil {
		return receipt{}, fmt.Errorf("read the receipt of peer: %w", err)
	}
	return decodeReceipt(body)
}

// dial connects to a peer. One that agrees on the protocol of probes only is
// deaf to announcements.
func (a *announcer) dial(ctx context.Context, t *told) (deaf bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", t.peer.Address)
	if err != nil {
		return false, fmt.Errorf("connect to peer: %w", err)
	}
	config := a.peers.client(t.peer.Key)
	config.NextProtos = []string{announcing, protocol}
	config.SessionTicketsDisabled, config.ClientSessionCache = false, a.sessions
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return false, fmt.Errorf("greet peer: %w", err)
	}
	state := secure.ConnectionState()
	if !state.DidResume {
		a.peers.greeted.Add(1)
	}
	if state.NegotiatedProtocol != announcing {
		secure.Close()
		return true, nil
	}
	t.line = secure
	return false, nil
}
