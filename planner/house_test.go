package planner_test

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The house: which room may know which, and what the planner may not touch.
// Read from the source with all build tags, so that a file for another system
// is held to it too.

const module = "github.com/orpheus-cd/orpheus"

// arrows names, for each of our packages, those of ours it may import. All
// arrows point to planner. Not listed are cmd, where everything meets, and
// the packages for tests: see testRoom.
var arrows = map[string][]string{
	"planner":                     {},
	"planner/manifest":            {"planner", "planner/manifest/compose"},
	"planner/manifest/compose":    {"planner", "planner/manifest/draft"},
	"planner/manifest/draft":      {},
	"planner/manifest/kubernetes": {"planner", "planner/manifest/draft"},
	"gitsync":                     {"planner", "gitsync/trust", "gitsync/redact", "gitsync/transport"},
	"gitsync/githubapp":           {"gitsync", "gitsync/redact", "gitsync/transport"},
	"gitsync/redact":              {},
	"gitsync/transport":           {"gitsync/redact"},
	"gitsync/trust":               {"planner"},
	"runtime":                     {"planner"},
	"runtime/containerd":          {"planner", "runtime", "runtime/rlimit", "runtime/containerd/containerinit"},
	"runtime/network":             {"planner", "runtime"},
	"runtime/network/relay":       {"runtime"},
	"runtime/network/resolver":    {},
	"runtime/oom":                 {},
	"runtime/rlimit":              {"planner", "runtime"},
	"runtime/plugin":              {"planner", "runtime", "runtime/oom", "runtime/plugin/pluginpb"},
	"runtime/plugin/pluginpb":     {},
	"runtime/process":             {"planner", "runtime", "runtime/oom", "runtime/rlimit"},
	"runtime/secret":              {"planner", "runtime"},
	"runtime/volume":              {"planner", "runtime"},
	"agent":                       {"planner", "runtime", "gitsync", "gitsync/trust", "agent/api", "agent/event", "agent/fleet", "agent/notify", "agent/peer", "agent/probe", "agent/reach", "runtime/network/resolver"},
	"agent/api":                   {"planner", "runtime", "gitsync", "agent/event"},
	"agent/event":                 {"planner"},
	"agent/fleet":                 {"planner", "gitsync", "gitsync/trust", "agent/event"},
	"agent/notify":                {"planner", "gitsync", "gitsync/redact", "gitsync/transport"},
	"agent/peer":                  {"planner", "gitsync/trust", "agent/fleet"},
	"agent/probe":                 {"planner", "runtime", "gitsync"},
	"agent/reach":                 {"planner", "runtime"},
	"agent/webhook":               {},
	// As other people's drivers are written: nothing else of ours.
	"examples/driver-sandbox": {"planner", "runtime", "runtime/plugin"},
	// What reads people's files lies beside the driver, and is wired in cmd.
	"runtime/containerd/dockerconfig": {"runtime/oom"},
	// What containers execute: nothing else, so that it is small.
	"runtime/containerd/containerinit": {},
	// What people read of manifests: the pages, and what is made of them.
	"docs":                       {},
	"examples/ci":                {},
	"planner/manifest/reference": {"planner/manifest", "docs"},
}

// topLevel is all that may lie at the top of the repository.
var topLevel = []string{
	".ci", ".gitignore", "CHANGELOG.md", "LICENSE", "Makefile", "README.md", "agent", "cmd",
	"docs", "examples", "gitsync", "go.mod", "go.sum", "planner", "runtime",
}

// unclean are the imports with which a function stops being one of values.
var unclean = []string{
	"context", "crypto/rand", "expvar", "io/fs", "io/ioutil", "log", "log/slog", "math/rand",
	"math/rand/v2", "os", "os/exec", "os/signal", "os/user", "path/filepath", "plugin", "runtime",
	"sync", "sync/atomic", "syscall", "testing", "unsafe",
}

