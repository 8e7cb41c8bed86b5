//go:build linux

package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/containerd/v2/core/remotes"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// pullStall is how long a registry may send nothing in the middle of a blob.
const pullStall = time.Minute

// boundedFetcher cuts a blob off that is longer than announced, or stalls. It
// gets blobs from the place it is asked for alone: a manifest may name others,
// and who wrote it is not asked where the node may connect to.
type boundedFetcher struct{ remotes.Fetcher }

func (f boundedFetcher) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	desc.URLs = nil
	ctx, cancel := context.WithCancel(ctx)
	rc, err := f.Fetcher.Fetch(ctx, desc)
	if err != nil {
		cancel()
		return nil, err
	}
	b := &boundedReader{ReadCloser: rc, size: desc.Size, left: desc.Size, stall: pullStall, cancel: cancel}
	if s, ok := rc.(io.Seeker); ok {
		return &boundedReadSeeker{boundedReader: b, seeker: s}, nil
	}
	return b, nil
}

// boundedReader reads at most size bytes and reports more as an error, as it
// does a read that takes longer than stall.
type boundedReader struct {
	io.ReadCloser
	size, left int64
	stall      time.Duration
	cancel     context.CancelFunc // ends the request
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1] // one more than announced is enough to know
	}
	stalled := time.AfterFunc(b.stall, b.cancel)
	n, err := b.ReadCloser.Read(p)
	if !stalled.Stop() {
		return n, fmt.Errorf("nothing came for %s: %w", b.stall, errStalled)
	}
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("blob is longer than the %d bytes announced: %w", b.size, errTooBig)
	}
	return n, err
}

func (b *boundedReader) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}

// boundedReadSeeker keeps the ability to go on where an earlier pull stopped.
type boundedReadSeeker struct {
	*boundedReader
	seeker io.Seeker
}

func (b *boundedReadSeeker) Seek(offset int64, whence int) (int64, error) {
	at, err := b.seeker.Seek(offset, whence)
	if err == nil {
		b.left = b.size - at
	}
	return at, err
}

var (
	errTooBig  = errors.New("too big")
	errStalled = errors.New("stalled")
	errSlow    = errors.New("it takes too long to answer")
)
