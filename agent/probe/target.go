package probe

import (
	"time"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// Target is one running container that has probes.
type Target struct {
	Instance  string // id of the instance
	Container planner.Container
	// Run tells this run of the container from any other of the same instance.
	Run     string
	Started time.Duration // boot time of its start
	Place   Place
	// Idle: it is not checked now, because it is being stopped or because
	// nobody knows yet where it is reached. What was found stands meanwhile.
	Idle bool
}

// Place is where an instance is reached.
type Place struct {
	NetNS   string         // path of its network namespace; "" = the host's
	Address string         // what checks without a host connect to
	Exec    runtime.Execer // runs commands inside it; nil = its driver cannot
}

// Found is what probes have found of one run of a container.
type Found struct {
	planner.ContainerHealth
	// Said is what the newest check of each kind had to say, for people:
	// bounded and printable; nothing if it succeeded.
	Said map[planner.ProbeKind]string `json:"said,omitempty"`
}

// outcome is one check's result, and why it is not a success.
type outcome struct {
	result planner.CheckResult
	said   string
}

func failed(said string) outcome { return outcome{planner.CheckFailure, said} }

// unknown is the outcome of a check that could not be made.
func unknown(said string) outcome { return outcome{planner.CheckUnknown, "cannot be checked: " + said} }

var succeeded = outcome{result: planner.CheckSuccess}
