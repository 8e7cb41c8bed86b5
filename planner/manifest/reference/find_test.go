package reference

import (
	"slices"
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	for asked, want := range map[string]string{
		"Service":                                             "Service",
		"service.spec.update":                                 "Service.spec.update",
		"spec.update.steps[].slots":                           "Service.spec.update.steps.slots",
		"Service.spec.ports[0].publish":                       "Service.spec.ports.publish", // as a fault names it
		"Service.spec.containers[web].env":                    "Service.spec.containers.env",
		"Service.spec.containers.livenessProbe.httpGet.port":  "Service.spec.containers.livenessProbe.httpGet.port",
		"Probe.httpget":                                       "Probe.httpGet",
		"fleet.spec":                                          "Fleet.spec",
		`Service.metadata.annotations["orpheus/restartedAt"]`: `Service.metadata.annotations["orpheus/restartedAt"]`,
	} {
		e, err := Read().Find(asked)
		if err != nil || e.Path != want {
			t.Errorf("%s: %v, %v", asked, e, err)
		}
	}
	for asked, want := range map[string]string{
		"":                       `there is no kind ""; there are Fleet`,
		"Servce":                 "did you mean Service?",
		"Service.spec.replica":   "did you mean replicas?",
		"Service.spec.maxSurge":  "did you mean Service.spec.update.maxSurge?", // it is deeper
		"Node.spec.key.x":        "Node.spec.key has no field \"x\"; it has none",
		"Service.spec[":          "", // no bracket is closed
		"..":                     `there is no kind ""`,
		strings.Repeat("a", 500): "a path of 500 bytes",
	} {
		_, err := Read().Find(asked)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", asked, err, want)
		}
	}
}

// Every path can be completed up to its end, and found.
func TestCompleteLeadsEverywhere(t *testing.T) {
	var walk func(typed string) int
	walk = func(typed string) (found int) {
		for _, path := range Read().Complete(typed) {
			if strings.HasSuffix(path, ".") {
				found += walk(path)
			}
			if _, err := Read().Find(strings.TrimSuffix(path, ".")); err != nil {
				t.Error(err)
			}
			found++
		}
		return found
	}
	if n := walk(""); n < 300 {
		t.Errorf("%d paths", n)
	}
	if got := Read().Complete("service.spec.up"); !slices.Equal(got, []string{"service.spec.update."}) {
		t.Errorf("completed %v", got)
	}
	if got := Read().Complete("nothing.spec."); got != nil {
		t.Errorf("completed %v", got)
	}
}

// Every field has a type, and every kind and part a sentence.
func TestEveryEntryIsDescribed(t *testing.T) {
	var look func(e *Entry)
	look = func(e *Entry) {
		if !e.Later && e.Type == "" {
			t.Errorf("%s has no type", e.Path)
		}
		if strings.Contains(e.Notes, "](") {
			t.Errorf("%s has a link in its notes: %s", e.Path, e.Notes)
		}
		for _, f := range e.Fields {
			look(f)
		}
	}
	for _, e := range Read().all() {
		if e.Notes == "" {
			t.Errorf("%s is not introduced: write a sentence below its title", e.Name)
		}
		look(e)
	}
}
