package reference

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The YAML language server, as .ci/install test puts it there.
const languageServer = "../../../build/yaml-language-server/node_modules/yaml-language-server/bin/yaml-language-server"

// patience is how long the server may take for one answer.
const patience = time.Minute

// server is a language server that talks over its standard input and output.
type server struct {
	t          *testing.T
	in         io.Writer
	out        chan message
	last       int  // id
	configured bool // it knows its settings
	// diagnostics are the last ones of each document; nil = not told yet.
	diagnostics map[string][]diagnostic
}

type message struct {
	ID     json.RawMessage `json:"id,omitempty"`
	Method string          `json:"method,omitempty"`
	Params json.RawMessage `json:"params,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  json.RawMessage `json:"error,omitempty"`
}

type diagnostic struct {
	Range struct {
		Start struct{ Line int }
	}
	Message string
}

// startServer starts one; it ends with the test.
func startServer(t *testing.T) *server {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("there is no node, which the YAML language server runs on; .ci/install test installs both")
	}
	if _, err := os.Stat(languageServer); err != nil {
		t.Skip("the YAML language server is not there; .ci/install test installs it")
	}
	cmd := exec.CommandContext(t.Context(), node, languageServer, "--stdio")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, in: in, out: make(chan message, 100), diagnostics: map[string][]diagnostic{}}
	go read(out, s.out)
	t.Cleanup(func() {
		in.Close()
		cmd.Process.Kill()
		for range s.out { // until it is gone
		}
		cmd.Wait()
	})
	s.call("initialize", map[string]any{"processId": os.Getpid(), "rootUri": nil, "capabilities": map[string]any{
		"textDocument": map[string]any{"hover": map[string]any{"contentFormat": []string{"markdown"}}, "completion": map[string]any{}},
	}}, nil)
	s.tell("initialized", struct{}{})
	for !s.configured { // it asks for its settings
		s.next()
	}
	return s
}

// read takes messages apart until the server is gone.
func read(from io.Reader, to chan<- message) {
	defer close(to)
	for r := bufio.NewReader(from); ; {
		length := 0
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			if line = strings.TrimSpace(line); line == "" {
				break
			}
			if n, ok := strings.CutPrefix(line, "Content-Length: "); ok {
				length, _ = strconv.Atoi(n)
			}
		}
		body := make([]byte, length)
		var m message
		if _, err := io.ReadFull(r, body); err != nil || json.Unmarshal(body, &m) != nil {
			return
		}
		to <- m
	}
}

func (s *server) send(m map[string]any) {
	m["jsonrpc"] = "2.0"
	text, err := json.Marshal(m)
	if err == nil {
		_, err = fmt.Fprintf(s.in, "Content-Length: %d\r\n\r\n%s", len(text), text)
	}
	if err != nil {
		s.t.Fatalf("talk to the language server: %v", err)
	}
}

func (s *server) tell(method string, params any) {
	s.send(map[string]any{"method": method, "params": params})
}

// next handles one message and returns it.
func (s *server) next() message {
	s.t.Helper()
	select {
	case m, ok := <-s.out:
		if !ok {
			s.t.Fatal("the language server has ended")
		}
		switch {
		case m.Method == "textDocument/publishDiagnostics":
			var p struct {
				URI         string
				Diagnostics []diagnostic
			}
			if err := json.Unmarshal(m.Params, &p); err != nil {
				s.t.Fatal(err)
			}
			s.diagnostics[p.URI] = append([]diagnostic{}, p.Diagnostics...)
		case m.Method == "workspace/configuration":
			s.send(map[string]any{"id": m.ID, "result": s.settings(m.Params)})
		case m.Method != "" && m.ID != nil: // it asks for something: there is nothing
			s.send(map[string]any{"id": m.ID, "result": nil})
		}
		return m
	case <-time.After(patience):
		s.t.Fatal("the language server says nothing")
		return message{}
	}
}

// settings are what the server asks for of an editor's.
func (s *server) settings(asked json.RawMessage) []any {
	s.t.Helper()
	var p struct {
		Items []struct{ Section string }
	}
	if err := json.Unmarshal(asked, &p); err != nil {
		s.t.Fatal(err)
	}
	values := make([]any, len(p.Items))
	for i, item := range p.Items {
		if item.Section != "yaml" {
			continue
		}
		s.configured = true
		values[i] = map[string]any{
			"validate": true, "completion": true, "hover": true, "schemaStore": map[string]any{"enable": false, "url": ""},
			// As orpheus init writes it.
			"schemas": map[string]any{schemaURI(s.t, "schema.json"): []string{"services/**/*.yaml"}},
		}
	}
	return values
}

// call asks the server, and reads its answer into result.
func (s *server) call(method string, params, result any) {
	s.t.Helper()
	s.last++
	s.send(map[string]any{"id": s.last, "method": method, "params": params})
	for {
		m := s.next()
		if m.Method != "" || string(m.ID) != strconv.Itoa(s.last) {
			continue
		}
		if m.Error != nil {
			s.t.Fatalf("%s: %s", method, m.Error)
		}
		if result != nil {
			if err := json.Unmarshal(m.Result, result); err != nil {
				s.t.Fatalf("%s: %v in %s", method, err, m.Result)
			}
		}
		return
	}
}

// open opens a text beside the schema and returns its URI.
func (s *server) open(name, text string) string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), name)
	uri := "file://" + path
	s.tell("textDocument/didOpen", map[string]any{"textDocument": map[string]any{"uri": uri, "languageId": "yaml", "version": 1, "text": text}})
	return uri
}

// diagnose waits until the server has looked at the document.
func (s *server) diagnose(uri string) []diagnostic {
	s.t.Helper()
	for s.diagnostics[uri] == nil {
		s.next()
	}
	return s.diagnostics[uri]
}

// at is a place in a document: where the mark ‸ stands in text. It returns the
// text without it.
func at(text, uri string) (string, map[string]any) {
	before, after, _ := strings.Cut(text, "‸")
	line := strings.Count(before, "\n")
	column := len(before) - strings.LastIndexByte(before, '\n') - 1
	return before + after, map[string]any{"textDocument": map[string]any{"uri": uri}, "position": map[string]any{"line": line, "character": column}}
}

// modeline names a schema of ours, as orpheus init does.
func modeline(t *testing.T, name string) string {
	t.Helper()
	return "# yaml-language-server: $schema=" + schemaURI(t, name) + "\n"
}

func schemaURI(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs("../../../docs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return "file://" + filepath.ToSlash(path)
}

// In the YAML language server the examples are fine.
func TestLanguageServerTakesTheExamples(t *testing.T) {
	s := startServer(t)
	files := manifestFiles(t, "../../../examples")
	for path, data := range manifestFiles(t, "testdata") {
		files[path] = data
	}
	for path, data := range files {
		schema := "schema.json"
		if strings.Contains(path, "/envs/") {
			schema = "schema-overlay.json"
		}
		for _, d := range s.diagnose(s.open(filepath.Base(path), modeline(t, schema)+string(data))) {
			t.Errorf("%s:%d: %s", path, d.Range.Start.Line, d.Message)
		}
	}
}

const service = "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: web}\nspec:\n"

// What is wrong is said at its line, in words that help.
func TestLanguageServerFindsFaults(t *testing.T) {
	s := startServer(t)
	for _, row := range []struct {
		text string
		line int // the first is 0, and is the modeline
		want string
	}{
		// a field that is not there
		{service + "  image: web:1\n  replica: 2\n", 6, "Property replica is not allowed"},
		// out of bounds
		{service + "  image: web:1\n  replicas: 1001\n", 6, "above the maximum of 1000"},
		// a pattern says what it wants, not how it is matched
		{service + "  image: web:1\n  hostname: Web_1\n", 6, "Must be a name of lower case letters"},
		{service + "  image: web:1\n  update: {maxSurge: 25 percent}\n", 6, "Must be a number from 0 to 1000, or a percentage from 0% to 1000%"},
		// words
		{service + "  image: web:1\n  ports: [{containerPort: 80, publish: {port: 80, mode: cluster}}]\n", 6, `"fleet", "node"`},
		// something is missing
		{service + "  replicas: 2\n", 4, `Missing property "image"`},
		{service + "  image: web:1\n  ports: [{port: 80}]\n", 6, `Missing property "containerPort"`},
		// two ways at once
		{service + "  image: web:1\n  containers: [{name: a, image: \"w:1\"}]\n", 5, "Property image is not allowed"},
		// a kind that is none
		{"apiVersion: orpheus/v1\nkind: Deployment\nmetadata: {name: web}\n", 2, `"Fleet", "Node", "Service"`},
		{"apiVersion: apps/v1\nkind: Service\nmetadata: {name: web}\nspec: {image: \"w:1\"}\n", 1, `"orpheus/v1"`},
	} {
		found := s.diagnose(s.open("web.yaml", modeline(t, "schema.json")+row.text))
		ok := false
		for _, d := range found {
			ok = ok || d.Range.Start.Line == row.line && strings.Contains(d.Message, row.want)
		}
		if !ok || len(found) > 2 {
			t.Errorf("%s\nno %q on line %d: %+v", row.text, row.want, row.line, found)
		}
	}
}

// Settings name the schema of a folder's files; so all documents of a file are
// checked, where a modeline counts for the first.
func TestLanguageServerHeedsSettings(t *testing.T) {
	s := startServer(t)
	const text = service + "  image: web:1\n---\napiVersion: orpheus/v1\nkind: Node\nmetadata: {name: a}\nspec: {cordon: true}\n"
	for name, faults := range map[string]int{"services/web.yaml": 1, "services/shop/web.yaml": 1, "other/web.yaml": 0} {
		uri := s.open(name, text)
		found := s.diagnose(uri)
		for len(found) != faults { // it looks again when it has read its settings
			s.next()
			found = s.diagnose(uri)
		}
		if faults > 0 && found[0].Range.Start.Line != 9 {
			t.Errorf("%s: %+v", name, found)
		}
	}
}

// Fields and words are offered where they may stand.
func TestLanguageServerCompletes(t *testing.T) {
	s := startServer(t)
	for _, row := range []struct {
		text string
		want []string
		not  string
	}{
		{"‸", []string{"apiVersion", "kind"}, ""},
		{"apiVersion: orpheus/v1\nkind: ‸\n", []string{"Fleet", "Node", "Service"}, ""},
		{service + "  image: web:1\n  ‸\n", []string{"replicas", "ports", "update", "readinessProbe"}, "taints"},
		{service + "  image: web:1\n  update:\n    ‸\n", []string{"maxSurge", "maxUnavailable", "steps"}, "replicas"},
		{service + "  image: web:1\n  readinessProbe:\n    httpGet:\n      ‸\n", []string{"path", "port"}, "grpc"},
		{service + "  image: web:1\n  sessionAffinity: ‸\n", []string{"ClientIP", "None"}, ""},
		{"apiVersion: orpheus/v1\nkind: Node\nmetadata: {name: a}\nspec:\n  ‸\n", []string{"taints", "drain"}, "replicas"},
	} {
		text, place := at(modeline(t, "schema.json")+row.text, "")
		uri := s.open("web.yaml", text)
		place["textDocument"] = map[string]any{"uri": uri}
		var got struct{ Items []struct{ Label string } }
		s.call("textDocument/completion", place, &got)
		labels := map[string]bool{}
		for _, i := range got.Items {
			labels[i.Label] = true
		}
		for _, want := range row.want {
			if !labels[want] {
				t.Errorf("%s\n%q is not offered: %v", row.text, want, labels)
			}
		}
		if labels[row.not] {
			t.Errorf("%s\n%q is offered", row.text, row.not)
		}
	}
}

// What is offered is explained, as docs/manifest.md does.
func TestLanguageServerExplainsWhatItOffers(t *testing.T) {
	s := startServer(t)
	for _, row := range []struct{ text, field, want string }{
		{service + "  image: web:1\n  ‸\n", "replicas", "0 to 1000"},
		{service + "  image: web:1\n  ‸\n", "livenessProbe", "restarts the instance if it fails"},
		{service + "  image: web:1\n  update:\n    ‸\n", "autoRevert", "goes back to the last good revision"},
		{"apiVersion: orpheus/v1\nkind: Node\nmetadata: {name: a}\nspec:\n  ‸\n", "drain", "everything moves away"},
		{"apiVersion: orpheus/v1\nkind: Fleet\nmetadata: {name: a}\nspec:\n  ‸\n", "failover", "sooner, and wrong more often"},
	} {
		text, place := at(modeline(t, "schema.json")+row.text, "")
		place["textDocument"] = map[string]any{"uri": s.open("web.yaml", text)}
		var got struct {
			Items []struct {
				Label         string
				Documentation json.RawMessage
			}
		}
		s.call("textDocument/completion", place, &got)
		found := false
		for _, i := range got.Items {
			found = found || i.Label == row.field && strings.Contains(string(i.Documentation), row.want)
		}
		if !found {
			t.Errorf("%s\n%s is not offered with %q: %s", row.text, row.field, row.want, got.Items)
		}
	}
}

// Who points at a field reads what docs/manifest.md says.
func TestLanguageServerExplains(t *testing.T) {
	s := startServer(t)
	for text, want := range map[string]string{
		service + "  image: web:1\n  repl‸icas: 2\n":                                          "0 to 1000",
		service + "  im‸age: web:1\n":                                                         "A tag is pinned to its digest",
		service + "  image: web:1\n  update: {auto‸Revert: false}\n":                          "goes back to the last good revision",
		service + "  image: web:1\n  live‸nessProbe: {grpc: {port: 1}}\n":                     "restarts the instance if it fails",
		service + "  image: web:1\n  livenessProbe: {gr‸pc: {port: 1}}\n":                     "gRPC health service",
		"apiVersion: orpheus/v1\nkind: Fleet\nmetadata: {name: a}\nspec: {fail‸over: fast}\n": "sooner, and wrong more often",
	} {
		text, place := at(modeline(t, "schema.json")+text, "")
		place["textDocument"] = map[string]any{"uri": s.open("web.yaml", text)}
		var got struct{ Contents struct{ Value string } }
		s.call("textDocument/hover", place, &got)
		if !strings.Contains(got.Contents.Value, want) {
			t.Errorf("%s\nno %q in %q", text, want, got.Contents.Value)
		}
	}
}
