package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// unitManager is what runs the agent as a unit of the machine.
type unitManager interface {
	// Do runs a verb of systemctl.
	Do(ctx context.Context, verb ...string) error
	// Show reads a property of the agent's unit; of a unit that is not known
	// they are empty or have systemd's defaults.
	Show(ctx context.Context, property string) (string, error)
}

// systemctl is systemd, asked through its command.
type systemctl struct{}

var errNoSystemd = errors.New("this machine is not run by systemd")

// findSystemd reports whether systemd runs this machine, as sd_booted(3) does.
func findSystemd() (unitManager, error) {
	if _, err := os.Lstat("/run/systemd/system"); err != nil {
		return nil, errNoSystemd
	}
	if _, err := exec.LookPath("systemctl"); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoSystemd, err)
	}
	return systemctl{}, nil
}

func (systemctl) Do(ctx context.Context, verb ...string) error {
	_, err := runSystemctl(ctx, verb...)
	return err
}

func (systemctl) Show(ctx context.Context, property string) (string, error) {
	out, err := runSystemctl(ctx, "show", "--value", "--property="+property, unitName)
	if err != nil {
		return "", fmt.Errorf("ask systemd for %s of %s: %w", property, unitName, err)
	}
	return strings.TrimSpace(out), nil
}

func runSystemctl(ctx context.Context, args ...string) (string, error) {
	var text, faults strings.Builder
	cmd := exec.CommandContext(ctx, "systemctl", append([]string{"--no-pager", "--no-ask-password"}, args...)...)
	cmd.Stdout, cmd.Stderr = &text, &faults
	if err := cmd.Run(); err != nil {
		if words := strings.TrimSpace(faults.String()); words != "" {
			err = fmt.Errorf("%s (%w)", words, err)
		}
		return "", err
	}
	return text.String(), nil
}

// runs reports whether the unit's main process executes this very file: after
// an upgrade by hand it may run an older one, whose file is gone.
func runs(ctx context.Context, m unitManager, binary string) (bool, error) {
	state, err := m.Show(ctx, "ActiveState")
	if err != nil || state != "active" {
		return false, err
	}
	text, err := m.Show(ctx, "MainPID")
	if err != nil {
		return false, err
	}
	pid, err := strconv.Atoi(text)
	if err != nil || pid == 0 {
		return false, nil
	}
	is, err := os.Stat(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return false, nil // it has just ended
	}
	wanted, err := os.Stat(binary)
	return err == nil && os.SameFile(is, wanted), nil
}
