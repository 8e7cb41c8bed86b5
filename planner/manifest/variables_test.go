package manifest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/orpheus-cd/orpheus/planner"
)

// withVariables is a fleet of one service with variables.
func withVariables(variables, spec string) map[string]string {
	return map[string]string{"fleet.yaml": fleetWith("variables: " + variables), "web.yaml": patchOf("web", spec), "good.yaml": manifestOf("good", "w:1")}
}

// A service with variables is what it would be if their values stood there.
func TestVariables(t *testing.T) {
	rows := []struct{ name, variables, spec, written string }{
		{"text", `{tag: "1.2"}`, `{image: "web:${tag}"}`, `{image: "web:1.2"}`},
		{"all of a text", `{image: "web:1.2"}`, `{image: "${image}"}`, `{image: "web:1.2"}`},
		{"a number", `{n: 3}`, `{image: "w:1", replicas: "${n}"}`, `{image: "w:1", replicas: 3}`},
		{"true and false", `{f: true}`, `{image: "w:1", everyNode: "${f}"}`, `{image: "w:1", everyNode: true}`},
		{"an amount", `{m: {type: quantity, value: 256Mi}}`, `{image: "w:1", resources: {limits: {memory: "${m}"}}}`, `{image: "w:1", resources: {limits: {memory: 256Mi}}}`},
		{"an amount in a text", `{m: 256}`, `{image: "w:1", resources: {limits: {memory: "${m}Mi"}}}`, `{image: "w:1", resources: {limits: {memory: 256Mi}}}`},
		{"a number as an amount", `{c: 2}`, `{image: "w:1", resources: {limits: {cpu: "${c}"}}}`, `{image: "w:1", resources: {limits: {cpu: 2}}}`},
		// Nobody can take a value with a type for something else.
		{"a number as text", `{p: 8080, f: true}`, `{image: "w:1", env: [{name: P, value: "${p}"}, {name: F, value: "${f}"}]}`, `{image: "w:1", env: [{name: P, value: "8080"}, {name: F, value: "true"}]}`},
		{"a text like a number", `{a: "no", b: "012"}`, `{image: "w:1", args: ["${a}", "${b}"]}`, `{image: "w:1", args: ["no", "012"]}`},
		{"several in a text", `{a: x, b: 1}`, `{image: "w:1", args: ["${a}${b}-${a}$"]}`, `{image: "w:1", args: ["x1-x$"]}`},
		{"what looks like a variable", `{}`, `{image: "w:1", args: ["$${HOME} $$ $5 $(A) $$${B}", "{}"]}`, `{image: "w:1", args: ["${HOME} $$ $5 $(A) $${B}", "{}"]}`},
		{"a value is not read again", `{a: "$${b}", b: x}`, `{image: "w:1", args: ["${a}"]}`, `{image: "w:1", args: ["${b}"]}`},
		{"variables of variables", `{host: "${name}.example.com", name: web, url: "https://${host}/"}`, `{image: "w:1", args: ["${url}"]}`, `{image: "w:1", args: ["https://web.example.com/"]}`},
		{"a number from a number", `{a: {type: int, value: "${b}"}, b: 3}`, `{image: "w:1", replicas: "${a}"}`, `{image: "w:1", replicas: 3}`},
		{"an amount from a text", `{a: {type: quantity, value: "${b}Mi"}, b: 3}`, `{image: "w:1", resources: {limits: {memory: "${a}"}}}`, `{image: "w:1", resources: {limits: {memory: 3Mi}}}`},
		{"in a label's value", `{a: x}`, `{image: "w:1", nodeSelector: {zone: "${a}"}}`, `{image: "w:1", nodeSelector: {zone: x}}`},
		{"in a block", `{a: x}`, "\n  image: w:1\n  args:\n  - |\n    echo ${a}\n", "\n  image: w:1\n  args: [\"echo x\\n\"]\n"},
		{"no value, not used", `{a: {type: string}}`, `{image: "w:1"}`, `{image: "w:1"}`},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			d := load(t, newTree(withVariables(row.variables, row.spec)))
			written := load(t, newTree(map[string]string{"fleet.yaml": goodFleet, "web.yaml": patchOf("web", row.written)}))
			got, want := named(t, d, "web"), named(t, written, "web")
			got.Line = want.Line
			if got.Revision != want.Revision || got.Replicas != want.Replicas || got.EveryNode != want.EveryNode || fmt.Sprint(got.NodeSelector) != fmt.Sprint(want.NodeSelector) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

// A fault names the place of the value, and the variable it was made with.
func TestVariableFaults(t *testing.T) {
	rows := []struct{ name, variables, spec, want string }{
		{"not defined", `{tag: a, host: b}`, `{image: "web:${tga}"}`, `web.yaml:4:15: spec.image: variable "tga" is not defined; did you mean tag? (defined are host, tag)`},
		{"none defined", `{}`, `{image: "${x}"}`, `web.yaml:4:15: spec.image: variable "x" is not defined; define it in spec.variables of fleet.yaml, or write $${ for the text ${ (none is defined)`},
		{"no value", `{tag: {type: string}}`, `{image: "${tag}"}`, `web.yaml:4:15: spec.image: variable tag has no value: fleet.yaml line 5 gives only its type; give it one in spec.variables of fleet.yaml`},
		{"shell", `{}`, `{image: "w:1", args: ["${HOME:-x}"]}`, `web.yaml:4:29: spec.args[0]: "${HOME:-x}" begins like a variable and is none; write ${NAME}, or $${ for the text ${`},
		{"not closed", `{}`, `{image: "w:1", args: ["a ${b"]}`, `web.yaml:4:29: spec.args[0]: "${b" begins like a variable and is none; write ${NAME}, or $${ for the text ${`},
		{"out of range", `{n: 100000}`, `{image: "w:1", replicas: "${n}"}`, `web.yaml:4:32: spec.replicas: 100000 is out of range (with ${n} of fleet.yaml:5); write a number from 0 to 1000`},
		{"text for a number", `{n: "3"}`, `{image: "w:1", replicas: "${n}"}`, `web.yaml:4:32: spec.replicas: must be a number, not text (with ${n} of fleet.yaml:5); write 3 without quotes`},
		{"a number for a truth", `{n: 3}`, `{image: "w:1", everyNode: "${n}"}`, `web.yaml:4:33: spec.everyNode: must be true or false, not "3" (with ${n} of fleet.yaml:5); write true or false`},
		{"an evil image", `{a: A, b: B, c: C, d: "${e}", e: E}`, `{image: "${a}${b}${c}${d}:"}`, `(with ${a} of fleet.yaml:5, ${b} of fleet.yaml:5, ${c} of fleet.yaml:5, ${d} of fleet.yaml:5, others)`},
		{"a control character", `{a: "\x01"}`, ``, `fleet.yaml:5:18: spec.variables.a: "\x01" has a control character`},
		{"in a key", `{a: x}`, `{image: "w:1", nodeSelector: {"${a}": x}}`, `key "${a}" must be of letters`},
		{"in a name", `{a: x}`, "", ``},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			files := withVariables(row.variables, row.spec)
			if row.name == "in a name" {
				files["web.yaml"] = "apiVersion: orpheus/v1\nkind: Service\nmetadata: {name: \"${a}\"}\nspec: {image: \"w:1\"}\n"
				row.want = "web.yaml:3:18: metadata.name: cannot have variables: it says what the document is about; write it out"
			}
			d, err := NewLoader(Limits{}).Load(context.Background(), newTree(files), ".", planner.Commit{})
			var refused *RefusedError
			if errors.As(err, &refused) {
				d.Faults = refused.Faults
			} else if err != nil || len(d.Services) != 1 {
				t.Errorf("%d services, %v", len(d.Services), err)
			}
			if got := lines(d.Faults); !strings.Contains(got, row.want) || len(d.Faults) != 1 {
				t.Errorf("faults:\n%s\nwant %s", got, row.want)
			}
		})
	}
}

