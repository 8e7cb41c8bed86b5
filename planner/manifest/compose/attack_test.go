package compose

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	yaml "go.yaml.in/yaml/v3"
)

const canary = "canary-7d41"

// plant makes a machine with secrets outside of a repository, and in the
// environment. It returns the repository's folder and the one around it.
func plant(t *testing.T) (repository, outside string) {
	outside = t.TempDir()
	repository = filepath.Join(outside, "repository")
	for name, text := range map[string]string{
		"secret":           canary,
		"secret.env":       "LEAKED=" + canary,
		".env":             "LEAKED=" + canary,
		"compose.yaml":     "services: {leak: {image: " + canary + "}}",
		"repository/x/a":   "",
		"home/secret.env":  "LEAKED=" + canary,
		"home/leak.yaml":   "services: {leak: {image: " + canary + "}}",
		"work/secret.env":  "LEAKED=" + canary, // where the process runs
		"work/.env":        "LEAKED=" + canary,
		"work/leak.yaml":   "services: {leak: {image: " + canary + "}}",
		"work/x/leak.yaml": "services: {leak: {image: " + canary + "}}",
	} {
		path := filepath.Join(outside, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{"x/link.yaml": "compose.yaml", "x/link.env": "secret.env", "x/.env": "secret.env", "link": "."} {
		if err := os.Symlink(filepath.Join(outside, to), filepath.Join(repository, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(filepath.Join(outside, "work"))
	for _, name := range []string{"SECRET", "COMPOSE_PROJECT_NAME", "COMPOSE_FILE", "COMPOSE_PROFILES", "COMPOSE_ENV_FILES", "DOCKER_HOST", "DOCKER_CONFIG", "USER", "PATH_TO", "TAG"} {
		t.Setenv(name, canary)
	}
	t.Setenv("HOME", filepath.Join(outside, "home"))
	return repository, outside
}

// leaks are Compose files that ask for what is not theirs; OUT stands for a
// folder of the machine.
var leaks = map[string]string{
	"env_file absolute":         "services: {web: {image: a, env_file: OUT/secret.env}}",
	"env_file up":               "services: {web: {image: a, env_file: ../../secret.env}}",
	"env_file up and down":      "services: {web: {image: a, env_file: ../x/../../secret.env}}",
	"env_file home":             "services: {web: {image: a, env_file: ~/secret.env}}",
	"env_file of the process":   "services: {web: {image: a, env_file: secret.env}}",
	"env_file link":             "services: {web: {image: a, env_file: link.env}}",
	"env_file through a link":   "services: {web: {image: a, env_file: ../link/secret.env}}",
	"env_file url":              "services: {web: {image: a, env_file: 'file://OUT/secret.env'}}",
	"env_file optional":         "services: {web: {image: a, env_file: [{path: OUT/secret.env, required: false}]}}",
	"env_file raw":              "services: {web: {image: a, env_file: [{path: OUT/secret.env, format: raw}]}}",
	"env_file by variable":      "services: {web: {image: a, env_file: '${DIR}/secret.env'}}",
	"env_file proc":             "services: {web: {image: a, env_file: /proc/self/environ}}",
	"label_file absolute":       "services: {web: {image: a, label_file: OUT/secret.env}}",
	"label_file home":           "services: {web: {image: a, label_file: ['~/secret.env']}}",
	"extends absolute":          "services: {web: {extends: {file: OUT/compose.yaml, service: leak}}}",
	"extends up":                "services: {web: {extends: {file: ../../compose.yaml, service: leak}}}",
	"extends home":              "services: {web: {extends: {file: ~/leak.yaml, service: leak}}}",
	"extends of the process":    "services: {web: {extends: {file: leak.yaml, service: leak}}}",
	"extends link":              "services: {web: {extends: {file: link.yaml, service: leak}}}",
	"extends url":               "services: {web: {extends: {file: 'file://OUT/compose.yaml', service: leak}}}",
	"include absolute":          "include: [OUT/compose.yaml]\nservices: {web: {image: a}}",
	"include up":                "include: [../../compose.yaml]\nservices: {web: {image: a}}",
	"include home":              "include: [~/leak.yaml]\nservices: {web: {image: a}}",
	"include of the process":    "include: [leak.yaml]\nservices: {web: {image: a}}",
	"include link":              "include: [link.yaml]\nservices: {web: {image: a}}",
	"include through a link":    "include: [../link/compose.yaml]\nservices: {web: {image: a}}",
	"include git":               "include: ['git://OUT/repository', 'https://github.com/a/b.git#main']\nservices: {web: {image: a}}",
	"include ssh":               "include: ['git@localhost:a/b.git']\nservices: {web: {image: a}}",
	"include oci":               "include: ['oci://localhost/a:1']\nservices: {web: {image: a}}",
	"include file url":          "include: ['file://OUT/compose.yaml']\nservices: {web: {image: a}}",
	"include env_file":          "include: [{path: a.yaml, env_file: OUT/secret.env}]\nservices: {web: {image: a}}",
	"include project_directory": "include: [{path: a.yaml, project_directory: OUT}]\nservices: {web: {image: a}}",
	"variables":                 "services: {web: {image: 'a:${SECRET:-x}', environment: ['A=${TAG-y}', 'B=${HOME:-z}', 'C=${PWD:-}', 'D=${DOCKER_HOST:-}']}}",
	"undefined variables":       "services: {web: {image: 'a:${SECRET}', environment: ['A=$TAG']}}",
	"required variables":        "services: {web: {image: 'a:${SECRET:?$TAG}'}}",
	"bare environment":          "services: {web: {image: a, environment: [SECRET, USER]}}",
	"empty environment":         "services: {web: {image: a, environment: {SECRET: , HOME: }}}",
	"name":                      "name: ${COMPOSE_PROJECT_NAME:-x}\nservices: {web: {image: a}}",
	"config file":               "services: {web: {image: a, configs: [c]}}\nconfigs: {c: {file: OUT/secret}}",
	"config environment":        "services: {web: {image: a, configs: [c]}}\nconfigs: {c: {environment: SECRET}}",
	"config content":            "services: {web: {image: a, configs: [c]}}\nconfigs: {c: {content: '${SECRET:-}'}}",
	"secret file":               "services: {web: {image: a, secrets: [s]}}\nsecrets: {s: {file: ../../secret}}",
	"secret home":               "services: {web: {image: a, secrets: [s]}}\nsecrets: {s: {file: ~/secret.env}}",
	"secret environment":        "services: {web: {image: a, secrets: [s]}}\nsecrets: {s: {environment: SECRET}}",
	"build":                     "services: {web: {build: {context: OUT, dockerfile: OUT/secret, args: [SECRET]}, image: a}}",
	"bind":                      "services: {web: {image: a, volumes: ['~/secret.env:/a', '../../secret:/b', '../link/secret:/c', './link.env:/d']}}",
	"device":                    "services: {web: {image: a, volumes: ['v:/a']}}\nvolumes: {v: {driver: local, driver_opts: {type: none, o: bind, device: ~/}}}",
	"watch":                     "services: {web: {image: a, develop: {watch: [{path: ~/secret.env, action: sync, target: /a}]}}}",
	"hook":                      "services: {web: {image: a, pre_start: [{command: [a], env_file: OUT/secret.env, label_file: OUT/secret.env}]}}",
	"provider":                  "services: {web: {provider: {type: OUT/secret}}}",
}

// 45: nothing outside of the repository and of the fleet's variables is read.
func TestAttack45ComposeReadsOnlyTheRepository(t *testing.T) {
	repository, outside := plant(t)
	home := filepath.Join(outside, "home")
	for name, text := range leaks {
		t.Run(name, func(t *testing.T) {
			text = strings.ReplaceAll(text, "OUT", outside)
			for _, folder := range []string{"x", "y"} { // the .env of x is a link
				path := filepath.Join(repository, folder, "compose.yaml")
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				p, faults := Load(context.Background(), Source{FS: os.DirFS(repository), Path: folder + "/compose.yaml", Variables: map[string]string{"DIR": outside}})
				documents, more := Convert(p)
				said := []any{faults, more}
				if p != nil {
					said = append(said, p.Name, p.Tree, p.Types, p.Extension, p.Extensions, p.Reads)
				}
				for _, d := range documents {
					text, err := yaml.Marshal(d.Root)
					if err != nil {
						t.Fatal(err)
					}
					said = append(said, string(text), fmt.Sprint(d.Contents), d.Origins)
				}
				all, err := json.Marshal(said)
				if err != nil {
					t.Fatal(err)
				}
				if strings.Contains(string(all), canary) || strings.Contains(string(all), home) || strings.Contains(string(all), "LEAKED") {
					t.Errorf("it says\n%s", all)
				}
			}
		})
	}
}

// inMemory is what the child of the next test reads.
func inMemory() fs.FS {
	files := fstest.MapFS{}
	for name, text := range leaks {
		files[strings.ReplaceAll(name, " ", "-")+"/compose.yaml"] = &fstest.MapFile{Data: []byte(strings.ReplaceAll(text, "OUT", "/etc")), Mode: 0o644}
	}
	return files
}

// 45: reading makes no system call that names a file or uses the network. The
// child reads a repository that is in memory, between two calls that mark when.
func TestAttack45ComposeAsksTheSystemForNothing(t *testing.T) {
	const begin, end = "/begin-of-reading", "/end-of-reading"
	if os.Getenv("ORPHEUS_TEST_READ") != "" {
		files := inMemory()
		names, _ := fs.Glob(files, "*/compose.yaml")
		read := func() {
			for _, name := range names {
				p, _ := Load(context.Background(), Source{FS: files, Path: name})
				Convert(p)
			}
		}
		_, _ = os.Stat(begin)
		read()
		_, _ = os.Stat(end)
		return
	}
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("needs strace, which lists the calls of a program")
	}
	trace := filepath.Join(t.TempDir(), "trace")
	child := exec.Command(strace, "-f", "-qq", "-e", "trace=%file,%network", "-o", trace, os.Args[0], "-test.run", "^"+t.Name()+"$")
	child.Env = append(os.Environ(), "ORPHEUS_TEST_READ=1")
	if out, err := child.CombinedOutput(); err != nil {
		if strings.Contains(string(out), "not permitted") {
			t.Skipf("strace is not allowed to trace: %s", out)
		}
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	_, after, began := strings.Cut(string(text), begin)
	within, _, ended := strings.Cut(after, end)
	if !began || !ended {
		t.Fatalf("the marks are not in the trace:\n%s", text)
	}
	call := regexp.MustCompile(`(?m)^\d+ +(\w+)\(.*$`)
	lines := call.FindAllString(within, -1)
	if n := len(lines); n > 1 { // the last is the call with the second mark
		t.Errorf("reading made calls:\n%s", strings.Join(lines[:n-1], "\n"))
	}
}
