package dockerfile_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerui"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tonistiigi/fsutil/types"

	"github.com/imagefactory/imagefactory/pkg/dockerfile"
)

// buildkit is BuildKit's converter, called on its own and without any code of
// the package under test. It answers with the references that it resolves.
type buildkit struct {
	// env is what every base image sets; nil for nothing.
	env []string
	// workdir is the working directory of every base image.
	workdir string
	// shell is the shell of every base image; nil for none.
	shell []string
	// configs are those of single images, as JSON, by reference.
	configs map[string]string
}

// resolve returns the sorted references, each with the platform that it is
// resolved for: "ref platform".
func (b buildkit) resolve(src []byte, opts dockerfile.Options) ([]string, error) {
	seen := map[string]struct{}{}
	targets := []string{opts.Target}
	if opts.AllStages {
		src = nameStages(src)
		targets = append(targets, stageNames(src)...)
	}
	for _, target := range targets {
		c, err := newDaemon(b, opts, target)
		if err != nil {
			return nil, err
		}
		if err := c.convert(src, opts.AllStages && target == opts.Target); err != nil {
			return nil, err
		}
		maps.Copy(seen, c.seen)
	}
	return slices.Sorted(maps.Keys(seen)), nil
}

// nameStages gives every stage a name, to make it a target.
func nameStages(src []byte) []byte {
	lines := strings.SplitAfter(string(src), "\n")
	for i, st := range parseStages(src) {
		for _, at := range slices.Backward(st.Location) {
			line := &lines[at.Start.Line-1]
			if end := endOfWords(*line); st.Name == "" && end > 0 {
				*line = (*line)[:end] + fmt.Sprintf(" AS oracle-%d", i) + (*line)[end:]
				break
			}
		}
	}
	return []byte(strings.Join(lines, ""))
}

// endOfWords returns the length of a line up to its last word: without the
// character that continues it on the next line, and 0 for a comment.
func endOfWords(line string) int {
	words := strings.TrimRightFunc(line, unicode.IsSpace)
	if last := len(words) - 1; last >= 0 && (words[last] == '\\' || words[last] == '`') {
		words = strings.TrimRightFunc(words[:last], unicode.IsSpace)
	}
	if isComment(words) {
		return 0
	}
	return len(words)
}

func isComment(line string) bool { return strings.HasPrefix(strings.TrimSpace(line), "#") }

func parseStages(src []byte) []instructions.Stage {
	tree, err := parser.Parse(bytes.NewReader(src))
	if err != nil {
		return nil
	}
	stages, _, err := instructions.Parse(tree.AST, linter.New(&linter.Config{}))
	if err != nil {
		return nil
	}
	return stages
}

// stageNames lists the targets of a file.
func stageNames(src []byte) []string {
	var names []string
	for _, st := range parseStages(src) {
		if st.Name != "" && !slices.Contains(names, st.Name) {
			names = append(names, st.Name)
		}
	}
	return names
}

// daemon implements the gateway client.
type daemon struct {
	buildkit
	opts     map[string]string
	platform ocispecs.Platform
	build    ocispecs.Platform

	mu   sync.Mutex
	seen map[string]struct{}
}

func newDaemon(b buildkit, opts dockerfile.Options, target string) (*daemon, error) {
	d := &daemon{buildkit: b, opts: map[string]string{"target": target}, seen: map[string]struct{}{}}
	for _, p := range []struct {
		to *ocispecs.Platform
		v  string
	}{{&d.platform, opts.Platform}, {&d.build, opts.BuildPlatform}} {
		if p.v == "" {
			p.v = "linux/amd64"
		}
		parsed, err := platforms.Parse(p.v)
		if err != nil {
			return nil, err
		}
		*p.to = parsed
	}
	d.opts["platform"] = platforms.FormatAll(d.platform)
	for k, v := range opts.BuildArgs {
		d.opts["build-arg:"+k] = v
	}
	for k, v := range opts.Contexts {
		name, platform, has := strings.Cut(k, "::")
		named, err := reference.ParseNormalizedNamed(name)
		if err != nil {
			return nil, err
		}
		key := "context:" + strings.TrimSuffix(reference.FamiliarString(named), ":latest")
		if has {
			key += "::" + platform
		}
		if _, ok := d.opts[key]; ok {
			return nil, errors.New("two contexts of one name")
		}
		d.opts[key] = contextInput(v)
	}
	return d, nil
}

// contextInput is what a client sends for a context.
func contextInput(v string) string {
	if regexp.MustCompile(`^((docker-image|https?|git)://|git@)`).MatchString(v) {
		return v
	}
	return "local:" + v
}

func (d *daemon) convert(src []byte, all bool) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	client, err := dockerui.NewClient(d)
	if err != nil {
		return err
	}
	res, err := dockerfile2llb.Dockerfile2LLB(context.Background(), src, dockerfile2llb.ConvertOpt{
		Config:         client.Config,
		Client:         client,
		TargetPlatform: &d.platform,
		MetaResolver:   d,
		AllStages:      all,
		Warn:           func(string, string, string, string, []parser.Range) {}, // rules count with a listener only
	})
	if err != nil {
		return err
	}
	return d.addSources(res.State)
}

