// Package loop_test runs imagefactory against a real builder: BuildKit builds images while the tags of their bases move, and
// imagefactory reads what it attested.
package loop_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/imagefactory/imagefactory/test/loop/content"
	"github.com/imagefactory/imagefactory/test/loop/parts"
)

// What `make loop` sets: the folder of BuildKit's programs, and of imagefactory with a clock; Debian's registry and busybox.
var (
	bin      = os.Getenv("LOOP_BIN")
	registry = os.Getenv("DOCKER_REGISTRY")
	busybox  = os.Getenv("LOOP_BUSYBOX")
)

var update = flag.Bool("update", false, "write the table of cases into the documentation")

var (
	servers *parts.Parts
	shell   content.File // busybox

	frontendProgram content.File // BuildKit's Dockerfile frontend
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(mainCode(m))
}

func mainCode(m *testing.M) int {
	if bin == "" || registry == "" || busybox == "" {
		fmt.Fprintln(os.Stderr, "run `make loop`: it builds the programs and names them in LOOP_BIN, DOCKER_REGISTRY and LOOP_BUSYBOX")
		return 1
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	dir, err := os.MkdirTemp("", "imagefactory-loop-")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
		shell, err = content.Program(busybox)
	}
	if err == nil {
		frontendProgram, err = content.Program(filepath.Join(bin, "dockerfile-frontend"))
	}
	if err == nil {
		servers, err = parts.Start(ctx, parts.Options{Bin: bin, Registry: registry, Dir: dir})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer servers.Stop()
	create := []string{"create", "--name", builder, "--driver", "remote", servers.BuildKit.Address}
	if _, err := servers.BuildKit.X(ctx, []string{"BUILDX_CONFIG=" + filepath.Join(dir, "buildx")}, create...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}
