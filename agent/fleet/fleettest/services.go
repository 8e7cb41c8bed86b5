package fleettest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/orpheus-cd/orpheus/planner"
)

// kind is what a service of the simulation is like.
type kind int

const (
	plain     kind = iota
	single         // one writer: stop-first
	volumed        // keeps data on its node
	everyNode      // one slot a node
	kinds
)

// sortedIDs lists the services that are keys of a map.
func sortedIDs[V any](m map[planner.ServiceID]V) []planner.ServiceID {
	return slices.SortedFunc(maps.Keys(m), planner.ServiceID.Compare)
}

// service makes a service. Its version is in the image, and begins with its
// character.
func service(name string, k kind, replicas int, version string, millis int64) planner.Service {
	id := planner.ServiceID{Namespace: planner.DefaultNamespace, Name: name}
	image := fmt.Sprintf("registry.example/%s:%s", name, version)
	zero := int64(1)
	t := planner.Template{
		Containers: []planner.Container{{
			Name: planner.MainContainer, Image: image,
			Resources: planner.Resources{Requests: planner.ResourceList{CPUMillis: millis}},
		}},
		TerminationGracePeriodSeconds: &zero,
	}
	ports := []planner.Port{{Container: 8080, Protocol: "tcp", Port: 80}}
	switch k {
	case single:
		ports = nil
		t.HostNetwork = true
	case volumed:
		t.Volumes = []planner.Volume{{Name: "data", Local: &planner.LocalVolume{}}}
		t.Containers[0].VolumeMounts = []planner.VolumeMount{{Name: "data", MountPath: "/data"}}
	}
	s := planner.Service{ID: id, File: name + ".yaml", Line: 1, Replicas: replicas, Template: t, Revision: planner.RevisionOf(t), Ports: ports}
	if k == everyNode {
		s.EveryNode, s.Replicas = true, 0
	}
	return s
}

// changed is the service with another version.
func changed(s planner.Service, version string) planner.Service {
	t := s.Template
	t.Containers = slices.Clone(t.Containers)
	name, _, _ := strings.Cut(t.Containers[0].Image, ":")
	t.Containers[0].Image = name + ":" + version
	s.Template, s.Revision = t, planner.RevisionOf(t)
	return rehooked(s)
}
