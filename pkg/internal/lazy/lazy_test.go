package lazy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRegexp(t *testing.T) {
	form := Regexp(`^a+$`)
	assert.True(t, form().MatchString("aa"))
	first := form()
	assert.Same(t, first, form(), "compiled twice")
	assert.Panics(t, func() { Regexp(`(`)() })
}

// TestExpressions compiles the expressions of all packages, since a wrong one would only panic when it is used, and finds those
// that are compiled at the start.
func TestExpressions(t *testing.T) {
	found := 0
	err := filepath.WalkDir("../..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(node ast.Node) bool {
			if _, isFunc := node.(*ast.FuncDecl); isFunc {
				return false
			}
			call, ok := node.(*ast.CallExpr)
			if !ok {
				return true
			}
			assert.False(t, isCallOf(call, "regexp", "MustCompile"), "%s: compiled at the start; use lazy.Regexp", path)
			if !isCallOf(call, "lazy", "Regexp") {
				return true
			}
			found++
			_, err := regexp.Compile(literal(t, call.Args[0]))
			assert.NoError(t, err, path)
			return true
		})
		return nil
	})
	require.NoError(t, err)
	assert.NotZero(t, found)
}

// isCallOf reports whether call calls a function of a package.
func isCallOf(call *ast.CallExpr, pkg, function string) bool {
	selector, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || selector.Sel.Name != function {
		return false
	}
	x, ok := selector.X.(*ast.Ident)
	return ok && x.Name == pkg
}

// literal is the value of a string literal, or of several joined by +.
func literal(t *testing.T, expr ast.Expr) string {
	switch expr := expr.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(expr.Value)
		require.NoError(t, err)
		return text
	case *ast.BinaryExpr:
		return literal(t, expr.X) + literal(t, expr.Y)
	}
	require.Fail(t, "not a literal")
	return ""
}
