package runtimetest

import (
	"fmt"
	"testing"

	"github.com/orpheus-cd/orpheus/runtime"
)

func TestFakeConformance(t *testing.T) {
	for _, images := range []bool{true, false} {
		t.Run(fmt.Sprintf("images=%t", images), func(t *testing.T) {
			fake := NewFake("fake")
			fake.SetInfo(func(i *runtime.Info) { i.Capabilities.Images = images })
			fake.Behave(PayloadBehaviour)
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
