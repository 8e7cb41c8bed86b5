package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// command succeeds when the command exits with 0. The driver kills it when the
// context ends.
func command(ctx context.Context, t Target, argv []string) outcome {
	if t.Place.Exec == nil {
		return unknown("its driver cannot run commands")
	}
	var out capped
	code, err := t.Place.Exec.Exec(ctx, t.Instance, t.Container.Name, argv, runtime.Streams{Out: &out, Err: &out})
	switch {
	case err != nil && errors.Is(context.Cause(ctx), errTimeout):
		return failed("")
	case err != nil:
		return unknown(err.Error())
	case code != 0:
		return outcome{planner.CheckFailure, fmt.Sprintf("exit code %d", code), strings.TrimSpace(out.String())}
	}
	return succeeded
}

// capped keeps the first maxOutput bytes of what is written to it, by several
// goroutines, and takes the rest.
type capped struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (c *capped) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text.Write(p[:min(len(p), maxOutput-c.text.Len())])
	return len(p), nil
}

func (c *capped) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}
