package cli_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/test/fleetgen"
	"github.com/imagefactory/imagefactory/test/forgetest"
	"github.com/imagefactory/imagefactory/test/registrytest"
)

// BenchmarkAnalyzeEverything runs the binary on a fleet of 1000 images with a registry and a forge on this machine: a first run
// without state, and a second run without changes. It reports the requests per image and the peak memory of the process.
func BenchmarkAnalyzeEverything(b *testing.B) {
	const images = 1000
	dir := b.TempDir()
	binary := filepath.Join(dir, "imagefactory")
	build := exec.CommandContext(b.Context(), "go", "build", "-o", binary, repositoryRoot+"/cmd/imagefactory")
	out, err := build.CombinedOutput()
	require.NoError(b, err, string(out))
	registry, forge := registrytest.New(b), forgetest.New(b)
	publish(b, dir, images, registry, forge)
	asked := 0
	measure := func(b *testing.B, forget bool) {
		for range b.N {
			if forget {
				b.StopTimer()
				require.NoError(b, os.RemoveAll(filepath.Join(dir, "state")))
				require.NoError(b, os.RemoveAll(filepath.Join(dir, "cache")))
				b.StartTimer()
			}
			cmd := exec.CommandContext(b.Context(), binary, "analyze", "--quiet", "--config", filepath.Join(dir, "images.yaml"))
			cmd.Env = append(os.Environ(), "IMAGEFACTORY_CACHE_DIR="+filepath.Join(dir, "cache"), "IMAGEFACTORY_CREDENTIALS=")
			out, err := cmd.CombinedOutput()
			require.NoError(b, err, string(out))
			if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
				b.ReportMetric(float64(usage.Maxrss)/1024, "peak-MiB")
			}
			count := len(forge.Requests(""))
			b.ReportMetric(float64(count-asked)/images, "forge-requests/image")
			b.ReportMetric(float64(len(registry.Requests()))/images, "registry-requests/image")
			asked = count
		}
	}
	b.Run("first", func(b *testing.B) { measure(b, true) })
	b.Run("second", func(b *testing.B) { measure(b, false) })
}

// publish pushes the images of a generated fleet to a registry, and its Dockerfiles to a forge.
func publish(b *testing.B, dir string, images int, registry *registrytest.Registry, forge *forgetest.Server) {
	b.Helper()
	require.NoError(b, fleetgen.Write(dir, images))
	here := strings.NewReplacer("docker.io/library/", registry.Host+"/library/", "ghcr.io", registry.Host,
		"provider: github", fmt.Sprintf("provider: github\n    host: %q", forge.Host))
	reference := regexp.MustCompile(regexp.QuoteMeta(registry.Host) + `/(library/\S+)`)
	config := filepath.Join(dir, "images.yaml")
	text, err := os.ReadFile(config)
	require.NoError(b, err)
	require.NoError(b, os.WriteFile(config, []byte(here.Replace(string(text))), 0o600))
	bases := map[string]registrytest.Content{}
	for i := range images {
		name := fmt.Sprintf("service-%05d", i)
		text, err := os.ReadFile(filepath.Join(dir, "src", name, "Dockerfile"))
		require.NoError(b, err)
		dockerfile := here.Replace(string(text))
		forge.GitHub("acme/"+name).Commit("Dockerfile", dockerfile)
		built := registrytest.Built{Version: "1", Provenance: true}
		for _, found := range reference.FindAllStringSubmatch(dockerfile, -1) {
			base, ok := bases[found[1]]
			if !ok {
				base = registry.Base(found[1], "1")
				bases[found[1]] = base
			}
			built.Used = append(built.Used, base)
		}
		registry.Publish("acme/"+name+":1.0.0", built)
	}
	b.Logf("%d images on %d base images", images, len(bases))
}
