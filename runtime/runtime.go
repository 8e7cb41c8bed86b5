// Package runtime is the contract between the agent and what runs things on
// a node: drivers that run instances, the node's network, its volumes.
//
// The agent prepares a Workload (images pulled), attaches it to the network,
// mounts its volumes, and starts it through a Driver. From then on the
// driver's listing is the truth: the agent keeps no database of instances, all
// it needs to know again stands in the labels given at the start. Drivers
// never call the agent; a Watcher only says "list again".
//
// The packages below implement the contract: containerd and process run
// instances, network and volume serve them, runtimetest holds an in-memory
// driver with faults and the conformance suite every driver passes.
package runtime

import (
	"context"
	"errors"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

// Errors that callers branch on. Drivers wrap them with what they did.
var (
	// ErrNotFound: no such instance, image or volume.
	ErrNotFound = errors.New("not found")
	// ErrUnavailable: the driver's backend does not answer. Nothing is known
	// about its instances: the agent leaves them alone and tries again.
	ErrUnavailable = errors.New("unavailable")
	// ErrInvalid: trying again cannot help until the manifest or the node's
	// configuration changes (image that is not one, unknown user, denied).
	ErrInvalid = errors.New("invalid")
	// ErrUnauthorized: the registry refuses the credentials, or wants some.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrNotBegun: a start failed before any program of the workload was
	// executed. See NotBegun.
	ErrNotBegun = errors.New("not begun")
)

// NotBegun is err, which also is ErrNotBegun. It reads the same; nil stays nil.
func NotBegun(err error) error {
	if err == nil {
		return nil
	}
	return notBegun{err}
}

type notBegun struct{ error }

func (e notBegun) Unwrap() error        { return e.error }
func (e notBegun) Is(target error) bool { return target == ErrNotBegun }

// Driver runs instances. Every method may be called at any time from several
// goroutines and may be repeated: "already so" is success. Calls for one
// instance id are never concurrent, except List and Wait.
type Driver interface {
	// Info says what the driver is and can do, and whether its backend answers.
	// It must return within the context and costs little.
	Info(ctx context.Context) (Info, error)

	// Prepare makes the images of the workload ready to start (pull, unpack)
	// and returns the digest of each image reference. A container whose Digest
	// is set is fetched by it, and not at all if it is there already. The
	// workload may be one that no instance exists of yet: without an id. It runs
	// once per reference at a time however often it is called at once.
	// progress may be nil; it is called from any goroutine, never after return.
	Prepare(ctx context.Context, w Workload, progress func(Progress)) (map[string]string, error)

	// Start makes the instance run: init containers in order, each to its end,
	// then all containers. It replaces whatever incomplete or exited instance
	// of the same id is there, returns nil at once if a complete one runs, and
	// leaves nothing behind when it fails; where it could not take back what it
	// made, or cannot know, the error is ErrUnavailable, and network and volumes
	// of the instance must stay. It fails with ErrNotFound if an image is not
	// prepared. An error that is ErrNotBegun says that no program of the workload
	// was executed by this call; without it some may have been.
	Start(ctx context.Context, w Workload) error

	// List returns every instance the driver owns, from labels or state files,
	// also those whose start was cut off or whose agent was another process.
	// It returns all or an error, never a part.
	List(ctx context.Context) ([]planner.Instance, error)

	// Wait blocks until the instance has exited: the exit signal. An error
	// means "unknown" (backend restarted, context ended), never an exit;
	// ErrNotFound means there is no such instance.
	Wait(ctx context.Context, id string) (planner.Exit, error)

	// Stop sends each container its stop signal and, after grace, kills the
	// whole tree. It returns when nothing of it runs any more; stopping an
	// instance that does not exist is success. When the context ends it returns
	// early, and repeating it goes on.
	Stop(ctx context.Context, id string, grace time.Duration) error

	// Remove deletes what is left of an instance that does not run (it stops
	// it without grace if it does). Removing what is not there is success.
	Remove(ctx context.Context, id string) error
}

// Watcher is implemented by drivers that can tell when to list again. The
// channel carries hints only: it may drop and may lie. It is closed when the
// context ends or the backend goes away.
type Watcher interface {
	Watch(ctx context.Context) (<-chan struct{}, error)
}

// Sweeper is implemented by drivers (and by Network and Volumes) that may
// leave something behind when they are killed in the middle of an operation.
// Sweep removes everything it owns that belongs to no id in live. The agent
// calls it at the start and now and then, only after all drivers were listed
// successfully, with every id that is listed or under way in live.
type Sweeper interface {
	Sweep(ctx context.Context, live map[string]bool) error
}

// Execer runs a command inside an instance.
type Execer interface {
	// Exec runs a command in a container ("" = the first) with what the
	// container itself has (user, environment, folder, limits), and returns its
	// exit code, 128 + N if signal N ended it. When ctx ends the command is
	// killed. The end of streams.In is that of the command's standard input; a
	// Read that is under way when the command ends may go on. Nothing is written
	// to the streams after the return. Calls may be concurrent with any other.
	// ErrNotFound: the container does not run. A *CommandError: the command
	// cannot be run there.
	Exec(ctx context.Context, id, container string, argv []string, streams Streams) (code int, err error)
}

// Resolver asks registries which digest an image reference stands for now,
// without pulling anything.
type Resolver interface {
	Resolve(ctx context.Context, image string) (digest string, err error)
}

// Stats reads what an instance uses.
type Stats interface {
	Stats(ctx context.Context, id string) (Usage, error)
}

// Info describes a driver.
type Info struct {
	Name         string
	Version      string // of the backend; "" when it does not answer
	Capabilities Capabilities
	// Notes are sentences for status and doctor: what is not supported here
	// and why ("no writable cgroup: memory limits are not enforced").
	Notes []string
}

// Capabilities say which parts of a Workload the driver honours. The agent
// refuses a workload that needs another; the conformance suite runs each case
// by them.
type Capabilities struct {
	Images       bool // runs images; without it Image must be empty
	NetNS        bool // joins the network namespace it is given
	Mounts       bool // mounts volumes into the instance; without it their paths are given in the environment
	Init         bool // init containers and more than one container
	Users        bool // RunAsUser, RunAsGroup
	UserNames    bool // RunAsUserName, SupplementalGroups
	Security     bool // capabilities, read-only root, privileged, devices
	LimitsCPU    bool
	LimitsMemory bool
	LimitsPIDs   bool
	Ulimits      bool
	Sysctls      bool
	Reaper       bool
	OOM          bool // tells an out-of-memory kill from another
	Terminal     bool // Exec gives commands a terminal
}

// Workload is one instance as the driver is to make it: pod-shaped, its
// containers share a network namespace and volumes.
type Workload struct {
	// ID is unique on the node and for all time: [a-z0-9.-], at most 63 bytes.
	ID string
	// Identity is kept in labels, so that List returns it.
	Slot     planner.SlotID
	Node     planner.NodeName
	Epoch    uint64
	Token    uint64
	Revision planner.Revision

	Init       []Container // in order, each must exit with 0
	Containers []Container // at least one
	NetNS      string      // path of the network namespace; "" = the host's
	Hostname   string      // "" = the host's
	Sysctls    []planner.Sysctl
	Grace      time.Duration
}

// AllContainers lists init containers, in their order, then the others.
func (w Workload) AllContainers() []Container {
	all := make([]Container, 0, len(w.Init)+len(w.Containers))
	return append(append(all, w.Init...), w.Containers...)
}

// Container is one container of a workload.
type Container struct {
	Name    string
	Image   string // reference as written in the manifest
	Digest  string // "sha256:…" to run exactly that; "" = resolve Image
	Command []string
	Args    []string
	// WorkingDir "" = the image's, or the instance's own folder for a process.
	WorkingDir string
	Env        []Env
	Mounts     []Mount
	Devices    []string
	Resources  planner.Resources
	Security   planner.Security
	Ulimits    []planner.Ulimit
	StopSignal string // "SIGINT"; "" = the image's, else SIGTERM
	// Reaper makes a process of the driver's the first one in the container: it
	// passes signals on to the program alone, reaps what others leave behind, and
	// ends with the program, as that did.
	Reaper bool
	// LogPath is the file that stdout and stderr are appended to, without any
	// process of the agent in between. The driver makes the file (0600), not
	// its folder. The agent rotates it by copying and truncating.
	LogPath string
}

// Env is one environment variable. Secret values are kept apart from labels,
// logs, listings and errors.
type Env struct {
	Name, Value string
	Secret      bool
}

// Mount puts a path of the host into a container. The driver makes no folder
// on the host; the target is made if it is missing.
type Mount struct {
	Volume   string // its name in the manifest; "" for files of the agent (resolv.conf)
	Source   string // absolute path on the host, a folder or a file
	Target   string // absolute path in the container
	ReadOnly bool
}

// Progress is how far the pull of one image has come.
type Progress struct {
	Image       string
	Done, Total int64 // bytes; Total 0 = unknown
	// From is the registry or mirror the image comes from; "" = not told.
	From string
}

// Usage is what an instance uses now.
type Usage struct {
	CPU         time.Duration // since its start
	MemoryBytes int64
	PIDs        int64
}