// What is wrong with a variable itself refuses the commit.
func TestVariableDeclarations(t *testing.T) {
	rows := []struct{ name, base, prod, want string }{
		{"no map", ``, `[a]`, "must be an object, not a list"},
		{"a bad name", ``, `{1a: x}`, `"1a" is no name of a variable`},
		{"a dotted name", ``, `{a.b: x}`, `"a.b" is no name of a variable`},
		{"a list", ``, `{a: [x]}`, "must be text, a number, true or false, not a list"},
		{"nothing", ``, `{a: }`, "must be text, a number, true or false, not empty"},
		{"an unknown type", ``, `{a: {type: number, value: 3}}`, `"number" is not known here`},
		{"no type", ``, `{a: {value: 3}}`, "spec.variables.a.type: is required"},
		{"a default", ``, `{a: {type: int, default: 3}}`, "write it as value"},
		{"a fraction", ``, `{a: 0.5}`, `write "0.5" in quotes`},
		{"a trap", ``, `{a: no}`, `write "no" in quotes`},
		{"octal", ``, `{a: 012}`, "plain decimal digits"},
		{"a huge number", ``, `{a: 99999999999999999999}`, "unquoted reads as a number"},
		{"text for int", ``, `{a: {type: int, value: x}}`, `must be a whole number, not "x"`},
		{"int for text", ``, `{a: {type: string, value: 3}}`, `write "3" in quotes`},
		{"not an amount", ``, `{a: {type: quantity, value: lots}}`, `"lots" is not an amount`},
		{"another type by its value", `{a: 3}`, `{a: "3"}`, "envs/prod/fleet.yaml:6:18: spec.variables.a: must be a number, not text; write 3 without quotes"},
		{"another type by its word", `{a: 3}`, `{a: {type: string, value: x}}`, "variable a is of type int in base/fleet.yaml line 5; keep its type, or change it there"},
		{"not defined", ``, `{a: "${b}"}`, `spec.variables.a: variable "b" is not defined`},
		{"not closed", ``, `{a: "${b"}`, "begins like a variable and is none"},
		{"a number from a text", ``, `{a: {type: int, value: "${b}"}, b: x}`, "is of type string, not int; write a value of type int"},
		{"a number from a number in text", ``, `{a: {type: int, value: "${b}0"}, b: 1}`, "is of type string, not int"},
		{"a long value", ``, `{a: "` + strings.Repeat("x", 20_000) + `", b: "${a}${a}"}`, "is longer than 32768 bytes with the variables it uses"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			files := overlay(map[string]string{"envs/prod/fleet.yaml": fleetWith("base: ../../base", "variables: "+row.prod)})
			if row.base != "" {
				files["base/fleet.yaml"] = fleetWith("variables: " + row.base)
			}
			_, err := NewLoader(Limits{}).Load(context.Background(), newTree(files), "envs/prod", planner.Commit{})
			var refused *RefusedError
			if !errors.As(err, &refused) || !strings.Contains(lines(refused.Faults), row.want) {
				t.Errorf("error %v, want a refusal with %q", err, row.want)
			}
		})
	}
}

