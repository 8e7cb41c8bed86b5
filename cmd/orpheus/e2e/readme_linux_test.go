package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/runtime/containerd/containerdtest"
)

// The bounds that a newcomer is promised.
const (
	newcomerCommands = 6
	newcomerTime     = 10 * time.Minute
)

// TestReadme does what README.md says, on a laptop of its own: once with the
// Compose file that stands there, once with another one. Nothing of the second
// was ever shown to anybody: three services, a volume, a health check, networks.
func TestReadme(t *testing.T) {
	if why := containerdtest.Missing(); why != "" {
		t.Skip(why)
	}
	blocks := readBlocks(t, "README.md")
	w := newWorld(t)
	w.image(t, "adminer:5", "8080", "")
	w.image(t, "redis:8-alpine", "6379", "")
	w.image(t, "postgres:17-alpine", "5432", "/var/lib/postgresql/data")
	w.image(t, "nginx:1.29-alpine", "80", "")
	w.image(t, "tea/shop:3", "9000", "")
	w.image(t, "tea/stock:7", "7000", "")
	w.image(t, "tea/ledger:2", "6000", "/data")
	for _, row := range []struct {
		name string
		own  string // "" = the file that the README has
	}{
		{"as it stands", ""},
		{"own Compose file", ownCompose},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := w.folder(t, "shop")
			t.Cleanup(func() { os.RemoveAll(dir) })
			s := newcomer(t, w, dir, row.own)
			blocks := blocks
			if row.own != "" {
				blocks = firstSection(t, blocks)
			}
			began := time.Now()
			there, rest := untilItRuns(t, blocks)
			s.play(there)
			took := time.Since(began).Round(time.Second)
			if row.own != "" {
				t.Logf("a newcomer's services run after %d commands and %s", s.typed, took)
				if s.typed > newcomerCommands || took > newcomerTime {
					t.Errorf("%d commands and %s are promised", newcomerCommands, newcomerTime)
				}
				s.keepsItsData()
			}
			s.play(rest)
		})
	}
}

// ownCompose is a file of somebody who has read nothing of this.
const ownCompose = `name: tea-house
x-limits: &limits
  deploy:
    resources:
      limits: {memory: 128M}
services:
  shop:
    <<: *limits
    image: tea/shop:3
    ports:
      - "8080:9000"
    environment:
      - STOCK_URL=http://stock:7000
      - LEDGER_URL=http://ledger:6000
    depends_on:
      ledger:
        condition: service_healthy
      stock:
        condition: service_started
    networks: [front, back]
    restart: unless-stopped
  stock:
    <<: *limits
    image: tea/stock:7
    networks: [back]
    restart: always
  ledger:
    image: tea/ledger:2
    volumes:
      - ledger-data:/data
    healthcheck:
      test: ["CMD", "/payload", "get", "http://127.0.0.1:6000/healthz"]
      interval: 2s
      timeout: 5s
      retries: 10
    networks: [back]
networks:
  front:
  back:
volumes:
  ledger-data:
`

