//go:build linux

package plugin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	goplugin "github.com/hashicorp/go-plugin"
	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime/oom"
)

const (
	// startPatience is how long a plugin may take to introduce itself.
	startPatience = 30 * time.Second
	// maxSocketPath is what the kernel takes, without the final zero.
	maxSocketPath = 107
)

// launch starts the plugin and connects to it. It leaves nothing running when
// it fails.
func (d *Driver) launch(ctx context.Context) (*session, error) {
	path, err := d.executable()
	if err != nil {
		return nil, err
	}
	removeSockets(d.config.RunDir)
	p, err := d.execute(path)
	if err != nil {
		return nil, err
	}
	defer p.release()
	r := record{Version: recordVersion, Process: p.identity, SHA256: d.config.SHA256, Setup: d.setup}
	s, err := func() (*session, error) {
		if err := r.write(d.config.StateDir); err != nil {
			return nil, err
		}
		if r.Protocol, r.Socket, err = p.introduce(ctx); err != nil {
			return nil, err
		}
		if filepath.Dir(r.Socket) != d.config.RunDir {
			return nil, errors.New("it listens elsewhere than it was told: it must call plugin.Serve")
		}
		if err := r.write(d.config.StateDir); err != nil {
			return nil, err
		}
		return connect(ctx, r)
	}()
	if err != nil {
		return nil, errors.Join(err, end(context.WithoutCancel(ctx), r))
	}
	return s, nil
}

// newborn is a plugin that was just executed and waits for the word to go.
type newborn struct {
	identity
	gate   *os.File // its stdin
	stdout *os.File
}

// execute starts the process: in a session of its own, with nothing of the
// agent's but what the configuration gives it.
func (d *Driver) execute(path string) (*newborn, error) {
	stderr, err := openStderr(d.config.StateDir)
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	theirIn, gate, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirIn.Close()
	stdout, theirOut, err := os.Pipe()
	if err != nil {
		gate.Close()
		return nil, err
	}
	defer theirOut.Close()
	p := &newborn{gate: gate, stdout: stdout}
	command := func() *exec.Cmd {
		return &exec.Cmd{
			Path: path, Args: append([]string{d.config.Path}, d.config.Args...), Dir: "/", Env: d.environment(),
			Stdin: theirIn, Stdout: theirOut, Stderr: stderr, SysProcAttr: &syscall.SysProcAttr{Setsid: true},
		}
	}
	cmd := command()
	// A fork elsewhere in this program may hold the copy open for writing for
	// a moment (golang/go#22315).
	for range 50 {
		if err = cmd.Start(); !errors.Is(err, unix.ETXTBSY) {
			break
		}
		time.Sleep(10 * time.Millisecond)
		cmd = command()
	}
	if err != nil {
		p.release()
		return nil, fmt.Errorf("execute the plugin: %w", err)
	}
	p.identity, err = identify(cmd.Process.Pid)
	if err != nil {
		p.release()
		cmd.Process.Kill()
		cmd.Wait()
		return nil, fmt.Errorf("execute the plugin: it ended at once: %w", err)
	}
	oom.Expose(p.PID)
	go cmd.Wait() // collects it, whenever it ends
	return p, nil
}

func (d *Driver) environment() []string {
	env := append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, d.config.Env...)
	return append(env,
		handshake.MagicCookieKey+"="+handshake.MagicCookieValue,
		"PLUGIN_PROTOCOL_VERSIONS="+strconv.Itoa(ProtocolVersion),
		goplugin.EnvUnixSocketDir+"="+d.config.RunDir,
	)
}

// introduce gives the word to go and reads where the plugin listens, in
// go-plugin's words: CORE|PROTOCOL|NETWORK|ADDRESS|TYPE|…
func (p *newborn) introduce(ctx context.Context) (protocol int, socket string, err error) {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if _, err := p.gate.Write([]byte{1}); err != nil {
		return 0, "", fmt.Errorf("it ended at once: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { p.stdout.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	line, err := bufio.NewReader(io.LimitReader(p.stdout, 4<<10)).ReadString('\n')
	parts := strings.Split(strings.TrimSpace(line), "|")
	switch {
	case ctx.Err() != nil:
		return 0, "", fmt.Errorf("it did not introduce itself within %s: %w", startPatience, ctx.Err())
	case err != nil:
		return 0, "", errors.New("it ended without introducing itself: see " + stderrFile)
	case len(parts) < 5 || parts[2] != "unix" || parts[4] != string(goplugin.ProtocolGRPC):
		return 0, "", errors.New("it is no driver plugin: its main must print nothing before plugin.Serve")
	case parts[0] != strconv.Itoa(goplugin.CoreProtocolVersion):
		return 0, "", errors.New("it was built with another generation of go-plugin: build it with the runtime/plugin of this agent")
	case parts[1] != strconv.Itoa(ProtocolVersion):
		return 0, "", fmt.Errorf("it speaks version %q of the driver protocol, this agent version %d: build it with the runtime/plugin of this agent",
			cut(parts[1], 20), ProtocolVersion)
	}
	return ProtocolVersion, parts[3], nil
}

// release closes what the start needed. The plugin must have been called
// before: until then its stdout is a pipe to here.
func (p *newborn) release() {
	p.gate.Close()
	p.stdout.Close()
}

// removeSockets takes away what earlier plugins left in their folder.
func removeSockets(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "plugin") {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}
