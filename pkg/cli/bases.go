package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imagefactory/imagefactory/pkg/dockerfile"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/report"
	"github.com/imagefactory/imagefactory/pkg/source"
	"github.com/imagefactory/imagefactory/pkg/state"
)

type basesOptions struct {
	target    string
	platform  string
	buildArgs []string
	contexts  []string
	configs   []string
	allStages bool
	output    string
}

// fileBases is what `bases -o json` prints for a file. A stable format: scripts read it.
type fileBases struct {
	File       string                  `json:"file"`
	Images     []dockerfile.Image      `json:"images"`
	Unresolved []dockerfile.Unresolved `json:"unresolved"`
	Error      string                  `json:"error,omitempty"` // FILE:LINE: MESSAGE
}

func newBases(env *Env) *cobra.Command {
	o := &basesOptions{}
	cmd := &cobra.Command{
		Use:   "bases FILE...",
		Short: "List every image that a build of a Dockerfile uses",
		Long: `Bases lists every image reference that BuildKit resolves for a build of each FILE ("-" is stdin): FROM, COPY --from,
RUN --mount, ONBUILD triggers of a parent stage, and the syntax directive. References are normalised. A reference whose
variables have no value is listed as unresolved; a file that BuildKit refuses is an error with its line, and the exit code is 1.

Bases asks no registry. The ONBUILD triggers and the environment of a base image are known only if --base-config gives
its config, as in the output of "crane config REF".`,
		Example: `  imagefactory bases Dockerfile
  imagefactory bases */Dockerfile --build-arg VERSION=22 -o json
  imagefactory bases Dockerfile --target runtime --platform linux/arm64 --build-context base=docker-image://alpine:3.22`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, files []string) error { return runBases(cmd.Context(), env, o, files) },
	}
	f := cmd.Flags()
	f.StringVar(&o.target, "target", "", "`stage` to build (default the last)")
	f.StringVar(&o.platform, "platform", "linux/amd64", "`platform` of the build")
	f.StringArrayVar(&o.buildArgs, "build-arg", nil, "build argument `NAME=VALUE`; NAME alone takes the environment's")
	f.StringArrayVar(&o.contexts, "build-context", nil, "named context `NAME=VALUE`, as for docker buildx build: docker-image://REF is an image")
	f.StringArrayVar(&o.configs, "base-config", nil, "image config of a base image `REF=FILE` (JSON)")
	f.BoolVar(&o.allStages, "all-stages", false, "also count stages that the target does not need")
	f.StringVarP(&o.output, "output", "o", "table", "`format`: table, or json with one line per file")
	return cmd
}

func runBases(ctx context.Context, env *Env, o *basesOptions, files []string) error {
	if err := checkOutput(o.output, "table", "json"); err != nil {
		return err
	}
	opts := dockerfile.Options{Target: o.target, Platform: o.platform, AllStages: o.allStages}
	var err error
	if opts.BuildArgs, err = keyValues(env, "build-arg", o.buildArgs, true); err != nil {
		return err
	}
	if opts.Contexts, err = keyValues(env, "build-context", o.contexts, false); err != nil {
		return err
	}
	if opts.Base, err = baseConfigs(o.configs); err != nil {
		return err
	}
	failed := false
	var rows [][]string
	for _, file := range files {
		found, warnings := basesOf(ctx, env, file, opts)
		for _, warning := range warnings {
			if err := env.errorf("warning: %s: %s", at(file, warning.Line), warning.Message); err != nil {
				return err
			}
		}
		failed = failed || found.Error != ""
		if o.output == "json" {
			if err := report.JSONLine(env.Out, found); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, basesRows(found)...)
		if found.Error != "" {
			if err := env.errorf("error: %s", found.Error); err != nil {
				return err
			}
		}
	}
	if o.output == "table" {
		if err := env.style(true).Table(env.Out, []string{"FILE", "LINE", "KIND", "STAGE", "IMAGE"}, rows); err != nil {
			return err
		}
	}
	if failed {
		return errReported
	}
	return nil
}

func basesOf(ctx context.Context, env *Env, file string, opts dockerfile.Options) (fileBases, []dockerfile.Warning) {
	found := fileBases{File: file, Images: []dockerfile.Image{}, Unresolved: []dockerfile.Unresolved{}}
	content, err := readInput(env, file)
	if err != nil {
		found.Error = err.Error()
		return found, nil
	}
	res, err := dockerfile.Resolve(ctx, content, opts)
	if err != nil {
		var refused *dockerfile.Error
		if errors.As(err, &refused) {
			found.Error = fmt.Sprintf("%s: %s", at(file, refused.Line), refused.Msg)
		} else {
			found.Error = fmt.Sprintf("%s: %s", file, err)
		}
		return found, nil
	}
	found.Images = append(found.Images, res.Images...)
	found.Unresolved = append(found.Unresolved, res.Unresolved...)
	return found, res.Warnings
}

// at returns the place of a line in a file, the file itself for line 0.
func at(file string, line int) string {
	if line == 0 {
		return file
	}
	return file + ":" + strconv.Itoa(line)
}

func basesRows(found fileBases) [][]string {
	var rows [][]string
	for _, i := range found.Images {
		ref := i.Ref
		if i.Platform != "" {
			ref += " (" + i.Platform + ")"
		}
		rows = append(rows, []string{found.File, strconv.Itoa(i.Line), string(i.Kind), i.Stage, ref})
	}
	for _, u := range found.Unresolved {
		rows = append(rows, []string{found.File, strconv.Itoa(u.Line), "unresolved", "", u.Text + " (no value for " + strings.Join(u.Missing, ", ") + ")"})
	}
	return rows
}

// baseConfigs reads the files of --base-config.
func baseConfigs(list []string) (dockerfile.BaseFunc, error) {
	configs := make(map[string]*dockerfile.BaseConfig, len(list))
	for _, kv := range list {
		text, file, ok := strings.Cut(kv, "=")
		if !ok || file == "" {
			return nil, fleet.Usagef("--base-config %q: want REF=FILE", kv)
		}
		ref, err := state.ParseRef(text)
		if err != nil {
			return nil, fleet.Usagef("--base-config %q: %s", kv, err)
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, fleet.Usagef("--base-config %q: %s", kv, err)
		}
		if configs[ref.String()], err = dockerfile.ParseBaseConfig(content); err != nil {
			return nil, fleet.Usagef("--base-config %q: %s", kv, err)
		}
	}
	return func(_ context.Context, ref, _ string, _ bool) *dockerfile.BaseConfig { return configs[ref] }, nil
}

// readInput reads a Dockerfile of bounded size.
func readInput(env *Env, file string) ([]byte, error) {
	in := env.In
	if file != "-" {
		f, err := os.Open(file)
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("reading %q: no such file", file)
		}
		if err != nil {
			return nil, fmt.Errorf("reading Dockerfile: %w", err)
		}
		defer f.Close()
		in = f
	}
	content, err := io.ReadAll(io.LimitReader(in, source.MaxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", file, err)
	}
	return content, nil
}

// keyValues reads NAME=VALUE flags. As with docker build, a build argument without = takes the environment's value.
func keyValues(env *Env, flag string, list []string, fromEnv bool) (map[string]string, error) {
	out := make(map[string]string, len(list))
	for _, kv := range list {
		name, value, ok := strings.Cut(kv, "=")
		switch {
		case name == "" || !ok && !fromEnv:
			return nil, fleet.Usagef("--%s %q: want NAME=VALUE", flag, kv)
		case ok:
			out[name] = value
		default:
			if v := env.Getenv(name); v != "" {
				out[name] = v
			}
		}
	}
	return out, nil
}
