package cli_test

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/imagefactory/imagefactory"

// goPackage is the output of `go list -json`, reduced to the fields that the tests read.
type goPackage struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

// listPackages lists every package of the module, by the path below it, with the build tags of the Makefile.
func listPackages(t *testing.T) map[string]goPackage {
	cmd := exec.CommandContext(t.Context(), "go", "list", "-tags=grpcnotrace", "-json=ImportPath,Imports,Deps", "./...")
	cmd.Dir = repositoryRoot
	out, err := cmd.Output()
	require.NoError(t, err)
	packages := map[string]goPackage{}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else {
			require.NoError(t, err)
		}
		packages[strings.TrimPrefix(p.ImportPath, module+"/")] = p
	}
}

// TestImportDirection checks that imports go down the layers only.
func TestImportDirection(t *testing.T) {
	packages := listPackages(t)
	require.Contains(t, packages, "pkg/cli")
	users := map[string][]string{ // packages that may import a package
		"pkg/promote":   {"pkg/cli"},
		"pkg/doctor":    {"pkg/cli"},
		"pkg/bootstrap": {"pkg/cli", "pkg/doctor"},
		"pkg/analyze":   {"pkg/review", "pkg/cli", "pkg/promote"},
		"pkg/store":     {"pkg/cli", "pkg/promote", "pkg/analyze", "pkg/doctor", "pkg/triage"},
		"pkg/fleet":     {"pkg/review", "pkg/cli", "pkg/promote", "pkg/analyze", "pkg/doctor", "pkg/bootstrap", "pkg/store", "pkg/triage", "pkg/propose", "pkg/issues"},
	}
	for path, p := range packages {
		for _, imported := range p.Imports {
			imported = strings.TrimPrefix(imported, module+"/")
			if allowed, bounded := users[imported]; bounded && !strings.HasPrefix(path, "test/") {
				assert.Contains(t, allowed, path, "%s may not import %s", path, imported)
			}
			switch imported {
			case "pkg/cli":
				assert.Contains(t, []string{"cmd/imagefactory", "test/clocked", "test/demo", "test/man"}, path, "only main may import cli, programs that set its clock, and the generator of manual pages")
			case "pkg/report":
				assert.Contains(t, []string{"pkg/cli", "pkg/page"}, path, "only cli prints, and page has the same words")
			}
		}
	}
}

// TestPurePackages: the packages that decide and generate do no I/O, and import no registry, git or cluster package.
func TestPurePackages(t *testing.T) {
	packages := listPackages(t)
	for _, pure := range []string{"pkg/plan", "pkg/exposure", "pkg/policy", "pkg/graph", "pkg/kargo", "pkg/finding", "pkg/audit", "pkg/describe"} {
		require.Contains(t, packages, pure)
		for _, imported := range packages[pure].Imports {
			assert.NotContains(t, []string{"os", "os/exec", "net", "net/http", "io/fs", "path/filepath", "time/tzdata"}, imported, pure)
		}
		for _, dep := range packages[pure].Deps {
			for _, banned := range []string{
				"github.com/go-git/", "github.com/google/go-containerregistry", "github.com/google/go-github", "gitlab.com/gitlab-org/",
				"k8s.io/client-go", "github.com/moby/buildkit", "github.com/spf13/cobra",
				module + "/pkg/source", module + "/pkg/registry", module + "/pkg/forge", module + "/pkg/cluster", module + "/pkg/dockerfile",
			} {
				assert.False(t, dep == banned || strings.HasPrefix(dep, banned), "%s depends on %s", pure, dep)
			}
		}
	}
}

// TestBinary: libraries that only tests need are not linked into the binary.
func TestBinary(t *testing.T) {
	deps := listPackages(t)["cmd/imagefactory"].Deps
	require.NotEmpty(t, deps)
	for _, banned := range []string{"github.com/santhosh-tekuri/", "github.com/stretchr/", "github.com/rogpeppe/", "pgregory.net/", "github.com/CycloneDX/"} {
		assert.False(t, slices.ContainsFunc(deps, func(dep string) bool { return strings.HasPrefix(dep, banned) }), banned)
	}
	for path, p := range listPackages(t) {
		if !strings.HasPrefix(path, "test/") { // github.com/digitorus/pkcs7 imports it, which reads timestamps of signatures
			assert.NotContains(t, p.Imports, "testing", path)
		}
	}
}

// TestStart: packages that make every start slower and larger are not linked into the binary. Linked packages are initialized in
// every run, and Linux counts the pages that this touches as memory (docs/performance.md). html/template is linked by an API library
// below sigstore's, which calls none of it: `make size` finds calls.
func TestStart(t *testing.T) {
	deps := listPackages(t)["cmd/imagefactory"].Deps
	require.NotEmpty(t, deps)
	for banned, instead := range map[string]string{
		"golang.org/x/net/trace":                     "build with the tag grpcnotrace",
		"net/http/pprof":                             "no command serves HTTP",
		"k8s.io/client-go/kubernetes":                "use k8s.io/client-go/dynamic",
		"k8s.io/client-go/informers":                 "use k8s.io/client-go/dynamic",
		"k8s.io/client-go/discovery":                 "use k8s.io/client-go/dynamic",
		"k8s.io/client-go/applyconfigurations":       "pkg/kargo defines what it writes",
		"k8s.io/kubectl":                             "use k8s.io/client-go/dynamic",
		"k8s.io/apiserver/pkg/server":                "pkg/crd needs the validation only",
		"k8s.io/apiserver/pkg/endpoints":             "pkg/crd needs the validation only",
		"github.com/docker/docker/client":            "ask registries, not a daemon",
		"github.com/moby/buildkit/client/connhelper": "only BuildKit's converter is needed, not its daemon",
	} {
		assert.False(t, slices.ContainsFunc(deps, func(dep string) bool {
			return dep == banned || strings.HasPrefix(dep, banned+"/")
		}), "%s: %s", banned, instead)
	}
}

// TestNoTemplates: a template calls methods by name, so the linker keeps every exported method of every type once something calls
// one: half as much binary again (docs/performance.md). Cobra links text/template only where its templates are set.
func TestNoTemplates(t *testing.T) {
	setters := regexp.MustCompile(`\.(Set(Usage|Help|Version)Template|AddTemplateFuncs?)\(|"(text|html)/template"`)
	files := 0
	for _, folder := range []string{"cmd", "pkg"} {
		err := fs.WalkDir(os.DirFS(filepath.Join(repositoryRoot, folder)), ".", func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files++
			text, err := os.ReadFile(filepath.Join(repositoryRoot, folder, path))
			assert.NotRegexp(t, setters, string(text), path)
			return err
		})
		require.NoError(t, err)
	}
	assert.NotZero(t, files)
}

// TestNoProcessIsStarted: arguments of processes are visible to other users. Only pkg/credentials, pkg/scanner and libraries start
// processes: credential helpers and vulnerability scanners, whose arguments have no secrets.
func TestNoProcessIsStarted(t *testing.T) {
	packages := listPackages(t)
	for _, dep := range packages["cmd/imagefactory"].Deps {
		if path, ours := strings.CutPrefix(dep, module+"/"); ours && path != "pkg/credentials" && path != "pkg/scanner" {
			assert.NotContains(t, packages[path].Imports, "os/exec", path)
		}
	}
}
