package gitsync

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"golang.org/x/crypto/ssh"
)

// sshRemote speaks to the Git services of an SSH server: every request is a
// fresh process there, in a channel of the one connection. A service shows
// its references, or abilities, before it reads; the request is on its way by
// then, so a request costs two round trips and no more state than over HTTP.
type sshRemote struct {
	url  remoteURL
	conn *sshConn
	idle time.Duration
	// most bounds the references that come before a reply.
	most int64
}

var _ remote = (*sshRemote)(nil)

func newSSHRemote(s settings) *sshRemote {
	return &sshRemote{url: s.remote, conn: newSSHConn(s), idle: s.Limits.Idle, most: s.Limits.Advertisement}
}

func (r *sshRemote) close() { r.conn.close() }

func (r *sshRemote) advertise(ctx context.Context, _ Credentials, s service) (io.ReadCloser, error) {
	return r.run(ctx, s, pktline.FlushPkt) // it shows, reads that nothing is wanted, and ends
}

func (r *sshRemote) exchange(ctx context.Context, _ Credentials, s service, request []byte) (io.ReadCloser, error) {
	body, err := r.run(ctx, s, request)
	if err != nil {
		return nil, notDone(err) // nothing was sent
	}
	reply, version, err := r.skipAdvertisement(body)
	switch {
	case err != nil:
		body.Close()
		return nil, transferError(ctx, "ask "+s.name(), err)
	case s == uploadPackV2 && version != "version 2":
		body.Close()
		return nil, errNotV2
	}
	return &bufferedBody{Reader: reply, body: body}, nil
}

// run starts a service of the server and sends it a request. What it answers
// ends with the context, or when it brings nothing for too long. An error
// means that nothing was sent.
func (r *sshRemote) run(ctx context.Context, s service, request []byte) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	session, err := r.conn.session(ctx)
	if err != nil {
		cancel(err)
		return nil, err
	}
	p := &sshProcess{session: session, service: s, url: r.url, stderr: &headBuffer{}}
	p.stop = context.AfterFunc(ctx, session.abandon)
	if err := p.start(request); err != nil {
		defer cancel(err)
		defer p.Close()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, &remoteError{kind: ErrUnreachable, text: fmt.Sprintf("run %s on %s: %s", s.name(), r.url.host, printable(err.Error(), 200))}
	}
	return newIdleReader(ctx, p, r.idle, cancel), nil
}

// skipAdvertisement reads up to the first flush, and returns the first packet
// and a reader of what follows.
func (r *sshRemote) skipAdvertisement(body io.Reader) (reply io.Reader, first string, err error) {
	limited := &limitReader{r: body, left: r.most, err: &LimitError{
		Limit: "Advertisement", What: "list of references", Max: r.most, Bytes: true}}
	p := newPackets(limited)
	for n := 0; ; n++ {
		line, kind, err := p.next()
		var said *pktline.ErrorLine
		switch {
		case errors.As(err, &said):
			return nil, "", sshSays(r.url, said.Text)
		case err != nil:
			return nil, "", fmt.Errorf("read list of references: %w", err)
		case kind == packetFlush:
			limited.left = math.MaxInt64 // what follows has limits of its own
			return p.r, first, nil
		case n == 0:
			first = string(line)
		}
	}
}

// sshProcess is a service running at the server, read as its answer.
type sshProcess struct {
	session *sshSession
	service service
	url     remoteURL
	out     io.Reader
	stderr  *headBuffer
	stop    func() bool // ends the watch over the context
	any     bool        // it has answered something
	waited  bool
}

// start asks the server to run the service. After an error nothing was sent.
func (p *sshProcess) start(request []byte) error {
	p.session.Stderr = p.stderr
	in, err := p.session.StdinPipe()
	if err != nil {
		return err
	}
	if p.out, err = p.session.StdoutPipe(); err != nil {
		return err
	}
	if p.service == uploadPackV2 {
		// No answer is asked for: the first packet tells whether the server
		// passed it on. sshd does so if AcceptEnv names it.
		variable := struct{ Name, Value string }{"GIT_PROTOCOL", protocol2}
		if _, err := p.session.SendRequest("env", false, ssh.Marshal(&variable)); err != nil {
			return err
		}
	}
	if err := p.session.Start(p.url.sshCommand(p.service)); err != nil {
		return err
	}
	// Beside the reading, for neither side need take all before it answers. A
	// service that reads no more has said why.
	go func() {
		_, _ = in.Write(request)
		_ = in.Close()
	}()
	return nil
}

// Read returns the service's failure where its output ends.
func (p *sshProcess) Read(b []byte) (int, error) {
	n, err := p.out.Read(b)
	p.any = p.any || n > 0
	if err == nil || p.waited {
		return n, err
	}
	p.waited = true
	exit := p.session.Wait()
	if exit == nil || n > 0 {
		return n, err
	}
	said := p.stderr.String()
	var status *ssh.ExitError
	if !errors.As(exit, &status) && said == "" {
		return 0, &remoteError{kind: ErrUnreachable, text: "the connection to " + p.url.host + " broke"}
	}
	if said == "" {
		said = exit.Error()
	}
	err = sshSays(p.url, said)
	if status != nil && !p.any {
		// A service speaks before it reads: one that ended without a word has
		// not read the request.
		err = notDone(err)
	}
	return 0, err
}

// Close ends the service if it still runs.
func (p *sshProcess) Close() error {
	p.stop()
	p.session.end()
	return nil
}

// sshSays gives what a server said instead of an answer its kind. Hosts word
// it each in their own way; what no row knows may be better next time.
func sshSays(u remoteURL, said string) error {
	kind, lower := ErrUnreachable, strings.ToLower(said)
	for _, row := range []struct {
		words string
		kind  error
	}{
		{"does not appear to be a git repository", ErrRepositoryNotFound},
		{"not a git repository", ErrRepositoryNotFound},
		{"repository not found", ErrRepositoryNotFound},
		{"cannot find repository", ErrRepositoryNotFound},
		{"could not be found", ErrRepositoryNotFound},
		{"read only", ErrUnauthorized},
		{"read-only", ErrUnauthorized},
		{"denied", ErrUnauthorized},
		{"unauthorized", ErrUnauthorized},
		{"not allowed", ErrUnauthorized},
	} {
		if strings.Contains(lower, row.words) {
			kind = row.kind
			break
		}
	}
	return &remoteError{kind: kind, text: fmt.Sprintf("%s says %q", u, printable(said, 200))}
}

// bufferedBody reads through a buffer that was begun on the body.
type bufferedBody struct {
	io.Reader
	body io.Closer
}

func (b *bufferedBody) Close() error { return b.body.Close() }
