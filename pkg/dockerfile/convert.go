package dockerfile

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerui"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/apicaps"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	fstypes "github.com/tonistiigi/fsutil/types"

	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
)

// convert lets BuildKit plan the build. It returns the references that
// BuildKit resolves, or an [*Error] if BuildKit rejects the file.
//
// BuildKit numbers the images of COPY --from and RUN --mount on from the last
// stage. It resolves an image that is used by such a number twice at the same
// time, which is a data race, so convert does not call BuildKit then.
func convert(ctx context.Context, in *input, p *plan) (map[string]struct{}, []Warning, error) {
	if p.shared > 0 {
		return nil, []Warning{{Line: p.shared, Message: "no stage has this index: BuildKit uses it as an image name, which later versions may refuse"}}, nil
	}
	targets := targets(in, p)
	c := &converter{in: in, plan: p, src: rewrite(in.src, p), refs: map[string]struct{}{}}
	var warnings []Warning
	for _, target := range targets {
		warning, err := c.run(ctx, target)
		if err != nil {
			return nil, nil, err
		}
		if warning != nil {
			warnings = append(warnings, *warning)
		}
	}
	delete(c.refs, placeholder)
	return c.refs, warnings, nil
}

// targets returns the stages to plan: the wanted one, and for AllStages every
// other if there are ONBUILD triggers, because BuildKit runs those only in
// what a target needs. Stages without a name get one for that.
func targets(in *input, p *plan) []string {
	targets := []string{in.opts.Target}
	if !in.opts.AllStages || p.triggers == 0 {
		return targets
	}
	for i, s := range p.states {
		if name := fmt.Sprintf("unnamed-stage-%d", i); s.stage.Name == "" && !s.source && p.byName[name] == nil {
			s.stage.Name, s.rewrite = name, true
			p.byName[name] = s
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.byName)) {
		if len(targets) < maxTargets {
			targets = append(targets, name)
		}
	}
	return targets
}

// rewrite replaces each FROM that BuildKit could not parse by one with the
// known parts, so that BuildKit plans the rest of the file.
func rewrite(src []byte, p *plan) []byte {
	lines := bytes.SplitAfter(src, []byte("\n"))
	for _, s := range p.states {
		if !s.rewrite {
			continue
		}
		for i, r := range s.stage.Location {
			text := "\n"
			if i == 0 {
				text = s.from() + "\n"
			}
			lines[r.Start.Line-1] = []byte(text)
		}
	}
	return bytes.Join(lines, nil)
}

// from returns the FROM instruction of a stage with its known parts.
func (s *state) from() string {
	words := []string{s.stage.OrigCmd}
	if s.platform != nil {
		words = append(words, "--platform="+platforms.FormatAll(*s.platform))
	}
	words = append(words, s.stage.BaseName)
	if s.stage.Name != "" {
		as := "AS"
		if s.stage.OrigCmd == strings.ToLower(s.stage.OrigCmd) {
			as = "as"
		}
		words = append(words, as, s.stage.Name)
	}
	return strings.Join(words, " ")
}

// converter runs BuildKit's converter and collects the images that it resolves.
type converter struct {
	in   *input
	plan *plan
	src  []byte

	mu   sync.Mutex
	refs map[string]struct{}
}

// run plans one target. A rejection is only a warning if the config of a base
// image is unknown and BuildKit accepts the file as soon as that image sets a
// working directory and the variables that the file uses.
func (c *converter) run(ctx context.Context, target string) (*Warning, error) {
	err := c.convert(ctx, target, unknownConfig{})
	if err == nil || ctx.Err() != nil {
		return nil, ctx.Err()
	}
	refusal := newError(err)
	refusal.Msg = c.plan.bases.hide(refusal.Msg, c.src)
	if !c.plan.bases.whole || !c.plan.uncertain() {
		return nil, refusal
	}
	err = c.convert(ctx, target, unknownConfig{config: richConfig(c.src)})
	if err != nil && strings.HasPrefix(refusal.Msg, lintPrefix) {
		err = c.convert(ctx, target, unknownConfig{lenient: true})
	}
	if err != nil {
		return nil, refusal
	}
	return &Warning{
		Line:    refusal.Line,
		Message: "BuildKit refuses this unless the base image sets the environment or working directory for it: " + refusal.Msg,
	}, nil
}

