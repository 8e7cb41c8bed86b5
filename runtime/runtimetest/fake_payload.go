package runtimetest

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

// PayloadBehaviour is the payload program as far as a fake can show it: for
// Fake.Behave, so that the fake passes the conformance suite.
func PayloadBehaviour(_ runtime.Workload, c runtime.Container) Behaviour {
	if len(c.Args) == 0 {
		return Behaviour{StartError: fmt.Errorf("%s is not there: %w", c.Command, runtime.ErrInvalid)}
	}
	switch c.Args[0] {
	case "exit":
		code, _ := strconv.Atoi(c.Args[1])
		return Behaviour{Exit: &planner.Exit{Code: code}}
	case "sleep":
		return Behaviour{OnSignal: &planner.Exit{}}
	case "trap":
		n := slices.Index([]string{"", "SIGHUP", "SIGINT"}, c.StopSignal)
		switch c.StopSignal {
		case "":
			n = 15
		case "SIGUSR1":
			n = 10
		}
		return Behaviour{OnSignal: &planner.Exit{Code: 100 + n}}
	case "ignore":
		return Behaviour{Deaf: true}
	case "memory":
		return Behaviour{Exit: &planner.Exit{Code: 137, Signal: 9, OOM: true}}
	}
	return Behaviour{}
}
