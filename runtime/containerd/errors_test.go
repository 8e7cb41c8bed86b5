//go:build linux

package containerd

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The server may answer with the end of our deadline, as an error of no class,
// before our own context has noticed it.
func TestDeadlineToldByTheServer(t *testing.T) {
	told := status.Error(codes.Unknown, "context deadline exceeded")
	if err := (&Driver{}).fail("wait", told); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the end of the deadline", err)
	}
}
