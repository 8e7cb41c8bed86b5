package relay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/orpheus-cd/orpheus/runtime"
)

// Client is the agent's half of a relay.
type Client struct {
	// Dir is the folder that Serve is given.
	Dir string
}

var _ runtime.Balancer = Client{}

// Balance writes what the relay of the folder is to do, and returns once it does
// it. Where none runs it is done as soon as one does. Fronts of kind FrontHost
// are left out: without network namespaces an instance has its port itself.
// Fleet and Services have no meaning here: an address that is no front refuses
// connections because nobody listens there.
func (c Client) Balance(ctx context.Context, b runtime.Balancing) error {
	t, of, left := tableOf(b, lowestPort())
	text, name, err := t.encode()
	if err == nil {
		err = write(c.Dir, text)
	}
	if err != nil {
		return fmt.Errorf("tell the relay what to balance: %w", err)
	}
	st, err := askStatus(ctx, c.Dir)
	switch {
	case noRelay(err):
	case err != nil:
		return fmt.Errorf("ask the relay whether it balances: %w", err)
	case st.Name != name:
		return fmt.Errorf("the relay balances something else: %s", st.Fault)
	}
	for _, u := range st.Unbound {
		if f, known := of[place{u.Listen, u.Protocol}]; known {
			left = append(left, runtime.LeftOut{Front: f, Reason: u.Listen + ": " + u.Reason})
		}
	}
	if len(left) > 0 {
		return left
	}
	return nil
}

// Traffic tells of all targets that were tried lately, those of this node
// included.
func (c Client) Traffic(ctx context.Context) ([]runtime.Traffic, error) {
	st, err := askStatus(ctx, c.Dir)
	if noRelay(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask the relay for its traffic: %w", err)
	}
	all := make([]runtime.Traffic, 0, len(st.Traffic))
	for _, t := range st.Traffic {
		all = append(all, runtime.Traffic{
			Target:   runtime.Target{Address: t.Target.Addr().String(), Port: int(t.Target.Port())},
			Protocol: t.Protocol, Tried: t.Tried, Answered: t.Answered, Refused: t.Refused,
		})
	}
	return all, nil
}

// Forget has nothing to do: a connection that waits is led to the next target
// by itself, and UDP flows leave a target with Balance.
func (Client) Forget(context.Context, []runtime.Target) error { return nil }

// noRelay reports whether nobody listens on the control socket.
func noRelay(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}
