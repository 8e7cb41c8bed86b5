package resolver

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Main is what a program does that a Helper started: Run, with the log and the
// pipe that it was given. ctx is to end with SIGTERM.
func Main(ctx context.Context, dir string, parts ...Part) error {
	var fd unix.Stat_t
	if err := unix.Fstat(readyFD, &fd); err != nil || fd.Mode&unix.S_IFMT != unix.S_IFIFO {
		return errors.New("the name server is started by the agent, not by hand")
	}
	unix.CloseOnExec(readyFD)
	pipe := os.NewFile(readyFD, "ready")
	log := slog.New(slog.NewTextHandler(&boundedLog{path: filepath.Join(dir, LogFile), file: os.Stderr}, nil))
	return Run(ctx, dir, os.Getenv(versionVariable), log, func(_ Health, err error) {
		s := started{}
		if err != nil && !errors.Is(err, errServed) {
			s.Error = err.Error()
			log.Error("name server did not start", "err", err)
		}
		_ = json.NewEncoder(pipe).Encode(s) // an agent that died asks the socket instead
		pipe.Close()
	}, parts...)
}
