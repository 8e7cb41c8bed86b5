package manifest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/orpheus-cd/orpheus/planner"
)

func waits(name, on string) string { return patchOf(name, `{image: "w:1", dependsOn: `+on+`}`) }

func TestDependsOn(t *testing.T) {
	d := load(t, newTree(map[string]string{
		"fleet.yaml": goodFleet,
		"list.yaml":  waits("list", "[shop/db, web]"),
		"map.yaml":   waits("map", "{web: started, shop/db: ready}"),
		"shop.yaml":  "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {image: \"w:1\", dependsOn: [db, default/web]}\n",
		"db.yaml":    "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: db, namespace: shop}\nspec: {image: \"w:1\"}\n",
		"web.yaml":   manifestOf("web", "w:1"),
	}))
	if len(d.Faults) > 0 {
		t.Fatal(lines(d.Faults))
	}
	for id, want := range map[planner.ServiceID]string{
		{Namespace: "default", Name: "list"}: "[{web } {shop/db }]",
		{Namespace: "default", Name: "map"}:  "[{web started} {shop/db }]",
		{Namespace: "shop", Name: "web"}:     "[{web } {shop/db }]",
		{Namespace: "default", Name: "web"}:  "[]",
	} {
		if got := fmt.Sprint(d.Services[id].DependsOn); got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
	}
}

// What is wrong with a service does not hide that it depends on nobody: a person
// gets to hear of both at once.
func TestUnknownDependencyBesideAFault(t *testing.T) {
	for name, web := range map[string]string{
		"another field":     patchOf("web", `{image: "w:1", replicas: -1, dependsOn: [db]}`),
		"itself":            waits("web", "[web, db]"),
		"a file not there":  patchOf("web", `{image: "w:1", dependsOn: [db], volumes: [{file: "nowhere.conf", mountPath: /c}]}`),
		"a document beside": waits("web", "[db]") + "---\n" + patchOf("other", `{image: "w:1", replicas: -1}`),
		"two of them":       patchOf("web", `{image: "w:1", replicas: -1, dependsOn: [db, other]}`),
	} {
		plain, layered := bothWays(t, newTree(map[string]string{"fleet.yaml": goodFleet, "web.yaml": web, "x.yaml": manifestOf("x", "w:1")}), ".")
		for _, d := range []planner.Desired{plain, layered} {
			missing := slices.DeleteFunc(slices.Clone(d.Faults), func(f planner.Fault) bool { return f.Reason != "there is no service db" || f.File != "web.yaml" })
			if len(missing) != 1 || len(d.Faults) < 2 || len(d.Services) != 1 {
				t.Errorf("%s: %s%v", name, lines(d.Faults), d.Services)
			}
		}
	}
}

