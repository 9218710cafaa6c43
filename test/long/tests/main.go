// Command tests lists or runs the tests that do less under go test -short: those that call package long or rapid.Check,
// directly or through a function of their own package.
//
//	tests list
//	tests run
package main

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "tests:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	found, err := findTests(".")
	if err != nil {
		return err
	}
	switch {
	case slices.Equal(args, []string{"list"}):
		fmt.Fprintln(out, "Left to make test-long (shortened or skipped above):")
		for _, dir := range slices.Sorted(maps.Keys(found)) {
			fmt.Fprintf(out, "  %-14s %s\n", dir, strings.Join(found[dir], " "))
		}
		return nil
	case slices.Equal(args, []string{"run"}):
		return runTests(ctx, found, out)
	}
	return errors.New("want list or run")
}

// runTests runs every package, and returns an error if one of them failed.
func runTests(ctx context.Context, found map[string][]string, out io.Writer) error {
	var failed []error
	for _, dir := range slices.Sorted(maps.Keys(found)) {
		pattern := "^(" + strings.Join(found[dir], "|") + ")$"
		cmd := exec.CommandContext(ctx, "go", "test", "./"+dir, "-run", pattern) //nolint:gosec // names of our own tests
		cmd.Stdout, cmd.Stderr = out, os.Stderr
		if err := cmd.Run(); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", dir, err))
		}
	}
	return errors.Join(failed...)
}

// findTests returns the tests that do less under -short by folder, without those of other modules below root.
func findTests(root string) (map[string][]string, error) {
	files := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || exists(filepath.Join(path, "go.mod"))) {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, "_test.go") {
			files[filepath.Dir(path)] = append(files[filepath.Dir(path)], path)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	found := map[string][]string{}
	for dir, paths := range files {
		tests, err := shortened(paths)
		if err != nil {
			return nil, err
		}
		if len(tests) > 0 {
			found[filepath.ToSlash(dir)] = tests
		}
	}
	return found, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// shortened returns the sorted names of the tests in files of one folder that do less under -short.
func shortened(files []string) ([]string, error) {
	calls := map[string][]string{} // names that a function mentions
	short := map[string]bool{}
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil {
				ast.Inspect(f, func(n ast.Node) bool {
					switch n := n.(type) {
					case *ast.SelectorExpr:
						short[f.Name.Name] = short[f.Name.Name] || doesLess(n)
					case *ast.Ident:
						calls[f.Name.Name] = append(calls[f.Name.Name], n.Name)
					}
					return true
				})
			}
		}
	}
	for again := true; again; {
		again = false
		for name, mentioned := range calls {
			if !short[name] && slices.ContainsFunc(mentioned, func(m string) bool { return short[m] }) {
				short[name], again = true, true
			}
		}
	}
	var tests []string
	for name, is := range short {
		if is && strings.HasPrefix(name, "Test") && name != "TestMain" {
			tests = append(tests, name)
		}
	}
	slices.Sort(tests)
	return tests, nil
}

// doesLess reports whether e is a function of package long, or rapid.Check, which makes a fifth of its checks under -short.
func doesLess(e *ast.SelectorExpr) bool {
	pkg, ok := e.X.(*ast.Ident)
	return ok && (pkg.Name == "long" || pkg.Name == "rapid" && e.Sel.Name == "Check")
}
