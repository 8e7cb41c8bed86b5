package main

import (
	"os/exec"
	"syscall"
)

// detach keeps a program from the keys of this one's console.
func detach(cmd *exec.Cmd) {
	const newProcessGroup = 0x200
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: newProcessGroup}
}
