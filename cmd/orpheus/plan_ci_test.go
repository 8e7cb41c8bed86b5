package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/pflag"
	yaml "go.yaml.in/yaml/v3"
)

// ciFiles are the examples for CI, by forge.
var ciFiles = map[string]string{
	"github": "../../examples/ci/github/orpheus-plan.yaml",
	"gitea":  "../../examples/ci/gitea/orpheus-plan.yaml",
	"gitlab": "../../examples/ci/gitlab/.gitlab-ci.yml",
}

// ciScripts are the shell blocks of a file, by the name of their job, and of their
// step or their number.
func ciScripts(t *testing.T, forge string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(ciFiles[forge])
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]yaml.Node
	if err := yaml.Unmarshal(data, &file); err != nil {
		t.Fatalf("%s: %v", ciFiles[forge], err)
	}
	type job struct {
		Script []string
		Steps  []struct{ Name, Run string }
	}
	jobs := map[string]job{}
	if node, is := file["jobs"]; is {
		err = node.Decode(&jobs)
	} else {
		for name, node := range file {
			var j job
			if node.Kind == yaml.MappingNode && err == nil {
				err = node.Decode(&j)
			}
			jobs[name] = j
		}
	}
	if err != nil {
		t.Fatalf("%s: %v", ciFiles[forge], err)
	}
	out := map[string]string{}
	for name, j := range jobs {
		for i, text := range j.Script {
			out[name+"/"+strconv.Itoa(i)] = text
		}
		for _, s := range j.Steps {
			if s.Run != "" {
				out[name+"/"+s.Name] = s.Run
			}
		}
	}
	return out
}

// TestPlanCIFiles: the examples are YAML, their shell blocks are shell that no text
// of a pull request is pasted into, and what they ask of orpheus there is.
func TestPlanCIFiles(t *testing.T) {
	ours := regexp.MustCompile(`(?m)^\s*orpheus ([^|>&\n]+)`)
	for forge := range ciFiles {
		asked := 0
		for name, script := range ciScripts(t, forge) {
			for _, shell := range []string{"bash", "sh"} {
				cmd := exec.CommandContext(t.Context(), shell, "-n")
				cmd.Stdin = strings.NewReader(script)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%s: %s: %s -n: %v\n%s", forge, name, shell, err, out)
				}
			}
			if strings.Contains(script, "${{") {
				t.Errorf("%s: %s: the forge puts text into a script; give it by env", forge, name)
			}
			for _, line := range ours.FindAllStringSubmatch(script, -1) {
				asked++
				checkCommand(t, strings.Fields(strings.ReplaceAll(line[1], `"`, "")))
			}
		}
		if asked == 0 {
			t.Errorf("%s asks orpheus for nothing", forge)
		}
	}
}

// checkCommand reports a verb or flags that there are not.
func checkCommand(t *testing.T, args []string) {
	t.Helper()
	cmd, rest, err := newRootCommand(io.Discard, io.Discard).Find(args)
	if err != nil || !cmd.Runnable() || cmd.Name() == "orpheus" {
		t.Errorf("orpheus %v: %v", args, err)
		return
	}
	cmd.Flags().VisitAll(func(*pflag.Flag) {}) // makes those of its parents its own
	if err := cmd.ParseFlags(rest); err != nil {
		t.Errorf("orpheus %v: %v", args, err)
	}
	if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
		t.Errorf("orpheus %v: %v", args, err)
	}
}

// forge is what a comment script talks to: comments by id, with GitHub's names or
// GitLab's.
type forge struct {
	mu       sync.Mutex
	token    string // the header that it wants
	gitlab   bool
	comments []comment
	asked    []string
}

type comment struct {
	id           int
	author, body string
}

const ciAuthor = "plans-bot"