// newcomer is a person with a laptop, in a folder with a Compose file.
func newcomer(t *testing.T, w *world, dir, own string) *stage {
	t.Helper()
	laptop := w.laptop(t, dir, w.hosts(t, nil))
	top, err := filepath.Abs(repositoryTop)
	if err != nil {
		t.Fatal(err)
	}
	source := *laptop
	source.name, source.dir = "the source", top
	s := &stage{t: t, state: w.folder(t, "state"), sites: map[string][]*site{"the source": {&source}, "the laptop": {laptop}}}
	s.words = map[string]func(*site) string{"the address of node-1": func(*site) string { return s.localFleet(laptop)[0].host() }}
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := s.run(laptop, "orpheus dev status; for n in 1 2 3; do orpheus dev logs node-$n -n 40; done")
			t.Logf("in the end:\n%s", out)
		}
		_, _ = s.run(laptop, "orpheus dev down") // it is down already, unless something failed
	})
	if own != "" {
		if err := os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(own), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// firstSection is what the README says up to "dev down", but for the Compose
// file, which is the newcomer's own.
func firstSection(t *testing.T, all []block) []block {
	t.Helper()
	var first []block
	for _, b := range all {
		if b.write == "" {
			first = append(first, b)
		}
		if strings.Contains(b.text, "dev down") {
			return first
		}
	}
	t.Fatal("the README says nowhere how a local fleet is ended")
	return nil
}

// untilItRuns parts the blocks behind the one by which the newcomer sees that it
// runs.
func untilItRuns(t *testing.T, blocks []block) (there, rest []block) {
	t.Helper()
	for k, b := range blocks {
		if strings.Contains(b.text, "curl ") {
			return blocks[:k+1], blocks[k+1:]
		}
	}
	t.Fatal("the README says nowhere how one sees that it runs")
	return nil, nil
}

// keepsItsData asks the services of ownCompose through each other, kills the node that
// has the volume, and demands the same journal afterwards.
func (s *stage) keepsItsData() {
	s.t.Helper()
	laptop := s.sites["the laptop"][0]
	nodes := s.localFleet(laptop)
	for _, peer := range []string{"http://stock:7000/", "http://ledger:6000/"} {
		s.awaits(laptop, "shop reaches "+peer, fmt.Sprintf("curl -sf 'http://%s:8080/fetch?url=%s'", nodes[0].host(), peer), `"errors":{}`)
	}
	journal := fmt.Sprintf("curl -sf 'http://%s:8080/fetch?url=http://ledger:6000/file?path=/data/journal'", nodes[0].host())
	before := s.awaits(laptop, "the ledger has a journal", journal, "begin")
	first := beginnings(s.t, before)
	holder := s.nodeOf(laptop, nodes, "ledger")
	for _, command := range []string{"orpheus dev kill " + holder, "orpheus dev start " + holder} {
		if out, err := s.run(laptop, command); err != nil {
			s.t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
	for deadline := time.Now().Add(4 * patience); ; time.Sleep(500 * time.Millisecond) {
		out, err := s.run(laptop, journal)
		if err == nil {
			if now := beginnings(s.t, out); len(now) > len(first) && now[0] == first[0] {
				return
			}
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the journal began with %q, and after the node was switched off and on it is %v\n%s", first[0], err, out)
		}
	}
}

// beginnings are the lines of a journal as /fetch gives it.
func beginnings(t *testing.T, out string) []string {
	t.Helper()
	var got struct {
		Last string `json:"last"`
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		return nil
	}
	var all []string
	for line := range strings.Lines(got.Last) {
		if strings.Contains(line, " begin ") {
			all = append(all, strings.TrimSpace(line))
		}
	}
	return all
}

// nodeOf finds the node that runs a service.
func (s *stage) nodeOf(at *site, nodes []localNode, service string) string {
	s.t.Helper()
	for _, n := range nodes {
		out, err := s.run(at, "orpheus status -o json --socket "+n.Socket)
		if err != nil {
			s.t.Fatalf("status of %s: %v\n%s", n.Name, err, out)
		}
		var st struct {
			Services []struct {
				Name      string            `json:"name"`
				Instances []json.RawMessage `json:"instances"`
			} `json:"services"`
		}
		if err := json.Unmarshal([]byte(out), &st); err != nil {
			s.t.Fatal(err)
		}
		for _, one := range st.Services {
			if one.Name == service && len(one.Instances) > 0 {
				return n.Name
			}
		}
	}
	s.t.Fatalf("no node runs %s", service)
	return ""
}

// awaits runs a command until it succeeds and has printed all of some texts.
func (s *stage) awaits(at *site, what, command string, texts ...string) (out string) {
	s.t.Helper()
	for deadline := time.Now().Add(4 * patience); ; time.Sleep(500 * time.Millisecond) {
		out, err := s.run(at, command)
		if err == nil && containsAll(out, texts...) {
			return out
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s: %s: %v\n%s", what, command, err, out)
		}
	}
}
