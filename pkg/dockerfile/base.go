package dockerfile

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// BaseConfig is the part of an image's config that affects builds FROM the
// image.
type BaseConfig struct {
	// OnBuild are the ONBUILD triggers. They run in each stage FROM the image.
	OnBuild []string
	// Partial is set if only OnBuild is known.
	Partial bool

	config   dockerspec.DockerOCIImageConfig
	platform ocispecs.Platform
}

// BaseFunc returns the config of an image, or nil if it is unknown. A partial
// config is enough unless whole is set. References are normalised, platforms
// are in BuildKit's form.
type BaseFunc func(ctx context.Context, ref, platform string, whole bool) *BaseConfig

// Limits for the config of a base image, which is as untrusted as the
// Dockerfile.
const (
	maxTriggers     = 500
	maxTriggerBytes = 64 << 10 // of all triggers
	maxEnvBytes     = 64 << 10 // of all variables
	maxWordBytes    = 4 << 10  // of the working directory, the user and the shell, each
)

// ParseBaseConfig parses an OCI or Docker image config.
func ParseBaseConfig(data []byte) (*BaseConfig, error) {
	var img dockerspec.DockerOCIImage
	if err := json.Unmarshal(data, &img); err != nil {
		return nil, fmt.Errorf("parsing image config: %w", err)
	}
	c := img.Config
	b := &BaseConfig{OnBuild: c.OnBuild, platform: img.Platform}
	b.config.Env, b.config.WorkingDir, b.config.User, b.config.Shell = c.Env, c.WorkingDir, c.User, c.Shell
	return b, b.check()
}

func (b *BaseConfig) check() error {
	if len(b.OnBuild) > maxTriggers || size(b.OnBuild) > maxTriggerBytes {
		return fmt.Errorf("the image config has more than %d ONBUILD triggers or %d KiB of them", maxTriggers, maxTriggerBytes>>10)
	}
	if size(b.config.Env) > maxEnvBytes {
		return fmt.Errorf("the image config has more than %d KiB of variables", maxEnvBytes>>10)
	}
	if max(len(b.config.WorkingDir), len(b.config.User), size(b.config.Shell)) > maxWordBytes {
		return fmt.Errorf("the image config has a working directory, user or shell of more than %d KiB", maxWordBytes>>10)
	}
	for _, trigger := range b.OnBuild {
		if tooDeep([]byte(trigger)) > 0 {
			return fmt.Errorf("an ONBUILD trigger of the image config nests variables deeper than %d", maxNesting)
		}
	}
	return nil
}

func size(words []string) int {
	n := 0
	for _, w := range words {
		n += len(w)
	}
	return n
}

// Sources returns the triggers that can copy files from another image, reduced to
// the parts that name it. ok is false if BuildKit rejects a trigger.
func (b *BaseConfig) Sources(ctx context.Context) (sources []string, ok bool) {
	if len(b.OnBuild) == 0 {
		return nil, true
	}
	known := func(context.Context, string, string, bool) *BaseConfig { return b }
	if _, err := Resolve(ctx, []byte("FROM base"), Options{Base: known}); err != nil {
		return nil, false
	}
	for _, trigger := range b.OnBuild {
		cmd, err := parseTrigger(trigger, 1)
		if err != nil {
			return nil, false
		}
		switch c := cmd.(type) {
		case *instructions.CopyCommand:
			if c.From != "" {
				sources = append(sources, "COPY --from="+c.From+" . .")
			}
		case *instructions.RunCommand:
			if flags := mountFlags(trigger); len(flags) > 0 {
				sources = append(sources, "RUN "+strings.Join(flags, " ")+" true")
			}
		case *instructions.OnbuildCommand:
			sources = append(sources, trigger)
		}
	}
	return sources, true
}

// mountFlags returns the --mount flags of a RUN instruction as written.
func mountFlags(instruction string) []string {
	tree, err := parser.Parse(strings.NewReader(instruction))
	if err != nil || len(tree.AST.Children) != 1 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(tree.AST.Children[0].Flags), func(flag string) bool {
		return !strings.HasPrefix(flag, "--mount=")
	})
}

// baseKey identifies the config of an image.
type baseKey struct{ ref, platform string }

func keyOf(ref string, p ocispecs.Platform) baseKey {
	return baseKey{ref, platforms.FormatAll(platforms.Normalize(p))}
}

// bases is a cache of the configs of base images.
type bases struct {
	find  func(baseKey) *BaseConfig
	whole bool
	known map[baseKey]*BaseConfig // nil for an unknown config
}

// newBases returns an empty cache of configs; partial ones are enough unless whole is set.
func newBases(ctx context.Context, find BaseFunc, whole bool) *bases {
	b := &bases{whole: whole, known: map[baseKey]*BaseConfig{}}
	b.find = func(key baseKey) *BaseConfig {
		if find == nil {
			return nil
		}
		return find(ctx, key.ref, key.platform, whole)
	}
	return b
}

func (b *bases) of(key baseKey) *BaseConfig {
	c, asked := b.known[key]
	if !asked {
		c = b.find(key)
		b.known[key] = c
	}
	return c
}

// hide replaces the values of variables that base images set with their names,
// unless the Dockerfile contains the value: it can be a secret, and callers
// store messages.
func (b *bases) hide(msg string, src []byte) string {
	const least = 8 // bytes of a secret
	var found [][2]string
	for _, c := range b.known {
		if c == nil {
			continue
		}
		for _, env := range c.config.Env {
			name, value, _ := strings.Cut(env, "=")
			if len(value) >= least && strings.Contains(msg, value) && !bytes.Contains(src, []byte(value)) {
				found = append(found, [2]string{value, "$" + name})
			}
		}
	}
	slices.SortFunc(found, func(x, y [2]string) int {
		return cmp.Or(len(y[0])-len(x[0]), strings.Compare(x[0], y[0]), strings.Compare(x[1], y[1]))
	})
	for _, f := range found {
		msg = strings.ReplaceAll(msg, f[0], f[1])
	}
	return msg
}

// fill copies the known config to the image that BuildKit receives.
func (b *BaseConfig) fill(img *dockerspec.DockerOCIImage) {
	if !b.Partial {
		img.Config = b.config
		if b.platform.OS != "" && b.platform.Architecture != "" {
			img.Platform = b.platform
		}
	}
	img.Config.OnBuild = b.OnBuild
}

// KnownTriggers returns a partial config from an earlier result of [BaseConfig.Sources].
func KnownTriggers(sources []string) (*BaseConfig, error) {
	b := &BaseConfig{OnBuild: sources, Partial: true}
	return b, b.check()
}
