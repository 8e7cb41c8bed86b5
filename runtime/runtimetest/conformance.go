package runtimetest

import (
	"testing"

	"github.com/orpheus-cd/orpheus/runtime"
)

// testCase is one demand of the contract.
type testCase struct {
	name  string
	needs func(h Harness, c runtime.Capabilities) string // why it is skipped; nil = never
	run   func(s *scene)
}

// Conformance checks a driver against the contract of runtime.Driver. Each
// case starts and ends with an empty listing.
func Conformance(t *testing.T, h Harness) {
	info, err := h.New(t).Info(t.Context())
	if err != nil {
		t.Fatalf("Info: %v", err)
	}
	if info.Name == "" {
		t.Error("Info: the driver has no name")
	}
	for _, group := range [][]testCase{
		startCases, waitCases, stopCases, listCases, adoptionCases, podCases,
		imageCases, keepCases, processCases, execCases, logCases, limitCases, kernelCases, reaperCases, sweepCases,
	} {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) {
				if c.needs != nil {
					if why := c.needs(h, info.Capabilities); why != "" {
						t.Skip("not run: " + why)
					}
				}
				c.run(newScene(t, h, info))
			})
		}
	}
}

func needs(capability string, has func(runtime.Capabilities) bool) func(Harness, runtime.Capabilities) string {
	return func(_ Harness, c runtime.Capabilities) string {
		if !has(c) {
			return "the driver does not declare " + capability
		}
		return ""
	}
}

// real is the condition of cases that look at processes, files and logs.
func real(h Harness, _ runtime.Capabilities) string {
	if h.Simulated {
		return "nothing really runs in this driver"
	}
	return ""
}

// all joins conditions.
func all(conditions ...func(Harness, runtime.Capabilities) string) func(Harness, runtime.Capabilities) string {
	return func(h Harness, c runtime.Capabilities) string {
		for _, condition := range conditions {
			if why := condition(h, c); why != "" {
				return why
			}
		}
		return ""
	}
}
