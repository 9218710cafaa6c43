// Package loop_test runs imagefactory against a real builder: BuildKit builds images while the tags of their bases move, and
// imagefactory reads what it attested.
package loop_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/imagefactory/imagefactory/test/loop/content"
	"github.com/imagefactory/imagefactory/test/parts"
)

// What `make loop` sets: the folder of the programs that it builds; Debian's registry and busybox. KARGO_SCHEMAS is the folder with
// Kargo's CRDs.
var (
	programs = os.Getenv("PROGRAMS")
	docker   = os.Getenv("DOCKER_REGISTRY")
	busybox  = os.Getenv("LOOP_BUSYBOX")
	schemas  = os.Getenv("KARGO_SCHEMAS")

	bin = filepath.Join(programs, "loop")
)

var update = flag.Bool("update", false, "write the table of cases into the documentation, and record the answers of buildx")

var (
	servers *parts.Parts
	memory  string       // host of the registry of go-containerregistry, which runs in this process
	shell   content.File // busybox

	frontendProgram content.File // BuildKit's Dockerfile frontend
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(mainCode(m))
}

func mainCode(m *testing.M) (code int) {
	if programs == "" || docker == "" || busybox == "" || schemas == "" {
		fmt.Fprintln(os.Stderr, "run `make loop`: it builds the programs and names them in PROGRAMS, DOCKER_REGISTRY and LOOP_BUSYBOX. KARGO_SCHEMAS names a folder with Kargo's CRDs")
		return 1
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	dir, err := os.MkdirTemp("", "imagefactory-loop-")
	if err == nil {
		defer func() {
			if err := errors.Join(stop(), os.RemoveAll(dir)); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}()
		shell, err = content.Program(busybox)
	}
	if err == nil {
		frontendProgram, err = content.Program(filepath.Join(bin, "dockerfile-frontend"))
	}
	if err == nil {
		inProcess := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
		defer inProcess.Close()
		memory = strings.TrimPrefix(inProcess.URL, "http://")
		servers, err = parts.Start(ctx, parts.Options{Programs: programs, Registry: docker, Kargo: schemas, Dir: dir, Plain: []string{memory}})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	create := []string{"create", "--name", builder, "--driver", "remote", servers.BuildKit.Address}
	if _, err := servers.BuildKit.X(ctx, []string{"BUILDX_CONFIG=" + filepath.Join(dir, "buildx")}, create...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// stop ends the servers if they run.
func stop() error {
	if servers == nil {
		return nil
	}
	return servers.Stop()
}
