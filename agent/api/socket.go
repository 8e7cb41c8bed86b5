package api

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	goruntime "runtime"
	"syscall"
	"time"
)

// maxSocketPath is what fits into a socket address on every system we know.
const maxSocketPath = 103

// listenSocket opens a unix socket that only this user (and root) can reach. A
// socket that a dead agent left is replaced, a live one is not.
func listenSocket(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("socket path %s is %d bytes long, systems allow %d: choose a shorter one", path, len(path), maxSocketPath)
	}
	if err := privateFolder(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on the agent's socket: %w", err)
	}
	// The folder has kept others out until now.
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("close the agent's socket to others: %w", err)
	}
	return l, nil
}

// privateFolder makes the socket's folder, or refuses one that others may
// enter. Windows keeps users apart by the folder's inherited access list.
func privateFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the socket's folder: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("make the socket's folder: %w", err)
	}
	if mode := info.Mode().Perm(); goruntime.GOOS != "windows" && mode&0o077 != 0 {
		return fmt.Errorf("folder %s of the agent's socket is open to other users (mode %04o): give the socket a folder of its own, or chmod 700 it", dir, mode)
	}
	return nil
}

// removeStale makes way for a new socket.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for an earlier socket: %w", err)
	}
	// Windows does not tell sockets from other special files.
	if info.Mode().IsRegular() || info.IsDir() {
		return fmt.Errorf("%s is in the way of the agent's socket and is not a socket: move it, or choose another --socket", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		conn.Close()
		return fmt.Errorf("an agent already answers on %s: stop it, or give this one its own --socket", path)
	case goruntime.GOOS != "windows" && !errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("find out whether an agent still uses %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove the socket of an agent that has ended: %w", err)
	}
	return nil
}
