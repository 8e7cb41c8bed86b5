package fleettest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A mutant is a patch that breaks one rule in shipping code. Each names what
// kills it; one that lives shows a rule that nothing holds the code to.
//
//	# L3: a challenge may be followed by a fence at once
//	# kill: planner TestSuspects
//	--- a/planner/suspects.go
//	+++ b/planner/suspects.go
//	@@ …
//
// kill names a package and tests of it, or one part of one (TestScenarios/drain),
// or "chaos" and seeds of the simulation, from-to.
type mutant struct {
	name, rule string
	kill       []string
	file       string
	mutated    string // what the file becomes
}

// mutantTime bounds one mutant: one that makes a test hang is dead.
const mutantTime = 2 * time.Minute

// TestMutants applies each mutant and holds that what it names kills it. It
// takes minutes: make mutants runs it. Otherwise it only checks that all apply,
// and that there is one for each rule.
func TestMutants(t *testing.T) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/mutants/*.patch")
	if err != nil || len(files) == 0 {
		t.Fatalf("no mutants: %v", err)
	}
	var all []mutant
	rules := map[string]int{}
	for _, file := range files {
		m, err := readMutant(root, file)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		rules[m.rule]++
		all = append(all, m)
	}
	for letter, last := range map[string]int{"L": 13, "R": 8} {
		for k := 1; k <= last; k++ {
			if rule := fmt.Sprint(letter, k); rules[rule] == 0 {
				t.Errorf("no mutant breaks rule %s", rule)
			}
		}
	}
	if os.Getenv("MUTANTS") == "" {
		t.Logf("%d mutants apply; make mutants lets them live", len(all))
		return
	}
	only := os.Getenv("MUTANTS")
	for _, m := range all {
		if only != "all" && !strings.Contains(m.name, only) {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			t.Parallel() // one compiles while another runs
			begin := time.Now()
			out, err := m.run(root, t.TempDir())
			var exit *exec.ExitError
			switch {
			case err == nil:
				t.Errorf("%s lives: %s does not notice", m.rule, strings.Join(m.kill, " "))
			case !errors.As(err, &exit) || strings.Contains(out, "[build failed]") || strings.Contains(out, "[setup failed]"):
				t.Errorf("it cannot be tried: %v\n%s", err, out)
			default:
				t.Logf("%s dead after %v by %s: %s", m.rule, time.Since(begin).Round(100*time.Millisecond), strings.Join(m.kill, " "), reason(out))
			}
		})
	}
}

// reason is the first line of a test's output that says why it failed.
func reason(out string) string {
	for line := range strings.Lines(out) {
		if strings.Contains(line, "_test.go:") || strings.Contains(line, "panic:") {
			return strings.TrimSpace(line[:min(len(line), 160)])
		}
	}
	return "it ran out of time"
}

// run runs what is to kill the mutant, over a tree that differs in one file.
func (m mutant) run(root, dir string) (out string, err error) {
	mutated := filepath.Join(dir, filepath.Base(m.file))
	if err := os.WriteFile(mutated, []byte(m.mutated), 0o600); err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(root, m.file): mutated}})
	if err != nil {
		return "", err
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		return "", err
	}
	args := []string{"test", "-overlay", list, "-count=1", "-vet=off", "-ldflags=-s -w", "-failfast", "-timeout", mutantTime.String()}
	if m.kill[0] == "chaos" {
		args = append(args, "./agent/fleet/fleettest", "-run", "^TestChaos$", "-seeds", m.kill[1], "-stop")
	} else {
		args = append(args, "./"+m.kill[0], "-run", m.pattern())
	}
	ctx, cancel := context.WithTimeout(context.Background(), mutantTime+time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = root
	text, err := cmd.CombinedOutput()
	return string(text), err
}

// pattern names the tests that are to kill the mutant, or one part of one test.
func (m mutant) pattern() string {
	if test, part, ok := strings.Cut(m.kill[1], "/"); ok {
		return "^" + test + "$/^" + part + "$"
	}
	return "^(" + strings.Join(m.kill[1:], "|") + ")$"
}

func readMutant(root, path string) (mutant, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return mutant{}, err
	}
	m := mutant{name: strings.TrimSuffix(filepath.Base(path), ".patch")}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	for len(lines) > 0 && strings.HasPrefix(lines[0], "# ") {
		head := strings.TrimPrefix(lines[0], "# ")
		if kill, ok := strings.CutPrefix(head, "kill: "); ok {
			m.kill = strings.Fields(kill)
		} else if rule, _, ok := strings.Cut(head, ":"); ok && m.rule == "" {
			m.rule = rule
		}
		lines = lines[1:]
	}
	if m.rule == "" || len(m.kill) < 2 {
		return m, errors.New("it does not say which rule it breaks and what kills it")
	}
	if len(lines) < 3 || !strings.HasPrefix(lines[1], "+++ b/") {
		return m, errors.New("it is no patch of one file")
	}
	m.file = strings.TrimPrefix(lines[1], "+++ b/")
	original, err := os.ReadFile(filepath.Join(root, m.file))
	if err != nil {
		return m, err
	}
	m.mutated, err = patch(string(original), lines[2:])
	return m, err
}

// patch applies the hunks of a unified diff. Where lines moved, it finds the
// only place where a hunk fits.
func patch(text string, hunks []string) (string, error) {
	for len(hunks) > 0 {
		var from, old, to, now int
		if _, err := fmt.Sscanf(hunks[0], "@@ -%d,%d +%d,%d @@", &from, &old, &to, &now); err != nil {
			return "", fmt.Errorf("%q is no hunk: %w", hunks[0], err)
		}
		end := slices.IndexFunc(hunks[1:], func(l string) bool { return strings.HasPrefix(l, "@@") }) + 1
		if end == 0 {
			end = len(hunks)
		}
		var before, after strings.Builder
		for _, l := range hunks[1:end] {
			switch {
			case l == "":
				l = " "
				fallthrough
			case l[0] == ' ':
				before.WriteString(l[1:] + "\n")
				after.WriteString(l[1:] + "\n")
			case l[0] == '-':
				before.WriteString(l[1:] + "\n")
			case l[0] == '+':
				after.WriteString(l[1:] + "\n")
			}
		}
		if strings.Count(before.String(), "\n") != old || strings.Count(after.String(), "\n") != now {
			return "", fmt.Errorf("hunk %s has other numbers of lines than it says: git apply refuses it", hunks[0])
		}
		if n := strings.Count(text, before.String()); n != 1 {
			return "", fmt.Errorf("hunk %s fits in %d places: the code has changed, make the mutant anew", hunks[0], n)
		}
		text = strings.Replace(text, before.String(), after.String(), 1)
		hunks = hunks[end:]
	}
	return text, nil
}