// A name that nobody has is a fault of who depends on it, unless a file in which
// something is wrong may have it.
func TestUnknownDependencies(t *testing.T) {
	rows := []struct {
		name  string
		files map[string]string
		want  string // faults of web.yaml; "" = none
	}{
		{"there is none", nil, "web.yaml:4:34: spec.dependsOn[0]: there is no service db; name one of this fleet's, as NAME or NAMESPACE/NAME, or remove it\n"},
		{"a similar one", map[string]string{"x.yaml": manifestOf("dbs", "w:1")}, "did you mean"},
		{"in another namespace", map[string]string{"x.yaml": "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: db, namespace: shop}\nspec: {image: \"w:1\"}\n"}, "did you mean shop/db?"},
		{"one with a fault", map[string]string{"x.yaml": patchOf("db", `{image: "w:1", replicas: -1}`)}, ""},
		{"another has a fault", map[string]string{"x.yaml": patchOf("other", `{image: "w:1", replicas: -1}`)}, "there is no service db"},
		{"one without its file", map[string]string{"x.yaml": mounting("db", "nowhere.conf")}, ""},
		{"one beside a fault", map[string]string{"x.yaml": manifestOf("db", "w:1") + "---\n" + patchOf("other", `{image: "w:1", replicas: -1}`)}, ""},
		{"one that is there twice", map[string]string{"x.yaml": manifestOf("db", "w:1"), "y.yaml": manifestOf("db", "w:2")}, ""},
		{"one that depends on nobody", map[string]string{"x.yaml": waits("db", "[nobody]")}, ""},
		{"one without spec", map[string]string{"x.yaml": "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: db}\n"}, ""},
		{"a file that is torn", map[string]string{"x.yaml": "a: [\n"}, ""},
		{"a file without a name", map[string]string{"x.yaml": "apiVersion: orpheus/v1\nkind: Service\nmetadata: {}\nspec: {image: \"w:1\"}\n"}, ""},
		{"a name that is none", map[string]string{"x.yaml": manifestOf("DB", "w:1")}, ""},
		{"a namespace that is none", map[string]string{"x.yaml": "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: db, namespace: A_B}\nspec: {image: \"w:1\"}\n"}, ""},
		{"a file of another program", map[string]string{"x.yaml": "a: b\n"}, ""},
		{"a name that looks like a manifest's", map[string]string{"x.YAML": manifestOf("db", "w:1")}, ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			files := map[string]string{"fleet.yaml": goodFleet, "web.yaml": waits("web", "[db]")}
			for name, text := range row.files {
				files[name] = text
			}
			plain, layered := bothWays(t, newTree(files), ".")
			for _, d := range []planner.Desired{plain, layered} {
				var told []planner.Fault
				for _, f := range d.Faults {
					if f.File == "web.yaml" {
						told = append(told, f)
					}
				}
				_, runs := d.Services[planner.ServiceID{Namespace: "default", Name: "web"}]
				if got := lines(told); !strings.Contains(got, row.want) || (row.want == "") != (got == "") || runs != (got == "") {
					t.Errorf("web is there: %v; faults:\n%s", runs, lines(d.Faults))
				}
			}
		})
	}
}

// A circle is told in each of its files, whole, and holds back nothing else.
func TestCircles(t *testing.T) {
	files := map[string]string{
		"fleet.yaml": goodFleet,
		"a.yaml":     waits("a", "[b]"),
		"b.yaml":     waits("b", "{c: started, free: ready}"),
		"c.yaml":     waits("c", "[a]"),
		"d.yaml":     waits("d", "[a]"), // waits for the circle, is not in it
		"e.yaml":     waits("e", "[f]"),
		"f.yaml":     waits("f", "[e, a]"),
		"free.yaml":  manifestOf("free", "w:1"),
	}
	want := `a.yaml:4:34: spec.dependsOn[0]: closes a circle: a waits for b waits for c waits for a, and none would ever start; remove one of the dependencies
b.yaml:4:34: spec.dependsOn["c"]: closes a circle: b waits for c waits for a waits for b, and none would ever start; remove one of the dependencies
c.yaml:4:34: spec.dependsOn[0]: closes a circle: c waits for a waits for b waits for c, and none would ever start; remove one of the dependencies
e.yaml:4:34: spec.dependsOn[0]: closes a circle: e waits for f waits for e, and none would ever start; remove one of the dependencies
f.yaml:4:34: spec.dependsOn[0]: closes a circle: f waits for e waits for f, and none would ever start; remove one of the dependencies
`
	plain, layered := bothWays(t, newTree(files), ".")
	for _, d := range []planner.Desired{plain, layered} {
		if got := lines(d.Faults); got != want || serviceNames(d) != "d free" {
			t.Errorf("services %s, faults:\n%s", serviceNames(d), got)
		}
	}
}

// A circle that an environment closes is told where each dependency is written.
func TestCircleOfAnOverlay(t *testing.T) {
	d := loadProd(t, overlay(map[string]string{
		"base/api.yaml":      waits("api", "[web]"),
		"envs/prod/web.yaml": patchOf("web", `{dependsOn: [api]}`),
	}))
	want := `base/api.yaml:4:34: spec.dependsOn[0]: closes a circle: api waits for web waits for api, and none would ever start; remove one of the dependencies
envs/prod/web.yaml:4:20: spec.dependsOn[0]: closes a circle: web waits for api waits for web, and none would ever start; remove one of the dependencies
`
	if got := lines(d.Faults); got != want || len(d.Services) != 0 {
		t.Errorf("%d services, faults:\n%s", len(d.Services), got)
	}
	// A service that an environment deletes is none.
	d = loadProd(t, overlay(map[string]string{
		"envs/prod/api.yaml": "$patch: delete\n" + patchOf("api", "{}"),
		"envs/prod/web.yaml": patchOf("web", `{dependsOn: [api]}`),
	}))
	if len(d.Faults) != 1 || d.Faults[0].File != "envs/prod/web.yaml" || d.Faults[0].Reason != "there is no service api" {
		t.Errorf("faults:\n%s", lines(d.Faults))
	}
}

