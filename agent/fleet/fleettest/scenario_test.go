package fleettest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestScenarios plays the stories in testdata/scenarios.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil || len(files) < 12 {
		t.Fatalf("%d scenarios: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			trace, err := Play(string(text), t.Logf)
			if err != nil {
				t.Errorf("%v\n%s", err, strings.Join(trace[max(0, len(trace)-60):], "\n"))
			}
		})
	}
}
