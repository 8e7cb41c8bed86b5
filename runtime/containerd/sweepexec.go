//go:build linux

package containerd

import (
	"context"
	"errors"
	"regexp"
	"syscall"
	"time"

	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/typeurl/v2"
)

// commandID is how Exec names a command's process; other people's have other
// names.
var commandID = regexp.MustCompile(`^[0-9]+-[A-Z2-7]{26}$`)

// killTime is how long a killed command may take to end.
const killTime = 5 * time.Second

// sweepCommands kills commands whose caller is gone: the shim holds their
// pipes, so that the end of an agent is none for them.
func (d *Driver) sweepCommands(ctx context.Context) error {
	records, err := d.records(ctx, allFilter)
	if err != nil {
		return err
	}
	var errs []error
	for _, rec := range records {
		if err := d.killCommands(ctx, rec.ID); err != nil && !isGone(err) {
			errs = append(errs, d.fail("look for commands in "+rec.ID, err))
		}
	}
	return errors.Join(errs...)
}

func (d *Driver) killCommands(ctx context.Context, container string) error {
	c, err := d.client.LoadContainer(ctx, container)
	if err != nil {
		return err
	}
	t, err := c.Task(ctx, nil)
	if err != nil {
		return err
	}
	processes, err := t.Pids(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, process := range processes {
		if process.Info == nil {
			continue
		}
		var details runcoptions.ProcessDetails
		if typeurl.UnmarshalTo(process.Info, &details) != nil || !commandID.MatchString(details.ExecID) || d.isOurs(details.ExecID) {
			continue
		}
		d.cfg.Log.Info("killing a command whose caller is gone", "container", container, "pid", process.Pid)
		if err := killCommand(ctx, t, details.ExecID); err != nil && !isGone(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// killCommand kills one. client.WithProcessKill kills no process that was
// loaded: it does not know its number.
func killCommand(ctx context.Context, t client.Task, command string) error {
	p, err := t.LoadProcess(ctx, command, nil)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, killTime)
	defer cancel()
	exited, err := p.Wait(ctx)
	if err != nil {
		return err
	}
	if err := p.Kill(ctx, syscall.SIGKILL); err != nil && !isGone(err) {
		return err
	}
	select {
	case <-exited:
	case <-ctx.Done():
		return ctx.Err()
	}
	_, err = p.Delete(ctx)
	return err
}

// begin notes a command of this driver's, until end is called.
func (d *Driver) begin(command string) (end func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.commands[command] = true
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.commands, command)
	}
}

func (d *Driver) isOurs(command string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.commands[command]
}