// clocks are the functions of package time that read a clock or wait for one.
var clocks = []string{"After", "AfterFunc", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until"}

// overMaps names the functions of planner that go over a map, how often, and
// why its order does not show in what they return.
var overMaps = map[string]struct {
	times int
	why   string
}{
	"newForesight":    {4, "each document, service, hook and node is prepared by itself"},
	"fare":            {1, "each node has its own instances"},
	"decisions":       {1, "each service says what it waits for by itself"},
	"ids":             {1, "sorted before it returns"},
	"looked":          {1, "each node has its own load"},
	"Compare":         {2, "sorted before they are compared"},
	"outcome":         {4, "sorted before they are compared"},
	"leases":          {1, "a sum"},
	"told":            {1, "sorted before they are listed"},
	"approve":         {1, "each service is approved by itself"},
	"CoordinateAlone": {2, "the services are collected, then sorted"},
	"remember":        {1, "each pin is kept or deleted by itself"},
	"Pin":             {1, "each reference is pinned by itself"},
	"Collectable":     {2, "each digest is marked by itself; images are sorted"},
	"Reconcile":       {2, "leases of different services do not meet; actions and waits are sorted, next is a minimum"},
	"index":           {2, "the instances of a slot are sorted afterwards"},
	"TemplateOf":      {1, "a revision has one template"},
	"TakeOn":          {2, "each refusal stands or goes by itself; documents are sorted"},
	"occupy":          {1, "sorted before they are counted"},
	"sum":             {1, "a saturating sum of what is never negative"},
	"inTheWay":        {1, "asks only whether there is any"},
	"RunsHere":        {1, "asks only whether all match"},
	"holdsExclusive":  {1, "asks only whether there is any"},
	"live":            {1, "sorted before it returns"},
	"deleted":         {1, "sorted before one is picked"},
	"newHost":         {1, "each label is taken or not by itself"},
	"unfit":           {1, "sorted before one is named"},
	"surveyBut":       {1, "sorted before they are looked at"},
	"newAllocation":   {1, "the places are taken in order afterwards"},
	"sorted":          {1, "sorted before it returns"},
	"services":        {1, "sorted before they are given places"},
	"Serving":         {1, "each list is sorted by itself"},
	"keysOf":          {1, "sorted before it returns"},
	"encode":          {1, "looks up one key"},
	"down":            {1, "sorted before they are looked at"},
	"documents":       {1, "sorted before it returns"},
	"settleNodes":     {1, "each node is kept by itself"},
	"stillGone":       {1, "each deleted service is kept or forgotten by itself"},
	"missing":         {1, "sorted before it returns"},
	"sortedKeys":      {1, "sorted before it returns"},
	"shardNumbers":    {1, "sorted before it returns"},
	"lines":           {1, "asks only whether all are; the error names none"},
	"checkImages":     {1, "asks only whether all are; the error names none"},
	"names":           {2, "sorted before it returns"},
}

func TestHouseImportArrows(t *testing.T) {
	for _, f := range sourceFiles(t) {
		if f.isTest() || f.under("cmd") {
			continue
		}
		room, forTests := testRoom(f.pkg)
		allowed, known := arrows[room]
		if !known {
			t.Errorf("%s: package %s is not in the table of arrows: say there which of ours it may import", f.path, f.pkg)
			continue
		}
		for _, imported := range f.imports() {
			ours, ok := strings.CutPrefix(imported, module+"/")
			importedRoom, isForTests := testRoom(ours)
			switch {
			case !ok || slices.Contains(allowed, ours):
			case forTests && (importedRoom == room || isForTests && slices.Contains(allowed, importedRoom)):
			default:
				t.Errorf("%s: %s may not import %s", f.path, f.pkg, ours)
			}
		}
	}
}

func TestHouseForeignImports(t *testing.T) {
	for _, f := range sourceFiles(t) {
		for _, imported := range f.imports() {
			switch {
			case imported == "github.com/spf13/cobra" && !f.under("cmd"):
				t.Errorf("%s: only cmd may import cobra", f.path)
			case f.isTest():
			case f.pkg == "planner" && (strings.Contains(firstPart(imported), ".") || !pure(imported)):
				t.Errorf("%s: planner may not import %s: it takes values and returns values", f.path, imported)
			case f.under("planner/manifest") && (firstPart(imported) == "os" || imported == "net" || strings.HasPrefix(imported, "net/http")):
				t.Errorf("%s: planner/manifest may not import %s: it reads an fs.FS", f.path, imported)
			}
		}
	}
}

// TestHousePlannerIsPure finds clocks, goroutines and channels.
func TestHousePlannerIsPure(t *testing.T) {
	for _, f := range sourceFiles(t) {
		if f.pkg != "planner" || f.isTest() {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			found := ""
			switch n := n.(type) {
			case *ast.GoStmt:
				found = "a go statement"
			case *ast.SelectStmt:
				found = "a select"
			case *ast.ChanType, *ast.SendStmt:
				found = "a channel"
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clocks, n.Sel.Name) {
					found = "time." + n.Sel.Name
				}
			case *ast.CallExpr:
				if fn, ok := n.Fun.(*ast.Ident); ok && (fn.Name == "print" || fn.Name == "println") {
					found = fn.Name
				}
			}
			if found != "" {
				t.Errorf("%s: planner may not use %s", f.fset.Position(n.Pos()), found)
			}
			return true
		})
	}
}

