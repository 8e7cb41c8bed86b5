package gitsync

import (
	"context"
	"io"
	"time"
)

// idleReader ends a reply that brings no byte for too long, by cancelling the
// context it is read under.
type idleReader struct {
	io.ReadCloser
	ctx    context.Context
	idle   time.Duration
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

// newIdleReader watches rc; cancel belongs to ctx, and must end a Read that is
// under way.
func newIdleReader(ctx context.Context, rc io.ReadCloser, idle time.Duration, cancel context.CancelCauseFunc) *idleReader {
	timer := time.AfterFunc(idle, func() {
		cancel(&remoteError{kind: ErrUnreachable, text: "no byte came from the remote for " + idle.String()})
	})
	return &idleReader{ReadCloser: rc, ctx: ctx, idle: idle, timer: timer, cancel: cancel}
}

func (r *idleReader) Read(b []byte) (int, error) {
	n, err := r.ReadCloser.Read(b)
	if n > 0 {
		r.timer.Reset(r.idle)
	}
	if err != nil && err != io.EOF && r.ctx.Err() != nil {
		err = context.Cause(r.ctx)
	}
	return n, err
}

// Close also ends the context: nothing of the exchange outlives it.
func (r *idleReader) Close() error {
	r.timer.Stop()
	err := r.ReadCloser.Close()
	r.cancel(context.Canceled)
	return err
}
