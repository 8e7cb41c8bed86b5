//go:build linux

package containerd

import (
	"fmt"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
	"github.com/orpheus-cd/orpheus/runtime/rlimit"
)

// sysctlsOf are the kernel parameters of the instance, which has them for
// itself: no other may be set from here.
func sysctlsOf(w runtime.Workload) (map[string]string, error) {
	if len(w.Sysctls) == 0 {
		return nil, nil
	}
	all := make(map[string]string, len(w.Sysctls))
	for _, s := range w.Sysctls {
		if !s.Namespaced() || s.OfNetwork() && w.NetNS == "" {
			return nil, fmt.Errorf("sysctl %q: is the node's, not the instance's: %w", s.Name, runtime.ErrInvalid)
		}
		all[s.Name] = s.Value
	}
	return all, nil
}

// rlimitsOf are the limits of a container: those that it asks for, and as many
// open files as a database needs if it says nothing of them.
func rlimitsOf(ulimits []planner.Ulimit) ([]specs.POSIXRlimit, error) {
	var all []specs.POSIXRlimit
	files := false
	for _, u := range ulimits {
		resource, limit, err := rlimit.Of(u)
		if err != nil {
			return nil, err
		}
		files = files || resource == unix.RLIMIT_NOFILE
		all = append(all, specs.POSIXRlimit{Type: "RLIMIT_" + strings.ToUpper(u.Name), Soft: limit.Cur, Hard: limit.Max})
	}
	if !files {
		all = append(all, openFiles()...)
	}
	return all, nil
}

// openFiles is many enough for a database. It is never more than we have: the
// runtime may lack the right to raise limits.
func openFiles() []specs.POSIXRlimit {
	const soft, hard = 65536, 1 << 20
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &own); err != nil {
		return nil
	}
	return []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: min(soft, own.Max), Hard: min(hard, own.Max)}}
}
