package kubernetes

import "testing"

// Amounts mean what they mean to Kubernetes, in a form that manifests have.
func TestAmounts(t *testing.T) {
	for text, want := range map[string]struct{ cores, bytes string }{
		"100m":            {"100m", "1Mi"}, // a tenth of a byte
		"0.5":             {"0.5", "1Mi"},
		"2":               {"2", "1Mi"},
		"0":               {"0", "0"},
		"1e3":             {"1000000m", "1Mi"},
		"2E-1":            {"200m", "1Mi"},
		"+1":              {"1000m", "1Mi"},
		"100u":            {"1m", "1Mi"}, // rounded up
		"1500000n":        {"2m", "1Mi"},
		"0.0005":          {"1m", "1Mi"},
		".5":              {"500m", "1Mi"},
		"5.":              {"5000m", "1Mi"},
		"123Ki":           {"123Ki", "1Mi"},
		"1.5Gi":           {"1.5Gi", "1.5Gi"},
		"128974848":       {"128974848", "128974848"},
		"128974848000m":   {"128974848000m", "128974848000m"},
		"128974848001m":   {"128974848001m", "128974849"},
		"129e6":           {"129000000000m", "129000000"},
		"1Ei":             {"1Ei", "1Ei"},
		"":                {"", ""},
		"-1":              {"-1", "-1"}, // for package manifest to refuse
		"1e999999999":     {"1e999999999", "1e999999999"},
		"1_000":           {"1_000", "1_000"},
		"lots":            {"lots", "lots"},
		"1e3m":            {"1e3m", "1e3m"}, // none to Kubernetes either
		"0x10":            {"0x10", "0x10"},
		"100mi":           {"100mi", "100mi"},
		"999999999999999": {"999999999999999", "999999999999999"},
	} {
		c := &converter{unused: map[*resource]bool{}}
		if faults := c.read([]File{{Name: "in", Data: []byte("{apiVersion: v1, kind: X, a: \"" + text + "\"}")}}); len(faults) > 0 {
			t.Fatal(faults)
		}
		v := c.resources[0].value(c).at("a")
		if got := v.cores(); got != want.cores {
			t.Errorf("%s of CPU is %q, want %q", text, got, want.cores)
		}
		if got := v.bytes(); got != want.bytes {
			t.Errorf("%s of memory is %q, want %q", text, got, want.bytes)
		}
		if raised := want.bytes == "1Mi"; raised != (len(c.notes) > 0) {
			t.Errorf("%s: notes %v", text, c.notes)
		}
	}
}
