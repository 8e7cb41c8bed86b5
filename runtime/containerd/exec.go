//go:build linux

package containerd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"

	"github.com/orpheus-cd/orpheus/runtime"
)

// ownPrefix begins the names of the pipes and mounts of this process.
func ownPrefix() string { return fmt.Sprintf("%d-", os.Getpid()) }

// Exec runs a command in a container of the instance ("" = its first) with the
// container's user, environment and folder, and returns its exit code. When
// the context ends the command is killed.
func (d *Driver) Exec(ctx context.Context, id, name string, argv []string, streams runtime.Streams) (int, error) {
	what := fmt.Sprintf("run a command in %s", id)
	if len(argv) == 0 {
		return 0, fmt.Errorf("%s: no command: %w", what, runtime.ErrInvalid)
	}
	ctx, cancel := context.WithCancel(d.context(ctx)) // ends what serves the streams
	defer cancel()
	p, err := d.newExec(ctx, id, name, argv, streams)
	if err != nil {
		return 0, d.fail(what, err)
	}
	defer func() {
		undo, cancel := d.rollback(ctx)
		defer cancel()
		_, _ = p.Delete(undo, client.WithProcessKill) // it has ended, or shall
	}()
	exited, err := p.Wait(context.WithoutCancel(ctx))
	if err != nil {
		return 0, d.fail(what, err)
	}
	if err := p.Start(ctx); err != nil {
		return 0, d.fail(what, commandError(err))
	}
	p.input.endOf(ctx, p)
	defer followSize(ctx, p, streams.Terminal)()
	select {
	case status := <-exited:
		drain(ctx, p.IO())
		code, _, err := status.Result()
		return int(code), d.fail(what, err)
	case <-ctx.Done():
		undo, cancel := d.rollback(ctx)
		defer cancel()
		_ = p.Kill(undo, syscall.SIGKILL)
		return 0, fmt.Errorf("%s: %w", what, ctx.Err())
	}
}

// commandError tells what lies with the command from what does not: runc says
// it in words only.
func commandError(err error) error {
	text := err.Error()
	for _, said := range []struct {
		words string
		code  int
	}{
		{"executable file not found", runtime.CodeNoProgram},
		{"no such file or directory", runtime.CodeNoProgram},
		{"not a directory", runtime.CodeNoProgram},
		{"permission denied", runtime.CodeNotExecutable},
		{"exec format error", runtime.CodeNotExecutable},
		{"is a directory", runtime.CodeNotExecutable},
	} {
		if strings.Contains(text, "exec") && strings.Contains(text, said.words) {
			return &runtime.CommandError{Code: said.code, Err: errors.New(ociWords.ReplaceAllString(text, ""))}
		}
	}
	return err
}

// ociWords is what stands before and behind what a person wants to read.
var ociWords = regexp.MustCompile(`^.*unable to start container process: |: unknown$`)

// outputTime is how long the rest of a command's output is waited for once it
// has ended.
const outputTime = time.Second

// drain waits for the rest of the output. What the command left behind in the
// container may hold its pipes open for ever: then they are given up.
func drain(ctx context.Context, streams cio.IO) {
	done := make(chan struct{})
	go func() { streams.Wait(); close(done) }()
	timer := time.NewTimer(outputTime)
	defer timer.Stop()
	select {
	case <-done:
		return
	case <-timer.C:
	case <-ctx.Done():
	}
	streams.Cancel()
	<-done
}

// newExec creates the command's process.
func (d *Driver) newExec(ctx context.Context, id, name string, argv []string, streams runtime.Streams) (*execProcess, error) {
	records, err := d.records(ctx, instanceFilter(id))
	if err != nil {
		return nil, err
	}
	slices.SortFunc(records, func(a, b record) int { return a.Index - b.Index })
	at := slices.IndexFunc(records, func(r record) bool { return !r.Init && (name == "" || r.Container == name) })
	if at < 0 {
		return nil, fmt.Errorf("container %q: %w", name, runtime.ErrNotFound)
	}
	c, err := d.client.LoadContainer(ctx, records[at].ID)
	if err != nil {
		return nil, err
	}
	spec, err := c.Spec(ctx)
	if err != nil {
		return nil, err
	}
	process := *spec.Process
	process.Args, process.Terminal = argv, streams.Terminal != nil
	if streams.Terminal != nil {
		addTerminal(&process, streams.Terminal.Size)
	}
	t, err := c.Task(ctx, nil)
	if err != nil {
		return nil, err
	}
	execID := ownPrefix() + rand.Text()
	dir := filepath.Join(d.cfg.execDir(), execID)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make pipes: %w", err)
	}
	in, end := &input{Reader: streams.In}, d.begin(execID)
	p, err := t.Exec(ctx, execID, &process, cio.NewCreator(in.options(streams, dir)...))
	if err != nil {
		end()
		_ = os.RemoveAll(dir)
		return nil, err
	}
	return &execProcess{p, in, dir, end}, nil
}

// execProcess takes the folder of its pipes away with it.
type execProcess struct {
	client.Process
	input *input
	dir   string
	end   func() // it is nobody's any more
}

func (p *execProcess) Delete(ctx context.Context, opts ...client.ProcessDeleteOpts) (*client.ExitStatus, error) {
	defer p.end()
	defer os.RemoveAll(p.dir)
	return p.Process.Delete(ctx, opts...)
}