// addSources adds the images that a build pulls: BuildKit does not look up
// each of them before.
func (d *daemon) addSources(state llb.State) error {
	def, err := state.Marshal(context.Background())
	if err != nil {
		return err
	}
	for _, dt := range def.Def {
		var op pb.Op
		if err := op.UnmarshalVT(dt); err != nil {
			return err
		}
		if ref, ok := strings.CutPrefix(op.GetSource().GetIdentifier(), "docker-image://"); ok {
			d.seen[ref+" "+platforms.FormatAll(op.Platform.Spec())] = struct{}{}
		}
	}
	return nil
}

func (d *daemon) BuildOpts() gateway.BuildOpts {
	return gateway.BuildOpts{
		Opts:    d.opts,
		Workers: []gateway.WorkerInfo{{Platforms: []ocispecs.Platform{d.build}}},
		LLBCaps: pb.Caps.CapSet(pb.Caps.All()),
		Caps:    gatewaypb.Caps.CapSet(nil),
	}
}

func (d *daemon) ResolveImageConfig(_ context.Context, ref string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	p := d.platform
	if opt.ImageOpt != nil && opt.ImageOpt.Platform != nil {
		p = *opt.ImageOpt.Platform
	}
	d.mu.Lock()
	d.seen[ref+" "+platforms.FormatAll(p)] = struct{}{}
	d.mu.Unlock()
	var img dockerspec.DockerOCIImage
	img.Platform = p
	img.Config.Env = slices.Clone(d.env)
	img.Config.WorkingDir = d.workdir
	img.Config.Shell = d.shell
	if own, ok := d.configs[ref]; ok {
		img.Config = dockerspec.DockerOCIImageConfig{}
		if err := json.Unmarshal([]byte(own), &img); err != nil {
			return "", "", nil, err
		}
	}
	img.RootFS = ocispecs.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromString("layer")}}
	dt, err := json.Marshal(img)
	return ref, "", dt, err
}

func (d *daemon) ResolveSourceMetadata(_ context.Context, op *pb.SourceOp, _ sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	return &sourceresolver.MetaResponse{Op: op}, nil
}

func (d *daemon) Solve(context.Context, gateway.SolveRequest) (*gateway.Result, error) {
	res := gateway.NewResult()
	res.SetRef(noFiles{})
	return res, nil
}

func (d *daemon) Inputs(context.Context) (map[string]llb.State, error) { return nil, nil }

func (d *daemon) NewContainer(context.Context, gateway.NewContainerRequest) (gateway.Container, error) {
	return nil, errors.ErrUnsupported
}

func (d *daemon) Warn(context.Context, digest.Digest, string, gateway.WarnOpts) error { return nil }

type noFiles struct{}

func (noFiles) ToState() (llb.State, error)    { return llb.Scratch(), nil }
func (noFiles) Evaluate(context.Context) error { return nil }
func (noFiles) ReadFile(context.Context, gateway.ReadRequest) ([]byte, error) {
	return nil, os.ErrNotExist
}
func (noFiles) StatFile(context.Context, gateway.StatRequest) (*types.Stat, error) {
	return nil, os.ErrNotExist
}
func (noFiles) ReadDir(context.Context, gateway.ReadDirRequest) ([]*types.Stat, error) {
	return nil, nil
}

// dependsOnBase reports whether a warning is about what only a base image knows.
func dependsOnBase(res *dockerfile.Resolution) bool {
	return slices.ContainsFunc(res.Warnings, func(w dockerfile.Warning) bool {
		return strings.HasPrefix(w.Message, "BuildKit refuses this unless the base image")
	})
}

// noOracle reports whether BuildKit cannot be asked: the file is for another
// frontend, or its converter would run into a data race.
func noOracle(res *dockerfile.Resolution) bool {
	return res.Foreign || slices.ContainsFunc(res.Warnings, func(w dockerfile.Warning) bool {
		return strings.HasPrefix(w.Message, "no stage has this index")
	})
}

var indexes = regexp.MustCompile(`--from=\W*(\d+)`)

// mayRace reports whether a refused file may have made BuildKit's converter run
// into a data race before: it uses an index that is no stage's.
func mayRace(src []byte) bool {
	stages := len(parseStages(src))
	for _, m := range indexes.FindAllSubmatch(src, -1) {
		if index, err := strconv.Atoi(string(m[1])); err != nil || index >= stages {
			return true
		}
	}
	return false
}

var names = regexp.MustCompile(`\$\{?([\pL_][\pL\pN_]*)`)

// generousBase is a base image that sets what a file uses.
func generousBase(src []byte, configs map[string]string) buildkit {
	b := buildkit{configs: configs, workdir: "/srv", shell: []string{"/bin/bash", "-c"}}
	for _, m := range names.FindAllSubmatch(src, -1) {
		if name := string(m[1]); name != "PATH" {
			b.env = append(b.env, name+"=1")
		}
	}
	return b
}

