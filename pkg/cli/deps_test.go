package cli_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/imagefactory/imagefactory"

// goPackage is what `go list -json` says of a package, as far as it is needed here.
type goPackage struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

// listPackages lists every package of the module, by the path below it.
func listPackages(t *testing.T) map[string]goPackage {
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,Deps", "./...")
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
	users := map[string][]string{ // who may import a package
		"pkg/promote":   {"pkg/cli"},
		"pkg/doctor":    {"pkg/cli"},
		"pkg/bootstrap": {"pkg/cli", "pkg/doctor"},
		"pkg/analyze":   {"pkg/cli", "pkg/promote"},
		"pkg/store":     {"pkg/cli", "pkg/promote", "pkg/analyze", "pkg/doctor"},
		"pkg/fleet":     {"pkg/cli", "pkg/promote", "pkg/analyze", "pkg/doctor", "pkg/bootstrap", "pkg/store"},
	}
	for path, p := range packages {
		for _, imported := range p.Imports {
			imported = strings.TrimPrefix(imported, module+"/")
			if allowed, bounded := users[imported]; bounded && !strings.HasPrefix(path, "test/") {
				assert.Contains(t, allowed, path, "%s may not import %s", path, imported)
			}
			switch imported {
			case "pkg/cli":
				assert.Contains(t, []string{"cmd/imagefactory", "test/demo"}, path, "only main may import cli, and the demo, for its clock")
			case "pkg/report":
				assert.Contains(t, []string{"pkg/cli"}, path, "only cli prints")
			}
		}
	}
}

// TestPurePackages: what decides and generates does no I/O itself and knows no registry, no git and no cluster.
func TestPurePackages(t *testing.T) {
	packages := listPackages(t)
	for _, pure := range []string{"pkg/policy", "pkg/graph", "pkg/kargo", "pkg/finding"} {
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

// TestBinary: libraries that only tests need are not linked into what is shipped.
func TestBinary(t *testing.T) {
	deps := listPackages(t)["cmd/imagefactory"].Deps
	require.NotEmpty(t, deps)
	for _, banned := range []string{"github.com/santhosh-tekuri/", "github.com/stretchr/", "github.com/rogpeppe/", "pgregory.net/", "github.com/CycloneDX/"} {
		assert.False(t, slices.ContainsFunc(deps, func(dep string) bool { return strings.HasPrefix(dep, banned) }), banned)
	}
	assert.NotContains(t, deps, "testing")
}

// TestNoProcessIsStarted: what is no argument of a process cannot be read from the list of processes. Only pkg/credentials and
// libraries start any: credential helpers, which get nothing secret in their arguments.
func TestNoProcessIsStarted(t *testing.T) {
	packages := listPackages(t)
	for _, dep := range packages["cmd/imagefactory"].Deps {
		if path, ours := strings.CutPrefix(dep, module+"/"); ours && path != "pkg/credentials" {
			assert.NotContains(t, packages[path].Imports, "os/exec", path)
		}
	}
}
