package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/report"
)

// Set by a release's build with -ldflags -X; otherwise Go's build information in the binary is used.
var releaseVersion, releaseCommit string

// build is the version information of a binary.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func newVersion(env *Env) *cobra.Command {
	output := &outputFlag{}
	folder := ""
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version and how it was built",
		Example: `  imagefactory version
  imagefactory version -o json`,
		Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if err := output.check(); err != nil {
				return err
			}
			if folder != "" {
				return install(folder)
			}
			b := thisBuild()
			if output.forPrograms() {
				return report.Print(env.Out, output.value, Version{report.NewMeta("Version"), b})
			}
			_, err := fmt.Fprintf(env.Out, "imagefactory %s (commit %s, %s, %s)\n", b.Version, cmp.Or(b.Commit, "unknown"), b.Go, b.Platform)
			return err
		},
	}
	output.add(cmd, "text")
	cmd.Flags().StringVar(&folder, "install", "", "(Jobs only) copy the program into this `folder` instead")
	return cmd
}

// install copies the program into a folder, for containers with another image.
func install(folder string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding the program: %w", err)
	}
	from, err := os.Open(self)
	if err != nil {
		return fmt.Errorf("reading the program: %w", err)
	}
	defer func() { _ = from.Close() }()
	const executable = 0o755
	to, err := os.OpenFile(filepath.Join(folder, "imagefactory"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, executable) // others run it
	if err != nil {
		return fmt.Errorf("installing the program: %w", err)
	}
	_, err = io.Copy(to, from)
	if err := errors.Join(err, to.Close()); err != nil {
		return fmt.Errorf("installing the program: %w", err)
	}
	return nil
}

// version returns the version of this binary.
func version() string { return thisBuild().Version }

// thisBuild returns the version that a release's build has set, else that of the Go module, else one made from the commit.
func thisBuild() build {
	b := build{Version: releaseVersion, Commit: releaseCommit, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b.Commit = cmp.Or(b.Commit, s.Value)
		}
	}
	switch v := info.Main.Version; {
	case b.Version != "":
	case v != "" && v != "(devel)":
		b.Version = v
	case b.Commit != "":
		b.Version = "devel-" + b.Commit[:min(12, len(b.Commit))]
	default:
		b.Version = "devel"
	}
	return b
}