// An environment gives the base's variables other values, of the same types.
func TestVariablesOfEnvironments(t *testing.T) {
	files := map[string]string{
		"base/fleet.yaml":         fleetWith("variables:", "  tag: {type: string}", "  replicas: 1", "  host: web.${domain}", "  domain: example.com"),
		"base/web.yaml":           patchOf("web", `{image: "web:${tag}", replicas: "${replicas}", env: [{name: HOST, value: "${host}"}]}`),
		"base/api.yaml":           patchOf("api", `{image: "api:1"}`),
		"envs/prod/fleet.yaml":    fleetWith("base: ../../base", "variables: {tag: \"1.0\", replicas: 5}"),
		"envs/staging/fleet.yaml": fleetWith("base: ../../base", "variables: {tag: \"1.1\", domain: staging.example.com}"),
	}
	root := newTree(files)
	prod := loadWith(t, NewLoader(Limits{}), root, "envs/prod")
	staging := loadWith(t, NewLoader(Limits{}), root, "envs/staging")
	show := func(d planner.Desired) string {
		s := named(t, d, "web")
		return fmt.Sprint(s.Template.Containers[0].Image, s.Replicas, s.Template.Containers[0].Env[0].Value)
	}
	if got := show(prod) + " " + show(staging); got != "web:1.05web.example.com web:1.11web.staging.example.com" {
		t.Error(got)
	}
	if named(t, prod, "api").Revision != named(t, staging, "api").Revision {
		t.Error("api uses no variable and differs")
	}
	// Its type said once more is no value.
	root.put("envs/prod/fleet.yaml", fleetWith("base: ../../base", "variables: {tag: \"1.0\", replicas: {type: int}}"))
	if got := show(loadWith(t, NewLoader(Limits{}), root, "envs/prod")); got != "web:1.01web.example.com" {
		t.Error(got)
	}
	// The base is a fleet too, but for the variable that it gives no value.
	base := loadWith(t, NewLoader(Limits{}), root, "base")
	if want := "base/web.yaml:4:15: spec.image: variable tag has no value: base/fleet.yaml line 6 gives only its type; give it one in spec.variables of base/fleet.yaml\n"; lines(base.Faults) != want {
		t.Errorf("faults:\n%s", lines(base.Faults))
	}
}

