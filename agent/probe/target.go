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
	// Said says of each kind why its newest check was no success, for people:
	// bounded, printable, nothing that the container wrote.
	Said map[planner.ProbeKind]string `json:"said,omitempty"`
	// Wrote is what the container answered to that check: bounded and
	// printable, and as private as its logs. It is not kept on disk.
	Wrote map[planner.ProbeKind]string `json:"-"`
}

// outcome is one check's result, and why it is not a success.
type outcome struct {
	result      planner.CheckResult
	said, wrote string
}

func failed(said string) outcome { return outcome{result: planner.CheckFailure, said: said} }

// unknown is the outcome of a check that could not be made.
func unknown(said string) outcome {
	return outcome{result: planner.CheckUnknown, said: "cannot be checked: " + said}
}

var succeeded = outcome{result: planner.CheckSuccess}
