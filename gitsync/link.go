package gitsync

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/go-git/go-git/v5/plumbing"
)

// link is a remote, and what it was found to speak. It is safe for concurrent
// use.
type link struct {
	remote
	limits Limits
	spoken atomic.Pointer[dialect] // nil: not known
}

// dialect is what the other side speaks: the version of the protocol, and what
// its upload-pack can do in it.
type dialect struct {
	v2       bool
	features []string
}

func (d *dialect) can(feature string) bool { return slices.Contains(d.features, feature) }

// offered lists those of the features that the other side can do, each after
// a space.
func (d *dialect) offered(features ...string) (list string) {
	for _, f := range features {
		if d.can(f) {
			list += " " + f
		}
	}
	return list
}

// visitor is told of a ref; its error ends the list. The commit of an annotated
// tag comes after the tag, as of the tag's name with "^{}" behind it.
type visitor func(name string, id plumbing.Hash) error

// unpeeled is a visitor that hears of no tag's commit.
func unpeeled(visit visitor) visitor {
	return func(name string, id plumbing.Hash) error {
		if strings.HasSuffix(name, peeled) {
			return nil
		}
		return visit(name, id)
	}
}

// listRefs tells visit the value of every ref that begins with one of the
// prefixes, by one request if the other side is known to speak version 2, else
// by up to two; from a side that does not, all refs come over the wire. visit
// may be told of further refs. Whatever goes wrong, the next call asks anew
// what is spoken.
func (l *link) listRefs(ctx context.Context, c Credentials, prefixes []string, visit visitor) error {
	return l.list(ctx, c, prefixes, false, unpeeled(visit))
}

// listPeeled is listRefs with the commits of annotated tags.
func (l *link) listPeeled(ctx context.Context, c Credentials, prefixes []string, visit visitor) error {
	return l.list(ctx, c, prefixes, true, visit)
}

func (l *link) list(ctx context.Context, c Credentials, prefixes []string, peel bool, visit visitor) error {
	d := l.spoken.Load()
	if d == nil || !d.v2 {
		var err error
		if d, err = l.meet(ctx, c, visit); err != nil || !d.v2 {
			return err
		}
	}
	err := l.lsRefs(ctx, c, prefixes, peel, visit)
	if err != nil {
		l.spoken.Store(nil)
	}
	return err
}

// meet asks what the other side speaks, and remembers it. Whoever speaks
// version 0 has told all refs then.
func (l *link) meet(ctx context.Context, c Credentials, visit visitor) (*dialect, error) {
	body, err := l.advertise(ctx, c, uploadPackV2)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	d, err := readGreeting(l.bounded(body), visit)
	if err != nil {
		return nil, transferError(ctx, "look", err)
	}
	drain(body)
	l.spoken.Store(d)
	return d, nil
}

// dialect is what the other side speaks.
func (l *link) dialect(ctx context.Context, c Credentials) (*dialect, error) {
	if d := l.spoken.Load(); d != nil {
		return d, nil
	}
	return l.meet(ctx, c, func(string, plumbing.Hash) error { return nil })
}

// bounded limits a list of references.
func (l *link) bounded(r io.Reader) io.Reader {
	return &limitReader{r: r, left: l.limits.Advertisement, err: &LimitError{
		Limit: "Advertisement", What: "list of references", Max: l.limits.Advertisement, Bytes: true}}
}

// drain reads what may stand behind the end of a reply, so that its connection
// can be used again. An error shows with the next request.
func drain(r io.Reader) { _, _ = io.CopyN(io.Discard, r, 4*kibi) }

// readGreeting reads an advertisement of any version.
func readGreeting(r io.Reader, visit visitor) (*dialect, error) {
	p := newPackets(r)
	line, kind, err := p.next()
	if err == nil && kind == packetData && bytes.HasPrefix(line, []byte("# service=")) {
		// What HTTP puts before it: this line, and a flush.
		if _, _, err = p.next(); err == nil {
			line, kind, err = p.next()
		}
	}
	if err == nil && string(line) == "version 2" {
		return readCapabilities(p)
	}
	d := &dialect{}
	for first := true; ; first = false {
		if err != nil {
			return nil, fmt.Errorf("read list of references: %w", err)
		}
		if kind != packetData {
			return d, nil
		}
		refs, features, _ := strings.Cut(string(line), "\x00")
		if first {
			d.features = strings.Fields(features)
		}
		if err := checkFormat(d.features); err != nil {
			return nil, err
		}
		if err := readRef(refs, visit); err != nil {
			return nil, err
		}
		line, kind, err = p.next()
	}
}

// readCapabilities reads the rest of an advertisement of version 2.
func readCapabilities(p *packets) (*dialect, error) {
	d := &dialect{v2: true}
	listed := false
	for {
		line, kind, err := p.next()
		switch {
		case err != nil:
			return nil, fmt.Errorf("read capabilities: %w", err)
		case kind != packetData:
			if !listed {
				return nil, fmt.Errorf("remote offers no ls-refs: %w", errProtocol)
			}
			return d, nil
		}
		name, value, _ := strings.Cut(string(line), "=")
		switch name {
		case "ls-refs":
			listed = true
		case "fetch":
			d.features = strings.Fields(value)
		case "object-format":
			if err := checkFormat([]string{string(line)}); err != nil {
				return nil, err
			}
		}
	}
}

func checkFormat(features []string) error {
	if slices.Contains(features, "object-format=sha256") {
		return errors.New("repository uses object format sha256: only sha1 is supported by this version")
	}
	return nil
}

// readRef reads "id name". Lines that are no ref's are passed over: where the
// history is cut off, the version, the name that stands for no refs at all.
func readRef(line string, visit visitor) error {
	id, name, ok := strings.Cut(line, " ")
	switch {
	case !ok:
		return fmt.Errorf("read list of references: %w", errProtocol)
	case id == "shallow", id == "version", name == "capabilities"+peeled:
		return nil
	case len(id) != 40 || !plumbing.IsHash(id):
		return fmt.Errorf("read list of references: %w", errProtocol)
	}
	return visit(name, plumbing.NewHash(id))
}

// lsRefs asks in version 2 for the refs below prefixes.
func (l *link) lsRefs(ctx context.Context, c Credentials, prefixes []string, peel bool, visit visitor) error {
	var request bytes.Buffer
	writePacket(&request, "command=ls-refs")
	request.WriteString(delimPacket)
	if peel {
		writePacket(&request, "peel")
	}
	for _, prefix := range prefixes {
		writePacket(&request, "ref-prefix %s", prefix)
	}
	request.WriteString(flushPacket)
	body, err := l.exchange(ctx, c, uploadPackV2, request.Bytes())
	if err != nil {
		return err
	}
	defer body.Close()
	p := newPackets(l.bounded(body))
	for {
		line, kind, err := p.next()
		if err == nil && kind != packetData {
			drain(body)
			return nil
		}
		if err == nil {
			err = readAttributedRef(string(line), visit)
		}
		if err != nil {
			return transferError(ctx, "look", err)
		}
	}
}

// readAttributedRef reads "id name attribute…" of version 2. Attributes that
// were not asked for are passed over.
func readAttributedRef(line string, visit visitor) error {
	id, rest, _ := strings.Cut(line, " ")
	name, attributes, _ := strings.Cut(rest, " ")
	if err := readRef(id+" "+name, visit); err != nil {
		return err
	}
	for attribute := range strings.FieldsSeq(attributes) {
		if commit, ok := strings.CutPrefix(attribute, "peeled:"); ok {
			return readRef(commit+" "+name+peeled, visit)
		}
	}
	return nil
}
