package main

import (
	"os"
	"path/filepath"
	goruntime "runtime"
)

// socketName is the agent's unix socket in its run folder.
const socketName = "orpheus.sock"

// defaultStateDir is where an agent keeps what must survive a reboot:
// /var/lib/orpheus for root, else a folder of the user's.
func defaultStateDir() string {
	if os.Geteuid() == 0 {
		return "/var/lib/orpheus"
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "orpheus")
	}
	if dir := os.Getenv("LocalAppData"); goruntime.GOOS == "windows" && dir != "" {
		return filepath.Join(dir, "orpheus")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = os.TempDir() // a place that exists; the agent refuses to share it
	}
	return filepath.Join(home, ".local", "state", "orpheus")
}

// defaultRunDir is where an agent keeps what a reboot clears: its socket.
func defaultRunDir() string {
	if os.Geteuid() == 0 {
		return "/run/orpheus"
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "orpheus")
	}
	return filepath.Join(defaultStateDir(), "run")
}

// defaultSocket is where the command line looks for the agent.
func defaultSocket() string {
	if socket := os.Getenv("ORPHEUS_SOCKET"); socket != "" {
		return socket
	}
	return filepath.Join(defaultRunDir(), socketName)
}
