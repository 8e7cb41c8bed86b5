package manifest

import "testing"

func TestRestarts(t *testing.T) {
	for path, want := range map[string]bool{
		"spec.image":                                 true,
		"spec.env[0].value":                          true,
		"spec.env[a.b[c]].value":                     true, // whatever an item is called
		"spec.containers[web].image":                 true,
		"spec.containers[web].ports[0].port":         false,
		"spec.containers[0].ports[0].containerPort":  true,
		"spec.ports[http].publish.port":              false,
		"spec.replicas":                              false,
		"spec.nodeSelector.disk":                     false,
		"spec.readinessProbe.httpGet.path":           true,
		"spec.hooks.preRollout.command":              false,
		"spec.hooks.preRollout.volumeMounts":         false,
		"spec.update.steps[0].pause":                 false,
		"metadata.labels.team":                       false,
		"metadata.annotations.orpheus/restartedAt":   true,
		"metadata.annotations.example.com/something": false,
		"spec.nothing.of.ours":                       false,
		"":                                           false,
	} {
		if got := Restarts(path); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
	// Each field of the documentation is found.
	for _, f := range documentedFields() {
		switch f.section {
		case "Service", "Container", "Probe":
			prefix := map[string]string{"Container": "spec.containers[0].", "Probe": "spec.readinessProbe."}[f.section]
			if got := Restarts(prefix + f.path); got != f.restarts {
				t.Errorf("%s %s: %v", f.section, f.path, got)
			}
		}
	}
}
