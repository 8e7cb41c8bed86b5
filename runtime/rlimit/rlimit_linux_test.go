package rlimit

import (
	"errors"
	"math"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// Every name that a manifest may write is one to the kernel, and no other is.
func TestNames(t *testing.T) {
	for _, name := range planner.UlimitNames() {
		resource, limit, err := Of(planner.Ulimit{Name: name, Soft: 1, Hard: 2})
		if err != nil || limit != (unix.Rlimit{Cur: 1, Max: 2}) {
			t.Errorf("%s: %v, %v", name, limit, err)
		}
		var own unix.Rlimit
		if err := unix.Getrlimit(resource, &own); err != nil {
			t.Errorf("%s is %d: %v", name, resource, err)
		}
	}
	if len(resources) != len(planner.UlimitNames()) {
		t.Errorf("%d names, %d numbers", len(planner.UlimitNames()), len(resources))
	}
}

func TestValues(t *testing.T) {
	for _, u := range []planner.Ulimit{
		{Name: "nofile", Soft: 1, Hard: 1 << 40},          // more than any kernel allows
		{Name: "core", Soft: 2, Hard: 1},                  // the wrong way around
		{Name: "core", Soft: planner.Unlimited, Hard: 1},  // the same
		{Name: "core", Soft: -2, Hard: planner.Unlimited}, // no number of anything
		{Name: "RLIMIT_CORE", Soft: 0, Hard: 0},           // no name
		{Name: "nofile", Soft: math.MaxInt64, Hard: -1},   // the soft one alone is too much
		{Name: "", Soft: 0, Hard: 0},                      // nothing
		{Name: "stack", Soft: math.MinInt64, Hard: 0},     // far out
	} {
		if _, limit, err := Of(u); !errors.Is(err, runtime.ErrInvalid) {
			t.Errorf("%+v is %v, %v; want ErrInvalid", u, limit, err)
		}
	}
	_, limit, err := Of(planner.Ulimit{Name: "memlock", Soft: planner.Unlimited, Hard: planner.Unlimited})
	if err != nil || limit != (unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}) {
		t.Errorf("memlock without limit is %v, %v", limit, err)
	}
	_, limit, err = Of(planner.Ulimit{Name: "nofile", Soft: 7, Hard: planner.Unlimited})
	if err != nil || limit.Cur != 7 || limit.Max < 1024 || limit.Max == unix.RLIM_INFINITY {
		t.Errorf("nofile without limit is %v, %v; want the kernel's most", limit, err)
	}
}
