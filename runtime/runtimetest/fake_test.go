package runtimetest

import (
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/orpheus-cd/orpheus/planner"
	"github.com/orpheus-cd/orpheus/runtime"
)

func TestFakeConformance(t *testing.T) {
	for _, images := range []bool{true, false} {
		t.Run(fmt.Sprintf("images=%t", images), func(t *testing.T) {
			fake := NewFake("fake")
			fake.SetInfo(func(i *runtime.Info) { i.Capabilities.Images = images })
			fake.Behave(payloadBehaviour)
			fake.DeleteImage("localhost/missing:1")
			Conformance(t, Harness{
				New: func(*testing.T) runtime.Driver { return fake },
				Container: func(_ *testing.T, args ...string) runtime.Container {
					c := runtime.Container{Name: "main", Args: args}
					if images {
						c.Image = "localhost/payload:1"
					}
					return c
				},
				Simulated:    true,
				MissingImage: "localhost/missing:1",
			})
		})
	}
}

// payloadBehaviour is the payload program as far as a fake can show it.
func payloadBehaviour(_ runtime.Workload, c runtime.Container) Behaviour {
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
