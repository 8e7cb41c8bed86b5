//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// detach keeps a program from the terminal: its keys are for this one, and nothing
// else asks there.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }
