//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// The files of an instance, in a folder with its id. The control socket is
// open for as long as its shim lives: whoever can connect knows that it does,
// and sees its end as the end of the connection. No process id is remembered
// to be signalled: it may belong to another process by then.
const (
	recordFile    = "instance.json" // written before the shim is started
	runningFile   = "running.json"  // written by the shim once the program runs
	exitFile      = "exit.json"     // written by the shim once nothing runs any more
	controlSocket = "control"       // one byte is a signal's number
	rootFolder    = "root"          // where the shim makes the sandbox's file system

	hintFile = ".hint" // in the folder above
)

// record is what the listing tells of an instance, and how it is stopped.
type record struct {
	planner.Instance
	Container  string
	StopSignal int
}

// running is what is known once the program runs.
type running struct {
	PID       int // on the host: for people, and for the listing
	StartedAt time.Time
}

// instance is what a folder says.
type instance struct {
	record
	Running *running
	Exit    *planner.Exit
	alive   bool // its shim, and with it perhaps others
}

// load reads an instance: ErrNotFound where there is none.
func (d *driver) load(id string) (instance, error) {
	if !validID(id) {
		return instance{}, fmt.Errorf("sandbox %q: %w", id, runtime.ErrNotFound)
	}
	var i instance
	err := readJSON(filepath.Join(d.folder(id), recordFile), &i.record)
	if errors.Is(err, fs.ErrNotExist) {
		return instance{}, fmt.Errorf("sandbox %s: %w", id, runtime.ErrNotFound)
	}
	if err != nil {
		return instance{}, err
	}
	// The shim first: one that ends in between has written its files.
	if conn, err := d.connect(context.Background(), id); err == nil {
		conn.Close()
		i.alive = true
	}
	for name, into := range map[string]any{runningFile: &i.Running, exitFile: &i.Exit} {
		if err := readJSON(filepath.Join(d.folder(id), name), into); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return instance{}, err
		}
	}
	i.alive = i.alive && i.Exit == nil // after its last words it only goes away
	return i, nil
}

// listed is the instance as the contract knows it.
func (i instance) listed() planner.Instance {
	out := i.Instance
	out.State = planner.StatePartial
	c := planner.ContainerState{Name: i.Container}
	if i.Running != nil {
		out.StartedAt = i.Running.StartedAt
		if i.alive {
			out.State, c.PID = planner.StateRunning, i.Running.PID
		} else {
			e := planner.Exit{Container: i.Container, Code: 255, Unknown: true} // the shim was killed, or the machine
			if i.Exit != nil {
				e = *i.Exit
			}
			out.State, out.Exit, c.Exit = planner.StateExited, &e, &e
		}
	}
	c.State = out.State
	out.Containers = []planner.ContainerState{c}
	return out
}

// ids lists the folders, sorted.
func (d *driver) ids() ([]string, error) {
	entries, err := os.ReadDir(d.dir)
	var ids []string
	for _, e := range entries {
		if e.IsDir() && validID(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	return ids, err
}

func (d *driver) folder(id string) string { return filepath.Join(d.dir, id) }

// connect connects to the shim of an instance; it fails when there is none.
func (d *driver) connect(ctx context.Context, id string) (net.Conn, error) {
	var dialer net.Dialer
	return dialer.DialContext(ctx, "unix", filepath.Join(d.folder(id), controlSocket))
}

// errStillRuns: the time is up.
var errStillRuns = errors.New("it still runs")

// awaitEnd sends a signal to an instance, unless it is 0, and waits until
// nothing of it runs any more: for ever, or for as long as most says.
func (d *driver) awaitEnd(ctx context.Context, id string, signal unix.Signal, most ...time.Duration) error {
	conn, err := d.connect(ctx, id)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
		return nil
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	if signal != 0 {
		conn.Write([]byte{byte(signal)}) // a shim that is just ending needs none
	}
	for _, m := range most {
		conn.SetReadDeadline(time.Now().Add(m))
	}
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	_, err = io.Copy(io.Discard, conn)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errStillRuns
	}
	return nil
}

var idFormat = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,62}$`)

// validID keeps ids harmless as names of folders.
func validID(id string) bool { return idFormat.MatchString(id) }

func readJSON(path string, into any) error {
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// writeJSON replaces a file in one step: nobody reads half of it. The folder
// is given by an open handle, which works from inside the sandbox too.
func writeJSON(dir *os.Root, path string, content any) error {
	data, err := json.Marshal(content)
	if err == nil {
		err = dir.WriteFile(path+".tmp", data, 0o600)
	}
	if err == nil {
		err = dir.Rename(path+".tmp", path)
	}
	return err
}
