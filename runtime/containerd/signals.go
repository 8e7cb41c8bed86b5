//go:build linux

package containerd

import (
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/runtime"
)

// stopSignalOf is the manifest's stop signal, else the image's; "" = SIGTERM.
func stopSignalOf(c runtime.Container, img image) string {
	if c.StopSignal != "" {
		return c.StopSignal
	}
	return img.config.StopSignal
}

// parseSignal reads "SIGINT", "INT" or "2". What is no signal stops like
// SIGTERM: it comes from an image or a label, and stopping must work.
func parseSignal(name string) syscall.Signal {
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n <= 64 {
		return syscall.Signal(n)
	}
	upper := strings.ToUpper(name)
	if s := unix.SignalNum(upper); s != 0 {
		return s
	}
	if s := unix.SignalNum("SIG" + upper); s != 0 {
		return s
	}
	return syscall.SIGTERM
}