// pulled lists the images of a result as the oracle does, without the syntax.
func pulled(res *dockerfile.Resolution, opts dockerfile.Options) []string {
	target := opts.Platform
	if target == "" {
		target = "linux/amd64"
	}
	seen := map[string]struct{}{}
	for _, img := range res.Images {
		if img.Kind == dockerfile.KindSyntax {
			continue
		}
		p := img.Platform
		if p == "" {
			p = platforms.FormatAll(platforms.MustParse(target))
		}
		seen[img.Ref+" "+p] = struct{}{}
	}
	return slices.Sorted(maps.Keys(seen))
}

// given replaces the words that could not be resolved by an image that can,
// as if the variables were given. It cannot if a word spans lines or has flags
// or quotes in an odd place.
func given(src []byte, opts dockerfile.Options, res *dockerfile.Resolution) ([]byte, bool) {
	platform := cmp.Or(opts.Platform, "linux/amd64")
	lines := strings.SplitAfter(string(src), "\n")
	for _, u := range res.Unresolved {
		from, to := instructionAt(src, u.Line)
		own := lines[from-1 : to]
		if !replaceWord(own, u.Text, someImage) && !replaceWord(own, "--platform="+u.Text, "--platform="+platform) {
			return nil, false
		}
	}
	return []byte(strings.Join(lines, "")), true
}

// instructionAt returns the first and the last line of the instruction at a line.
func instructionAt(src []byte, line int) (from, to int) {
	tree, err := parser.Parse(bytes.NewReader(src))
	if err == nil {
		for _, n := range tree.AST.Children {
			if n.StartLine <= line && line <= n.EndLine {
				return n.StartLine, n.EndLine
			}
		}
	}
	return line, line
}

// replaceWord replaces the first whole word of some lines that is not in a comment. It compares bytes:
// a word need not be valid UTF-8.
func replaceWord(lines []string, word, by string) bool {
	for i, line := range lines {
		if isComment(line) {
			continue
		}
		for at := 0; at+len(word) <= len(line); at++ {
			before, after := line[:at], line[at:]
			if rest, ok := strings.CutPrefix(after, word); ok && mayStart(before) && mayEnd(rest) {
				lines[i] = before + by + rest
				return true
			}
		}
	}
	return false
}

const space = " \t\n\f\r"

// mayStart reports whether a word may start after a text.
func mayStart(before string) bool {
	return before == "" || strings.IndexByte(space, before[len(before)-1]) >= 0
}

// mayEnd reports whether a word may end before a text.
func mayEnd(rest string) bool {
	return rest == "" || strings.IndexByte(space+`\`, rest[0]) >= 0
}

const someImage = "given.invalid/image:1"

// differs says how a result differs from what BuildKit does, "" if it does not.
func differs(src []byte, opts dockerfile.Options, configs map[string]string, res *dockerfile.Resolution, err error) string {
	var refused *dockerfile.Error
	if err != nil && !errors.As(err, &refused) {
		return "not an *Error: " + err.Error()
	}
	if err != nil && (ownRefusal(refused.Msg) || mayRace(src)) || err == nil && noOracle(res) {
		return ""
	}
	want, wantErr := buildkit{configs: configs}.resolve(src, opts)
	switch {
	case err != nil:
		if wantErr == nil {
			return fmt.Sprintf("refused, but BuildKit resolves %v: %v", want, err)
		}
		return ""
	case len(res.Unresolved) > 0:
		if wantErr == nil {
			return fmt.Sprintf("unresolved %v, but BuildKit resolves %v", res.Unresolved, want)
		}
		return differsGiven(src, opts, configs, res)
	case dependsOnBase(res):
		if wantErr == nil {
			return "warns of a refusal, but BuildKit accepts"
		}
		want, wantErr = generousBase(src, configs).resolve(src, opts)
	}
	if wantErr != nil {
		return fmt.Sprintf("accepted, but BuildKit refuses: %v", wantErr)
	}
	if got := pulled(res, opts); !slices.Equal(got, want) {
		return fmt.Sprintf("got %q, BuildKit resolves %q", got, want)
	}
	return ""
}

// ownRefusal reports whether a file is refused for a limit (which BuildKit may
// take forever for), or an option or a syntax that the client refuses.
func ownRefusal(msg string) bool {
	return strings.HasPrefix(msg, "the Dockerfile ") && msg != "the Dockerfile cannot be empty" ||
		strings.HasPrefix(msg, "parsing ")
}

// differsGiven compares the rest of a file that has words without a value.
func differsGiven(src []byte, opts dockerfile.Options, configs map[string]string, res *dockerfile.Resolution) string {
	oracle := buildkit{configs: configs}
	if dependsOnBase(res) {
		oracle = generousBase(src, configs)
	}
	src, ok := given(src, opts, res)
	if !ok {
		return ""
	}
	want, err := oracle.resolve(src, opts)
	if err != nil {
		return fmt.Sprintf("accepted, but BuildKit refuses even with values: %v", err)
	}
	want = slices.DeleteFunc(want, func(ref string) bool {
		return strings.HasPrefix(ref, someImage)
	})
	if got := pulled(res, opts); !slices.Equal(got, want) {
		return fmt.Sprintf("got %q, BuildKit with values resolves %q", got, want)
	}
	return ""
}
