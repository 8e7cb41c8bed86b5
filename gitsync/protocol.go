package gitsync

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
)

// advertisement is what one list of references says about the branch.
type advertisement struct {
	tip          plumbing.Hash // zero: no such branch
	refs         int
	branches     []string // the first few by name, for the error that names them
	capabilities *capability.List
}

const (
	maxNamedBranches = 5
	branchPrefix     = "refs/heads/"
	// maxOtherLines is how many lines may stand beside references: which
	// service this is, where the history is cut off.
	maxOtherLines = 16
)

// readAdvertisement reads the list of references. go-git holds all of them
// until they are counted here; that much memory is bounded by their bytes, and
// by their lines from servers that end each with a line feed, as git does.
func readAdvertisement(r io.Reader, branch string, limits Limits) (advertisement, error) {
	limited := &limitReader{r: r, left: limits.Advertisement, err: &LimitError{
		Limit: "Advertisement", What: "list of references", Max: limits.Advertisement, Bytes: true}}
	tooMany := &LimitError{Limit: "Refs", What: "references of the repository", Max: int64(limits.Refs)}
	lines := &lineLimiter{r: limited, left: limits.Refs + maxOtherLines, err: tooMany}
	list := packp.NewAdvRefs()
	if err := list.Decode(bufio.NewReader(lines)); err != nil && !errors.Is(err, packp.ErrEmptyAdvRefs) {
		return advertisement{}, advertisementError(err)
	}
	adv := advertisement{
		tip:          list.References[branchPrefix+branch],
		refs:         len(list.References) + len(list.Peeled),
		capabilities: list.Capabilities,
	}
	if list.Head != nil {
		adv.refs++
	}
	if adv.refs > limits.Refs {
		return adv, tooMany
	}
	for name := range list.References {
		if short, ok := strings.CutPrefix(name, branchPrefix); ok {
			adv.branches = append(adv.branches, printable(short, 60))
		}
	}
	slices.Sort(adv.branches)
	adv.branches = adv.branches[:min(len(adv.branches), maxNamedBranches)]
	return adv, nil
}

func advertisementError(err error) error {
	var strange *packp.ErrUnexpectedData
	switch {
	case !errors.As(err, &strange):
		return fmt.Errorf("read list of references: %w", err)
	case bytes.Contains(strange.Data, []byte("object-format=sha256")):
		return errors.New("repository uses object format sha256: only sha1 is supported by this version")
	}
	return fmt.Errorf("read list of references: %w", errProtocol)
}

// packRequest asks for want, given that we hold everything reachable from
// haves. No thin pack is asked for: the pack must stand on its own.
func packRequest(adv advertisement, want plumbing.Hash, haves []plumbing.Hash) ([]byte, error) {
	if !adv.capabilities.Supports(capability.Sideband64k) {
		return nil, fmt.Errorf("remote lacks the capability %s: %w", capability.Sideband64k, errProtocol)
	}
	req := packp.NewUploadPackRequest()
	req.Wants, req.Haves = []plumbing.Hash{want}, haves
	err := req.Capabilities.Set(capability.Agent, "orpheus")
	for _, c := range []capability.Capability{capability.Sideband64k, capability.NoProgress, capability.OFSDelta} {
		if adv.capabilities.Supports(c) {
			err = errors.Join(err, req.Capabilities.Set(c))
		}
	}
	var b bytes.Buffer
	err = errors.Join(err,
		req.UploadRequest.Encode(&b),
		req.UploadHaves.Encode(&b, false),
		pktline.NewEncoder(&b).EncodeString("done\n"))
	return b.Bytes(), err
}

// maxAcks bounds what comes before the pack, which go-git keeps: a line of 56
// bytes for each of maxHaves, several times over.
const maxAcks = 64 * kibi

// newPackStream returns the pack inside the reply to a packRequest. It ends
// with the reply: whether the pack is whole, its checksum says.
func newPackStream(r io.Reader) (io.Reader, error) {
	limited := &limitReader{r: r, left: maxAcks, err: fmt.Errorf("acknowledgements without end: %w", errProtocol)}
	reply := bufio.NewReader(limited)
	var acks packp.ServerResponse // what the remote builds on does not matter: the pack says
	if err := acks.Decode(reply, false); err != nil {
		return nil, fmt.Errorf("read reply: %w", err)
	}
	limited.left = math.MaxInt64 // the pack has a limit of its own
	return sideband.NewDemuxer(sideband.Sideband64k, reply), nil
}

// transferError gives an error of reading a reply its kind. Limits and
// cancellations keep theirs; everything else may be better next time.
func transferError(ctx context.Context, what string, err error) error {
	var limit *LimitError
	var known *remoteError
	var said *pktline.ErrorLine
	switch {
	case errors.As(err, &limit), errors.As(err, &known), errors.Is(err, ErrStorage):
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &said):
		err = fmt.Errorf("remote says %q", printable(said.Text, 200))
	}
	return &remoteError{kind: ErrUnreachable, text: what + ": " + printable(err.Error(), 300)}
}

// limitReader returns err, instead of the bytes beyond the limit.
type limitReader struct {
	r    io.Reader
	left int64
	err  error
}

func (l *limitReader) Read(b []byte) (int, error) {
	if l.left <= 0 {
		// One byte more decides between "exactly at the limit" and "over it".
		var probe [1]byte
		if n, err := l.r.Read(probe[:]); n == 0 {
			return 0, err
		}
		return 0, l.err
	}
	if int64(len(b)) > l.left {
		b = b[:l.left]
	}
	n, err := l.r.Read(b)
	l.left -= int64(n)
	return n, err
}

// lineLimiter returns err once more than left lines have ended.
type lineLimiter struct {
	r    io.Reader
	left int
	err  error
}

func (l *lineLimiter) Read(b []byte) (int, error) {
	n, err := l.r.Read(b)
	if l.left -= bytes.Count(b[:n], []byte("\n")); l.left < 0 {
		return 0, l.err
	}
	return n, err
}