// unknownConfig is the assumption about images with an unknown config.
type unknownConfig struct {
	config  dockerspec.DockerOCIImageConfig
	lenient bool // lint rules that depend on it do not count
}

var variableName = lazy.Regexp(`\$\{?([\pL_][\pL\pN_]*)`)

// richConfig is an image that sets every variable that a Dockerfile uses. The
// value 1 is a valid user, mode, port, signal, path and flag.
func richConfig(src []byte) dockerspec.DockerOCIImageConfig {
	names := map[string]struct{}{}
	for _, m := range variableName().FindAllSubmatch(src, -1) {
		names[string(m[1])] = struct{}{}
	}
	delete(names, "PATH") // is always set
	var config dockerspec.DockerOCIImageConfig
	config.WorkingDir = "/w"
	config.Shell = []string{"/bin/sh", "-c"}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		config.Env = append(config.Env, name+"=1")
	}
	return config
}

func (c *converter) convert(ctx context.Context, target string, unknown unknownConfig) error {
	client, err := dockerui.NewClient(&recorder{converter: c, unknown: unknown.config, options: c.options(target)})
	if err != nil {
		return err
	}
	opt := dockerfile2llb.ConvertOpt{
		Config:         client.Config,
		Client:         client,
		TargetPlatform: &client.TargetPlatforms[0],
		AllStages:      c.in.opts.AllStages,
	}
	opt.MetaResolver = client.GatewayClient()
	violation, err := setLinter(c.src, client, &opt, unknown.lenient)
	if err != nil {
		return err
	}
	res, err := dockerfile2llb.Dockerfile2LLB(ctx, c.src, opt)
	if err != nil {
		return located(err, *violation)
	}
	// Marshalling fails for text that is not valid UTF-8.
	if _, err := res.State.Marshal(ctx); err != nil {
		return &Error{Line: invalidLine(c.src), Msg: "failed to marshal LLB definition: " + err.Error()}
	}
	return nil
}

// invalidLine returns the first line that is not valid UTF-8, or 0.
func invalidLine(src []byte) int {
	n := 0
	for line := range bytes.Lines(src) {
		if n++; !utf8.Valid(line) {
			return n
		}
	}
	return 0
}

// options are the frontend options that a build client would send.
func (c *converter) options(target string) map[string]string {
	opts := map[string]string{
		"target":   target,
		"platform": platforms.FormatAll(c.in.platform),
	}
	for k, v := range c.in.opts.BuildArgs {
		opts["build-arg:"+k] = v
	}
	for name, nc := range c.in.contexts {
		// A folder counts as an empty file system.
		opts["context:"+name] = cmp.Or(nc.url, imageScheme+cmp.Or(nc.ref, scratch))
	}
	return opts
}

// setLinter turns lint violations into errors if the file or a build argument
// sets check=error=true. If lenient, rules that depend on the config of a base
// image are skipped. The result will hold the line of the first violation.
func setLinter(src []byte, client *dockerui.Client, opt *dockerfile2llb.ConvertOpt, lenient bool) (*int, error) {
	violation := new(int)
	config := client.LinterConfig
	if config == nil {
		directive, _, _, _ := parser.ParseDirective("check", src)
		var err error
		if config, err = linter.ParseLintOptions(directive); err != nil {
			return nil, fmt.Errorf("failed to parse check options: %w", err)
		}
	}
	if !config.ReturnAsError {
		return violation, nil
	}
	if lenient {
		config.SkipRules = append(config.SkipRules,
			linter.RuleUndefinedVar.Name, linter.RuleJSONArgsRecommended.Name)
	}
	client.LinterConfig = config
	opt.Warn = func(_, _, _, _ string, at []parser.Range) {
		if n := line(at); *violation == 0 || n > 0 && n < *violation {
			*violation = n
		}
	}
	return violation, nil
}