func (f *forge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, r.Method+" "+r.URL.Path)
	name, value, _ := strings.Cut(f.token, ": ")
	if r.Header.Get(name) != value {
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	if strings.HasSuffix(r.URL.Path, "/user") {
		json.NewEncoder(w).Encode(map[string]string{"username": ciAuthor})
		return
	}
	var sent struct{ Body string }
	if r.Method != http.MethodGet {
		if err := json.NewDecoder(r.Body).Decode(&sent); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	id, _ := strconv.Atoi(filepath.Base(r.URL.Path))
	at := slices.IndexFunc(f.comments, func(c comment) bool { return c.id == id })
	switch {
	case r.Method == http.MethodGet:
		f.list(w, r)
	case r.Method == http.MethodPost:
		f.comments = append(f.comments, comment{1000 + len(f.comments), ciAuthor, sent.Body})
		w.WriteHeader(http.StatusCreated)
	case at < 0:
		http.Error(w, "there is no such comment", http.StatusNotFound)
	case f.comments[at].author != ciAuthor:
		http.Error(w, "not yours", http.StatusForbidden)
	default:
		f.comments[at].body = sent.Body
	}
}

func (f *forge) list(w http.ResponseWriter, r *http.Request) {
	shown := f.comments
	if size, _ := strconv.Atoi(r.URL.Query().Get("per_page")); size > 0 {
		page, _ := strconv.Atoi(r.URL.Query().Get("page"))
		shown = shown[min(len(shown), (page-1)*size):min(len(shown), page*size)]
	}
	out := []any{}
	for _, c := range shown {
		key, name := "user", "login"
		if f.gitlab {
			key, name = "author", "username"
		}
		out = append(out, map[string]any{"id": c.id, "body": c.body, key: map[string]string{name: c.author}})
	}
	json.NewEncoder(w).Encode(out)
}

// TestPlanCIComment runs the scripts that post the comment: the first time they make
// one, then they change it, and they leave alone what others write, the marker or not.
func TestPlanCIComment(t *testing.T) {
	for _, program := range []string{"curl", "jq", "bash"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("no %s here", program)
		}
	}
	const marker = "<!-- orpheus plan -->"
	for _, row := range []struct {
		forge, script, token string
		env                  []string // with the server's address for SERVER
	}{
		{"github", "comment/Comment", "Authorization: Bearer secret", []string{"TOKEN=secret", "COMMENTS=SERVER/repos/team/fleet/issues", "NUMBER=7", "AUTHOR=" + ciAuthor}},
		{"gitea", "comment/Comment", "Authorization: token secret", []string{"TOKEN=secret", "COMMENTS=SERVER/repos/team/fleet/issues", "NUMBER=7"}},
		{"gitlab", "orpheus note/1", "PRIVATE-TOKEN: secret", []string{"ORPHEUS_NOTES_TOKEN=secret", "CI_API_V4_URL=SERVER", "CI_PROJECT_ID=3", "CI_MERGE_REQUEST_IID=7"}},
	} {
		t.Run(row.forge, func(t *testing.T) {
			f := &forge{token: row.token, gitlab: row.forge == "gitlab"}
			for i := range 120 { // more than a page
				f.comments = append(f.comments, comment{i + 1, "someone", fmt.Sprint("comment ", i)})
			}
			f.comments = append(f.comments, comment{500, "someone", marker + "\nnot a plan"})
			server := httptest.NewServer(f)
			defer server.Close()
			script := ciScripts(t, row.forge)[row.script]
			if script == "" {
				t.Fatalf("there is no script %s", row.script)
			}
			dir := t.TempDir()
			for round, plan := range []string{marker + "\nfirst \"plan\" $HOME `id`\n", marker + "\nsecond\n"} {
				writeFiles(t, dir, map[string]string{"plan.md": plan})
				cmd := exec.CommandContext(t.Context(), "bash", "-e", "-o", "pipefail", "-c", script)
				cmd.Dir, cmd.Env = dir, append(os.Environ(), "no_proxy=*")
				for _, pair := range row.env {
					cmd.Env = append(cmd.Env, strings.ReplaceAll(pair, "SERVER", server.URL))
				}
				if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), "secret") {
					t.Fatalf("round %d: %v\n%s\n%q", round, err, out, f.asked)
				}
				if n := len(f.comments); n != 122 || f.comments[121].body != plan || f.comments[120].body != marker+"\nnot a plan" {
					t.Errorf("round %d: %d comments, the last %q; %q", round, n, f.comments[n-1].body, f.asked)
				}
			}
		})
	}
}