// Attack case 19: variables that use themselves, or each other without end, or
// grow without end, are refused before they cost anything.
func TestAttack19Variables(t *testing.T) {
	var growing []string
	for i := range 200 {
		growing = append(growing, fmt.Sprintf("v%03d: \"${v%03d}${v%03d}\"", i, i+1, i+1))
	}
	long := make([]string, 256)
	for i := range long {
		long[i] = fmt.Sprintf("v%03d: \"${v%03d}\"", i, i+1)
	}
	long[255] = "v255: end"
	many := make([]string, 257)
	for i := range many {
		many[i] = fmt.Sprintf("v%03d: x", i)
	}
	join := func(l []string) string { return "{" + strings.Join(l, ", ") + "}" }
	rows := []struct{ name, variables, want string }{
		{"itself", `{a: "${a}"}`, "the variable uses itself: a, which uses a"},
		{"a circle", `{a: "${b}", b: "${c}", c: "x${a}"}`, "the variable uses itself: a, which uses b, which uses c, which uses a"},
		{"a circle beside", `{x: "${a}", a: "${b}", b: "${a}"}`, "the variable uses itself: a, which uses b, which uses a"},
		{"growth", join(append(growing, "v200: "+strings.Repeat("x", 100))), "is longer than 32768 bytes with the variables it uses"},
		{"many", join(many), "has 257 entries, more than the limit of 256"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			start := time.Now()
			refusedLoad(t, newTree(withVariables(row.variables, `{image: "w:1"}`)), Limits{}, row.want)
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("took %s", d)
			}
		})
	}
	// A chain as long as there are variables is none of these.
	d := load(t, newTree(withVariables(join(long), `{image: "w:1", args: ["${v000}"]}`)))
	if got := named(t, d, "web").Template.Containers[0].Args[0]; got != "end" {
		t.Errorf("%q; faults:\n%s", got, lines(d.Faults))
	}
}

// Attack case 19 again: small manifests that would be large with their
// variables, each by itself or all together.
func TestAttack19Expansion(t *testing.T) {
	big := `{big: "` + strings.Repeat("x", 30_000) + `"}`
	args := func(n int) string {
		return `{image: "w:1", args: [` + strings.TrimSuffix(strings.Repeat(`"${big}", `, n), ", ") + `]}`
	}
	d := load(t, newTree(withVariables(big, args(1000))))
	if got := lines(d.Faults); len(d.Services) != 1 || !strings.Contains(got, "has more than 256 KiB with all its parts and variables") {
		t.Errorf("%d services; faults:\n%s", len(d.Services), got)
	}
	d = load(t, newTree(withVariables(big, `{image: "w:1", args: ["${big}${big}"]}`)))
	if got := lines(d.Faults); len(d.Services) != 1 || !strings.Contains(got, "is longer than 32768 bytes with its variables") {
		t.Errorf("%d services; faults:\n%s", len(d.Services), got)
	}
	files := withVariables(big, args(1))
	for i := range 50 {
		files[fmt.Sprintf("s%d.yaml", i)] = patchOf(fmt.Sprintf("s%d", i), args(5))
	}
	refusedLoad(t, newTree(files), Limits{TotalBytes: 1 << 20}, "with their variables together have more than 1048576 bytes")
}