// graph compares services 0..n-1 that depend on each other.
func graph(n int, on func(i int) []int) ([]planner.Fault, map[string]bool) {
	id := func(i int) planner.ServiceID {
		return planner.ServiceID{Namespace: "default", Name: fmt.Sprintf("s%06d", i)}
	}
	services := make([]placedService, n)
	for i := range services {
		s := &service{at: position{line: 1}}
		s.ID = id(i)
		for _, to := range on(i) {
			s.DependsOn = append(s.DependsOn, planner.Dependency{Service: id(to)})
			s.depends = append(s.depends, place{"spec.dependsOn", position{line: 1}})
		}
		services[i] = placedService{s, s.ID.Name, nil}
	}
	c := &crossCheck{walker: &walker{}, held: map[string]bool{}}
	c.dependencies(services, unseen{})
	return c.faults, c.held
}

// Just those services are held back that can reach themselves, each names a
// circle of its own, and the order of files means nothing.
func TestCirclesOfRandomGraphs(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 6))
		n := 2 + r.IntN(12)
		edges := make([][]int, n)
		for i := range edges {
			for range r.IntN(3) {
				if to := r.IntN(n); to != i {
					edges[i] = append(edges[i], to)
				}
			}
		}
		reach := make([][]bool, n)
		for i := range reach {
			reach[i] = make([]bool, n)
			for _, to := range edges[i] {
				reach[i][to] = true
			}
		}
		for k := range n {
			for i := range n {
				for j := range n {
					reach[i][j] = reach[i][j] || reach[i][k] && reach[k][j]
				}
			}
		}
		faults, held := graph(n, func(i int) []int { return edges[i] })
		for i := range n {
			if name := fmt.Sprintf("s%06d", i); held[name] != reach[i][i] {
				t.Errorf("seed %d: %s is held: %v, in a circle: %v", seed, name, held[name], reach[i][i])
			}
		}
		for _, f := range faults {
			if !strings.HasPrefix(f.Reason, "closes a circle: "+f.File+" waits for ") || !strings.HasSuffix(f.Reason, " waits for "+f.File+", and none would ever start") {
				t.Errorf("seed %d: %s", seed, f)
			}
		}
	}
}

// However services depend on each other, the time and what is said are bounded.
func TestAttack24Circles(t *testing.T) {
	const n = 30_000
	rows := []struct {
		name string
		on   func(i int) []int
		held int
	}{
		{"a chain", func(i int) []int {
			if i == n-1 {
				return nil
			}
			return []int{i + 1}
		}, 0},
		{"one circle", func(i int) []int { return []int{(i + 1) % n} }, n},
		{"circles without end", func(i int) []int { return []int{(i + 1) % n, (i*7 + 3) % n, (i*i + 1) % n, (i + n/2) % n} }, -1},
		{"a clique", func(i int) []int {
			var all []int
			for k := range maxDepends {
				all = append(all, (i+k*k+1)%n)
			}
			return all
		}, n},
		{"nobody", func(i int) []int { return []int{n + i, n + i + 1, n + i + 2} }, n},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			begin := time.Now()
			faults, held := graph(n, row.on)
			if len(held) != row.held && row.held >= 0 {
				t.Errorf("%d held, want %d", len(held), row.held)
			}
			size := 0
			for _, f := range faults {
				size += len(f.Reason)
			}
			if len(faults) > maxFaults+n || size > n*1024 {
				t.Errorf("%d faults of %d bytes", len(faults), size)
			}
			if took := time.Since(begin); took > time.Minute {
				t.Errorf("took %s", took)
			}
			t.Logf("%d faults, %d held, %s", len(faults), len(held), time.Since(begin))
		})
	}
}
