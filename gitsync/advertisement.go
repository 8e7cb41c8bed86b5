package gitsync

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// advertisement is what one list of references says about the branch.
type advertisement struct {
	tip          plumbing.Hash // zero: no such branch
	refs         int
	branches     []string // the first few, for the error that names them
	capabilities map[string]string
}

const maxNamedBranches = 5

// readAdvertisement reads the reply to info/refs line by line and keeps only
// what concerns the branch, so that a long list costs time, not memory.
func readAdvertisement(r io.Reader, branch string, limits Limits) (advertisement, error) {
	limited := &limitReader{r: r, left: limits.Advertisement, err: &LimitError{
		Limit: "Advertisement", What: "list of references", Max: limits.Advertisement, Bytes: true}}
	p := newPacketReader(limited)
	adv := advertisement{capabilities: map[string]string{}}
	for first := true; ; {
		line, err := p.next()
		if errors.Is(err, io.EOF) && !first {
			return adv, nil
		} else if err != nil {
			return adv, fmt.Errorf("read list of references: %w", noEOF(err))
		}
		switch {
		case line == nil && first: // after "# service=", or an empty repository
			if _, err := p.r.Peek(1); err == io.EOF {
				return adv, nil
			}
			continue
		case line == nil:
			return adv, nil
		case bytes.HasPrefix(line, []byte("# service=")), bytes.HasPrefix(line, []byte("version ")),
			bytes.HasPrefix(line, []byte("shallow ")):
			continue
		case bytes.HasPrefix(line, []byte("ERR ")):
			return adv, fmt.Errorf("remote says %q", serverText(line))
		}
		if err := adv.add(line, first, branch); err != nil {
			return adv, err
		}
		first = false
		if adv.refs > limits.Refs {
			return adv, &LimitError{Limit: "Refs", What: "references of the repository", Max: int64(limits.Refs)}
		}
	}
}

// add reads "<id> <name>", on the first line followed by the capabilities.
func (a *advertisement) add(line []byte, first bool, branch string) error {
	text := strings.TrimSuffix(string(line), "\n")
	if first {
		var caps string
		text, caps, _ = strings.Cut(text, "\x00")
		for _, c := range strings.Fields(caps) {
			key, value, _ := strings.Cut(c, "=")
			a.capabilities[key] = value
		}
		if f := a.capabilities["object-format"]; f != "" && f != "sha1" {
			return fmt.Errorf("repository uses object format %q: only sha1 is supported by this version", printable(f, 20))
		}
	}
	id, name, ok := strings.Cut(text, " ")
	if !ok || !plumbing.IsHash(id) || len(id) != 40 {
		return fmt.Errorf("read list of references: %w", errProtocol)
	}
	if name == "capabilities^{}" {
		return nil
	}
	a.refs++
	short, isBranch := strings.CutPrefix(name, "refs/heads/")
	if isBranch && len(a.branches) < maxNamedBranches {
		a.branches = append(a.branches, printable(short, 60))
	}
	if isBranch && short == branch {
		a.tip = plumbing.NewHash(id)
	}
	return nil
}

// noEOF turns the end of input where more was due into an error of its own.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
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