// FuzzExpand: any text splits into pieces or is refused, escaping keeps it as
// it is, and what it is made of is what is put in.
func FuzzExpand(f *testing.F) {
	for _, s := range []string{"", "$", "${a}", "$${a}", "$$${a}", "${", "x${a}y${b-c}$", "${a${b}}", "${}", "\xff${a}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		escaped := strings.ReplaceAll(s, "${", "$${")
		if pieces, stray := split(escaped); stray != "" || len(pieces) > 1 || len(pieces) == 1 && (pieces[0].reference || pieces[0].text != s) || len(pieces) == 0 && s != "" {
			t.Errorf("%q escaped is %v, %q", s, pieces, stray)
		}
		pieces, stray := split(s)
		if stray != "" {
			if !strings.HasPrefix(stray, "${") || !strings.HasSuffix(s, stray) {
				t.Errorf("stray %q of %q", stray, s)
			}
			return
		}
		back := ""
		for _, p := range pieces {
			if p.reference {
				if !variableName.MatchString(p.text) {
					t.Errorf("variable %q", p.text)
				}
				back += "${" + p.text + "}"
			} else {
				back += strings.ReplaceAll(p.text, "${", "$${")
			}
		}
		if again, _ := split(back); fmt.Sprint(again) != fmt.Sprint(pieces) {
			t.Errorf("%q gave %v, written back %v", s, pieces, again)
		}
	})
}

// FuzzLayers reads any bytes as a base, an overlay and the variables of a
// fleet: no panic, the same result twice, faults that people can be shown, and
// nothing from a broken file.
func FuzzLayers(f *testing.F) {
	f.Add(`{tag: "1"}`, patchOf("web", `{image: "web:${tag}"}`), patchOf("web", `{replicas: 2, $patch: replace}`))
	f.Add(`{a: {type: int}}`, patchOf("good", `{replicas: "${a}"}`), "name: web\n\t")
	f.Add(`{a: "${b}", b: "${a}"}`, "", "\xff")
	f.Fuzz(func(t *testing.T, variables, base, patch string) {
		root := newTree(map[string]string{"base/x.yaml": base, "base/good.yaml": manifestOf("good", "w:1"),
			"prod/fleet.yaml": goodFleet + "spec:\n  base: ../base\n  variables: " + variables + "\n", "prod/x.yaml": patch, "prod/other.yaml": manifestOf("other", "w:1")})
		l := NewLoader(Limits{})
		first, err := l.Load(context.Background(), root, "prod", planner.Commit{})
		again, errAgain := l.Load(context.Background(), root, "prod", planner.Commit{})
		fresh, errFresh := NewLoader(Limits{}).Load(context.Background(), root, "prod", planner.Commit{})
		if a := fmt.Sprintf("%+v %v", first, err); a != fmt.Sprintf("%+v %v", again, errAgain) || a != fmt.Sprintf("%+v %v", fresh, errFresh) {
			t.Error("read twice, different results")
		}
		faults := first.Faults
		var refused *RefusedError
		if errors.As(err, &refused) {
			faults = refused.Faults
		}
		bad := map[string]bool{}
		for _, fault := range faults {
			s := fault.String()
			if fault.Line < 1 || fault.File == "" || fault.Reason == "" || !utf8.ValidString(s) || s != Printable(s) {
				t.Errorf("fault %q of line %d", s, fault.Line)
			}
			bad[fault.File] = bad[fault.File] || !fault.Warning
		}
		for id, s := range first.Services {
			if bad[s.File] || s.ID != id || s.Revision == "" || s.Line < 1 {
				t.Errorf("service %+v", s)
			}
		}
	})
}
