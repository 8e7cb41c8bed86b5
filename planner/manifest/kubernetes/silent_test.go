package kubernetes

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	yaml "go.yaml.in/yaml/v3"
)

// meaningless are the fields of the samples whose value changes nothing here,
// which docs/convert.md says.
var meaningless = regexp.MustCompile(strings.Join([]string{
	`(^|\.)(apiVersion)$`, // of the same group
	`^(items\[\d+\]\.)?(kind|metadata\.(name|namespace))$`,                                                 // which are read before
	`^(items\[\d+\]\.)?(status\.|metadata\.(creationTimestamp|generation|resourceVersion|uid|finalizers))`, // a server's
	`metadata\.annotations\.(deployment|kubectl)\.kubernetes\.io`,
	`containers\[0\]\.name$`,         // of one alone
	`hostPort$`,                      // with hostNetwork it is containerPort
	`runAsNonRoot$`,                  // beside runAsUser
	`volumeMounts\[\d+\]\.readOnly$`, // of files, which are
	`^spec\.replicas$`,               // beside an autoscaler
	`envFrom\[\d+\]\.prefix$`,        // of what is not there, and noted

	`revisionHistoryLimit$`,
	`^(items\[\d+\]\.)?metadata\.labels`, // of a Service or a ConfigMap
	`clusterIPs`, `appProtocol$`, `immutable$`, `fsGroupChangePolicy$`,
	`terminationMessage(Path|Policy)$`, `podAffinityTerm\.`, `podAntiAffinity.*weight$`,
	`preemptionPolicy$`, `enableServiceLinks$`, `kubernetes\.io/os$`,
	`volumeClaimTemplates\[\d+\]\.metadata\.name$`, `volumes\[\d+\]\.name$`,
}, "|"))

// TestNothingIsLostSilently changes each value of the samples: what comes out
// changes with it, or a note tells of the field.
func TestNothingIsLostSilently(t *testing.T) {
	for name, data := range samples(t) {
		t.Run(name, func(t *testing.T) {
			before := told(readSample(t, name, data).convert())
			total := len(leaves(readSample(t, name, data)))
			for i := range total {
				c := readSample(t, name, data)
				v := leaves(c)[i]
				if left, _ := census(v.n); left == 0 && v.n.null() || !mutate(v.n) {
					continue
				}
				result := c.convert()
				if told(result) != before || meaningless.MatchString(v.path) || isNoted(result, v) {
					continue
				}
				t.Errorf("%s: %s: the value is lost, and nothing is said", v.r, v.path)
			}
		})
	}
}

// TestLineEndings: files of Windows mean the same.
func TestLineEndings(t *testing.T) {
	for name, data := range samples(t) {
		if strings.Contains(string(data), "\r") {
			t.Fatalf("%s has other line endings already", name)
		}
		want := told(readSample(t, name, data).convert())
		if got := told(readSample(t, name, []byte(strings.ReplaceAll(string(data), "\n", "\r\n"))).convert()); got != want {
			t.Errorf("%s: with CRLF it is\n%s\nnot\n%s", name, got, want)
		}
	}
}

// TestEveryFieldIsRead looks at the ticks themselves.
func TestEveryFieldIsRead(t *testing.T) {
	for name, data := range samples(t) {
		c := readSample(t, name, data)
		c.convert()
		for _, r := range c.resources {
			if left, _ := census(r.root); left > 0 {
				t.Errorf("%s: %s has %d values that nobody has read or noted", name, r, left)
			}
		}
	}
}

func isNoted(result Result, v value) bool {
	for _, n := range result.Notes {
		if n.Object == v.r.String() && n.File == v.r.file && (n.Field == v.r.path || strings.HasPrefix(v.path, n.Field)) {
			return true
		}
	}
	return false
}

// leaves are the scalars of all resources, in order.
func leaves(c *converter) []value {
	var all []value
	var add func(v value)
	add = func(v value) {
		if v.n.scalar() {
			all = append(all, v)
		}
		for _, f := range v.fields() {
			add(f)
		}
		for _, i := range v.items() {
			add(i)
		}
	}
	for _, r := range c.resources {
		if r.kind != "" {
			add(r.value(c))
		}
	}
	return all
}

// mutate gives a scalar another value of its type.
func mutate(n *node) bool {
	switch n.tag {
	case "!!str":
		n.text += "x"
	case "!!int":
		n.text += "1"
	case "!!bool":
		n.text = map[string]string{"true": "false", "false": "true"}[n.text]
	default:
		return false
	}
	return true
}

func samples(t *testing.T) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob("testdata/*.in.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	all := map[string][]byte{}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(name), ".in.yaml")] = data
	}
	return all
}

func readSample(t *testing.T, name string, data []byte) *converter {
	t.Helper()
	c := &converter{files: "files", unused: map[*resource]bool{}}
	if faults := c.read([]File{{Name: name, Data: data}}); len(faults) > 0 {
		t.Fatal(faults)
	}
	return c
}

// told is all that a result says.
func told(r Result) string {
	var b strings.Builder
	for _, d := range r.Documents {
		text, err := yaml.Marshal(d.Root)
		fmt.Fprintf(&b, "%s %s %v\n%q\n", d.ID, text, err, d.Contents)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "%s %s\n", n.Object, n.Fault)
	}
	return b.String()
}
