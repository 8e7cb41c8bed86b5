package gitsync

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// localRemote reads and writes a repository on this machine through git's own
// services, one short-lived process per request. The path comes from the
// agent's configuration, so its owner is trusted whoever it is
// (safe.directory); what its own configuration may run is not: git takes hooks
// of upload-pack only from protected configuration, and there is none; those
// of receive-pack are turned off.
type localRemote struct {
	path string
	idle time.Duration
}

var _ remote = (*localRemote)(nil)

func (r *localRemote) close() {}

func (r *localRemote) advertise(ctx context.Context, _ Credentials, s service) (io.ReadCloser, error) {
	return r.run(ctx, s, nil, "--advertise-refs")
}

func (r *localRemote) exchange(ctx context.Context, _ Credentials, s service, request []byte) (io.ReadCloser, error) {
	reply, err := r.run(ctx, s, request)
	if err != nil {
		return nil, notDone(err) // nothing ran
	}
	return reply, nil
}

func (r *localRemote) run(ctx context.Context, s service, stdin []byte, flags ...string) (io.ReadCloser, error) {
	git, err := exec.LookPath("git")
	if err != nil {
		return nil, &remoteError{kind: ErrUnreachable, text: "follow " + r.path + ": the git program is not on this node's PATH, a local repository needs it"}
	}
	if _, err := os.Stat(r.path); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, &remoteError{kind: ErrRepositoryNotFound, text: r.path + " does not exist"}
		}
		return nil, &remoteError{kind: ErrUnreachable, text: "look at " + r.path + ": " + err.Error()}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	args := append([]string{strings.TrimPrefix(s.name(), "git-"), "--stateless-rpc"}, flags...)
	cmd := exec.CommandContext(ctx, git, append(args, "--", r.path)...)
	cmd.Dir = string(filepath.Separator)
	cmd.Env = r.environment(s)
	cmd.Stdin = bytes.NewReader(stdin)
	cmd.WaitDelay = 5 * time.Second
	p := &process{cmd: cmd, service: s, path: r.path, stderr: &headBuffer{}}
	cmd.Stderr = p.stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel(err)
		return nil, &remoteError{kind: ErrUnreachable, text: fmt.Sprintf("run %s for %s: %v", s.name(), r.path, err)}
	}
	p.out = out
	return newIdleReader(ctx, p, r.idle, cancel), nil
}

// environment holds nothing of the agent's but PATH. A push runs none of the
// commands the repository may name: they would run with the agent's rights.
// Housekeeping, which may name some as well and would outlive the push, is
// left to whoever else pushes there.
func (r *localRemote) environment(s service) []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"),
		"LC_ALL=C",
		"HOME=" + os.DevNull,
		"GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_GLOBAL=" + os.DevNull,
		"GIT_TERMINAL_PROMPT=0",
		"GIT_NO_LAZY_FETCH=1",
	}
	if s == uploadPackV2 {
		env = append(env, "GIT_PROTOCOL="+protocol2)
	}
	settings := [][2]string{
		{"safe.directory", r.path},
		{"safe.directory", filepath.Join(r.path, ".git")},
		{"core.hooksPath", os.DevNull},
		{"core.alternateRefsCommand", ""},
		{"receive.autogc", "false"},
	}
	for i, kv := range settings {
		env = append(env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, kv[0]), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, kv[1]))
	}
	return append(env, fmt.Sprintf("GIT_CONFIG_COUNT=%d", len(settings)))
}

// process is a running service of git, read as the reply of a server.
type process struct {
	cmd     *exec.Cmd
	service service
	path    string
	out     io.ReadCloser
	stderr  *headBuffer
	waited  bool
}

// Read returns the exit status as an error where the output ends.
func (p *process) Read(b []byte) (int, error) {
	n, err := p.out.Read(b)
	if err == nil || p.waited {
		return n, err
	}
	p.waited = true
	if exit := p.cmd.Wait(); exit != nil && n == 0 {
		return 0, p.exitError(exit)
	}
	return n, err
}

func (p *process) exitError(exit error) error {
	said := p.stderr.String()
	if strings.Contains(said, "does not appear to be a git repository") || strings.Contains(said, "not a git repository") {
		return &remoteError{kind: ErrRepositoryNotFound, text: p.path + " is not a Git repository"}
	}
	return &remoteError{kind: ErrUnreachable, text: fmt.Sprintf("%s for %s: %v: %s", p.service.name(), p.path, exit, printable(said, 200))}
}

// Close kills the process if it still runs, and waits for it.
func (p *process) Close() error {
	p.out.Close()
	if !p.waited {
		p.waited = true
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait() // its status is of no interest: we ended it
	}
	return nil
}

// headBuffer keeps the first 4 KiB written to it.
type headBuffer struct{ buf bytes.Buffer }

func (t *headBuffer) Write(b []byte) (int, error) {
	if room := 4*kibi - t.buf.Len(); room > 0 {
		t.buf.Write(b[:min(room, len(b))])
	}
	return len(b), nil
}

func (t *headBuffer) String() string { return t.buf.String() }

// line is what was written as one line for people.
func (t *headBuffer) line() string {
	return printable(strings.Join(strings.Fields(t.buf.String()), " "), 300)
}
