// Package style_test keeps out wordings that the project has replaced.
package style_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const root = "../.."

var (
	// godoc matches a doc comment that does not start as Go's do: X returns, X reports whether, X is.
	godoc = regexp.MustCompile(`^\w+ (says|notes) `)
	// message matches a message that denies a noun, as in "%q is no digest".
	message = regexp.MustCompile(`%[qsvd] is no [a-z]|%[qsvd] has not |\bmay not do\b`)
	noMore  = regexp.MustCompile(`%[qsvd] is no (longer|more)\b`)
	// spelling matches the other spelling of enroll.
	spelling = regexp.MustCompile(`(?i)\benrol(s|ments?)?\b`)
	// testName matches the name of a test that is a sentence.
	testName = regexp.MustCompile(`^Test(An?|The|Whoever)[A-Z][a-z]`)
)

// TestGoFiles checks doc comments, messages and spelling in Go files. Tests are checked for spelling only.
func TestGoFiles(t *testing.T) {
	for _, path := range files(t, ".go") {
		if strings.Contains(path, "/test/style/") {
			continue
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		require.NoError(t, err)
		check := func(n ast.Node, text, want string, bad *regexp.Regexp) {
			if bad.MatchString(text) {
				t.Errorf("%s: %q: want %s", set.Position(n.Pos()), text, want)
			}
		}
		doc := func(n ast.Node, group *ast.CommentGroup) {
			first, _, _ := strings.Cut(group.Text(), "\n")
			check(n, first, `"X returns", "X reports whether" or "X is"`, godoc)
		}
		isTest := strings.HasSuffix(path, "_test.go")
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if isTest {
					check(n, n.Name.Name, "a name without article, such as TestRefusedTokenIsNotSentAgain", testName)
				} else {
					doc(n, n.Doc)
				}
			case *ast.GenDecl:
				if !isTest {
					doc(n, n.Doc)
				}
			case *ast.BasicLit:
				text, err := strconv.Unquote(n.Value)
				if n.Kind == token.STRING && err == nil {
					check(n, text, "enroll, enrolls or enrollment", spelling)
					if !isTest {
						check(n, noMore.ReplaceAllString(text, ""), `"invalid X %q: reason" or another positive wording`, message)
					}
				}
			case *ast.Comment:
				check(n, n.Text, "enroll, enrolls or enrollment", spelling)
			}
			return true
		})
	}
}

// TestPages checks the spelling of the documentation.
func TestPages(t *testing.T) {
	for _, path := range files(t, ".md") {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		for i, line := range strings.Split(string(text), "\n") {
			assert.NotRegexp(t, spelling, line, "%s:%d: want enroll, enrolls or enrollment", path, i+1)
		}
	}
}

// TestPatterns shows what the patterns find and what they leave alone.
func TestPatterns(t *testing.T) {
	for text, pattern := range map[string]*regexp.Regexp{
		"same says whether": godoc, "hide notes what": godoc, "%q is no digest": message, "%s has not the scope": message,
		"TestARefusedTokenIsNotSent": testName, "TestTheReasonNamesAllParents": testName, "images that enrol": spelling, "First enrolment": spelling,
	} {
		assert.Regexp(t, pattern, text)
	}
	for text, pattern := range map[string]*regexp.Regexp{
		"same reports whether it says": godoc, "rejected tells apart": godoc, "there is no digest": message, "TestAPIURL": testName, "TestAnnotations": testName, "enrolled images": spelling, "enroll it": spelling,
	} {
		assert.NotRegexp(t, pattern, text)
	}
}

// files returns the files with a suffix below the root, without hidden folders, built files and fixtures.
func files(t *testing.T, suffix string) []string {
	t.Helper()
	var found []string
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "bin" || name == "testdata") {
			return filepath.SkipDir
		}
		if !d.IsDir() && strings.HasSuffix(name, suffix) {
			found = append(found, path)
		}
		return nil
	}))
	require.NotEmpty(t, found)
	return found
}
