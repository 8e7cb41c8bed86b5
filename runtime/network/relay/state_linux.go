package relay

import (
	"context"
	"fmt"
	"io/fs"
	"time"

	"github.com/orpheus-cd/orpheus/runtime"
)

var _ runtime.Listening = Client{}

// ListensOn implements runtime.Listening.
func (Client) ListensOn(port int) int { return Port(port) }

// State is what a relay tells of itself.
type State struct {
	Since       time.Time // when it began to serve
	Open        int       // ports it listens on, each address by itself
	Connections int       // that stand, without UDP
}

// State asks the relay of the folder. fs.ErrNotExist: none runs.
func (c Client) State(ctx context.Context) (State, error) {
	st, err := askStatus(ctx, c.Dir)
	if noRelay(err) {
		return State{}, fs.ErrNotExist
	}
	if err != nil {
		return State{}, fmt.Errorf("ask the relay how it is: %w", err)
	}
	return State{st.Since, st.Open, st.Connections}, nil
}
