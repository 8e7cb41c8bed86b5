package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestPurgeKnowsTheStateFolder: whatever the program joins to the path of a state
// folder has a constant name, and one that uninstall --purge removes.
func TestPurgeKnowsTheStateFolder(t *testing.T) {
	known := slices.Concat(stateNames, stateMarks)
	joined := map[string]bool{}
	for _, dir := range []string{".", "../../agent"} {
		set, files := parsed(t, dir)
		constants := stringConstants(files)
		for _, file := range files {
			ast.Inspect(file, func(n ast.Node) bool {
				second, ok := joinedToStateDir(n)
				if !ok {
					return true
				}
				name, ok := constant(second, constants)
				if !ok {
					t.Errorf("%s: a name in the state folder that is no constant of this package", set.Position(n.Pos()))
				} else if !slices.Contains(known, name) {
					t.Errorf("%s: %q in the state folder is not in stateNames", set.Position(n.Pos()), name)
				}
				joined[name] = true
				return true
			})
		}
	}
	// Packages below take the folder itself: volumes, and what they make in it.
	below := []string{"files", "scratch", "volumes", "life", "state.json"}
	for _, name := range known {
		if !joined[name] && !slices.Contains(below, name) {
			t.Errorf("%q is in stateNames, and nothing is found that makes it", name)
		}
	}
}

// joinedToStateDir is the second element of filepath.Join(x.StateDir, ...).
func joinedToStateDir(n ast.Node) (ast.Expr, bool) {
	call, ok := n.(*ast.CallExpr)
	if !ok || len(call.Args) < 2 {
		return nil, false
	}
	if f, ok := call.Fun.(*ast.SelectorExpr); !ok || f.Sel.Name != "Join" {
		return nil, false
	}
	switch first := call.Args[0].(type) {
	case *ast.SelectorExpr:
		return call.Args[1], first.Sel.Name == "StateDir"
	case *ast.Ident:
		return call.Args[1], first.Name == "stateDir"
	}
	return nil, false
}

// parsed reads the package in a folder, of all systems and without its tests.
func parsed(t *testing.T, dir string) (*token.FileSet, []*ast.File) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: %d files, %v", dir, len(paths), err)
	}
	set, files := token.NewFileSet(), []*ast.File(nil)
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return set, files
}

// stringConstants are those of a package, by name.
func stringConstants(files []*ast.File) map[string]string {
	found := map[string]string{}
	for _, file := range files {
		for _, decl := range file.Decls {
			group, ok := decl.(*ast.GenDecl)
			if !ok || group.Tok != token.CONST {
				continue
			}
			for _, spec := range group.Specs {
				values := spec.(*ast.ValueSpec)
				for k, name := range values.Names {
					if k < len(values.Values) {
						if text, ok := constant(values.Values[k], nil); ok {
							found[name.Name] = text
						}
					}
				}
			}
		}
	}
	return found
}

// constant is the text of a literal, or of a constant by its name.
func constant(e ast.Expr, constants map[string]string) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil && e.Kind == token.STRING
	case *ast.Ident:
		text, ok := constants[e.Name]
		return text, ok
	}
	return "", false
}