// recorder is a build daemon that knows every image and pulls none.
type recorder struct {
	*converter
	unknown dockerspec.DockerOCIImageConfig
	options map[string]string
}

// errOffline is returned for requests that planning a build does not need.
var errOffline = errors.New("not available offline")

var (
	llbCaps     = sync.OnceValue(func() apicaps.CapSet { return pb.Caps.CapSet(pb.Caps.All()) })
	gatewayCaps = sync.OnceValue(func() apicaps.CapSet { return gatewaypb.Caps.CapSet(nil) })
)

// BuildOpts returns the options of the build.
func (r *recorder) BuildOpts() gateway.BuildOpts {
	return gateway.BuildOpts{
		Opts:    r.options,
		Workers: []gateway.WorkerInfo{{Platforms: []ocispecs.Platform{r.in.buildPlatform}}},
		LLBCaps: llbCaps(),
		Caps:    gatewayCaps(),
	}
}

// ResolveImageConfig records a reference.
func (r *recorder) ResolveImageConfig(ctx context.Context, ref string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	if err := ctx.Err(); err != nil {
		return "", "", nil, err
	}
	r.mu.Lock()
	r.refs[ref] = struct{}{}
	r.mu.Unlock()
	img := dockerspec.DockerOCIImage{Config: r.unknown}
	img.Platform = r.in.platform
	if opt.ImageOpt != nil && opt.ImageOpt.Platform != nil {
		img.Platform = *opt.ImageOpt.Platform
	}
	if known := r.plan.bases.known[keyOf(ref, img.Platform)]; known != nil {
		known.fill(&img)
	}
	dt, err := json.Marshal(img)
	return ref, "", dt, err
}

// ResolveSourceMetadata returns nothing. BuildKit only calls it for the date
// of a source.
func (r *recorder) ResolveSourceMetadata(_ context.Context, op *pb.SourceOp, _ sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	return &sourceresolver.MetaResponse{Op: op}, nil
}

// Solve returns an empty file system: a build context without .dockerignore.
func (r *recorder) Solve(context.Context, gateway.SolveRequest) (*gateway.Result, error) {
	res := gateway.NewResult()
	res.SetRef(emptyFiles{})
	return res, nil
}

// Inputs returns none.
func (r *recorder) Inputs(context.Context) (map[string]llb.State, error) { return nil, nil }

// NewContainer is not available.
func (r *recorder) NewContainer(context.Context, gateway.NewContainerRequest) (gateway.Container, error) {
	return nil, errOffline
}

// Warn ignores a warning.
func (r *recorder) Warn(context.Context, digest.Digest, string, gateway.WarnOpts) error { return nil }

// emptyFiles is a file system without files.
type emptyFiles struct{}

// ToState returns an empty state.
func (emptyFiles) ToState() (llb.State, error) { return llb.Scratch(), nil }

// Evaluate does nothing.
func (emptyFiles) Evaluate(context.Context) error { return nil }

// ReadFile finds no file.
func (emptyFiles) ReadFile(context.Context, gateway.ReadRequest) ([]byte, error) {
	return nil, os.ErrNotExist
}

// StatFile finds no file.
func (emptyFiles) StatFile(context.Context, gateway.StatRequest) (*fstypes.Stat, error) {
	return nil, os.ErrNotExist
}

// ReadDir finds no file.
func (emptyFiles) ReadDir(context.Context, gateway.ReadDirRequest) ([]*fstypes.Stat, error) {
	return nil, nil
}