// TestHouseMapOrder finds every loop over a map in planner, and every use of
// package maps that yields its order, and asks for its place in overMaps.
func TestHouseMapOrder(t *testing.T) {
	var files []*ast.File
	fset := token.NewFileSet()
	for _, f := range sourceFiles(t) {
		if f.pkg == "planner" && !f.isTest() {
			parsed, err := parser.ParseFile(fset, f.full, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, parsed)
		}
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: importer.ForCompiler(fset, "source", nil)}
	if _, err := conf.Check(module+"/planner", fset, files, info); err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, file := range files {
		for _, decl := range file.Decls {
			name := "package level"
			if fn, ok := decl.(*ast.FuncDecl); ok {
				name = fn.Name.Name
			}
			ast.Inspect(decl, func(n ast.Node) bool {
				if !yieldsMapOrder(info, n) {
					return true
				}
				found[name]++
				if found[name] > overMaps[name].times {
					t.Errorf("%s: %s goes over a map: sort, or say in overMaps why its order does not show", fset.Position(n.Pos()), name)
				}
				return true
			})
		}
	}
	for name, allowed := range overMaps {
		if found[name] != allowed.times {
			t.Errorf("overMaps says %d loops in %s (%s), there are %d", allowed.times, name, allowed.why, found[name])
		}
	}
}

func yieldsMapOrder(info *types.Info, n ast.Node) bool {
	switch n := n.(type) {
	case *ast.RangeStmt:
		_, isMap := info.TypeOf(n.X).Underlying().(*types.Map)
		return isMap
	case *ast.SelectorExpr:
		fn, ok := info.Uses[n.Sel].(*types.Func)
		return ok && fn.Pkg() != nil && (fn.Pkg().Path() == "maps" && slices.Contains([]string{"All", "Keys", "Values"}, fn.Name()) ||
			fn.Pkg().Path() == "reflect" && strings.HasPrefix(fn.Name(), "Map"))
	}
	return false
}

func TestHouseTopLevel(t *testing.T) {
	root := moduleRoot(t)
	cmd := exec.Command("git", "ls-files", "-z")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("git cannot list the files of the repository: %v", err)
	}
	for file := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		if !slices.Contains(topLevel, firstPart(file)) {
			t.Errorf("%s: %s has no place at the top of the repository", file, firstPart(file))
		}
	}
}

// testRoom is the room a package belongs to, and whether it only serves tests:
// such a package has a name that ends in "test", or lies below one. It may
// import what its room may, the room itself, and packages for tests of these;
// nothing but tests may import it.
func testRoom(pkg string) (room string, forTests bool) {
	parts := strings.Split(pkg, "/")
	for n, part := range parts {
		if strings.HasSuffix(part, "test") {
			return strings.Join(parts[:n], "/"), true
		}
	}
	return pkg, false
}

// pure reports whether a package of the standard library may be used in
// planner. Of package net only the addresses may.
func pure(imported string) bool {
	if imported == "net/netip" {
		return true
	}
	return firstPart(imported) != "net" && firstPart(imported) != "database" && !slices.Contains(unclean, imported)
}

func firstPart(p string) string {
	first, _, _ := strings.Cut(p, "/")
	return first
}

type sourceFile struct {
	full   string // path on disk
	path   string // in the repository
	pkg    string // its folder in the repository
	fset   *token.FileSet
	syntax *ast.File
}

func (f sourceFile) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

func (f sourceFile) under(dir string) bool { return f.pkg == dir || strings.HasPrefix(f.pkg, dir+"/") }

func (f sourceFile) imports() []string {
	var all []string
	for _, spec := range f.syntax.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err == nil {
			all = append(all, p)
		}
	}
	return all
}

// sourceFiles parses every Go file of the module, whatever its build tags.
func sourceFiles(t *testing.T) []sourceFile {
	t.Helper()
	root := moduleRoot(t)
	fset := token.NewFileSet()
	var files []sourceFile
	err := filepath.WalkDir(root, func(full string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			hidden := strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")
			if full != root && (hidden || name == "testdata" || name == "build" || name == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasPrefix(name, ".") {
			return nil
		}
		rel, err := filepath.Rel(root, full)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		syntax, err := parser.ParseFile(fset, full, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files = append(files, sourceFile{full: full, path: rel, pkg: path.Dir(rel), fset: fset, syntax: syntax})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func moduleRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = parent
	}
}
