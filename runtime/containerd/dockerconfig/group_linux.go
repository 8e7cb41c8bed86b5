package dockerconfig

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// inGroup lets a program that is told to end take along what it has started.
func inGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
}

// exposeToOOM takes from a program what spares the agent when memory runs out.
// Where it cannot, it stays as spared as the agent is.
func exposeToOOM(pid int) {
	path := fmt.Sprintf("/proc/%d/oom_score_adj", pid)
	if text, err := os.ReadFile(path); err == nil && strings.HasPrefix(string(text), "-") {
		_ = os.WriteFile(path, []byte("0"), 0)
	}
}
