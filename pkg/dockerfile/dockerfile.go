package dockerfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// Version changes whenever the result of [Resolve] changes for the same input.
// Results recorded with another version are analyzed again.
const Version = 1

// Options are the inputs of a build, besides the Dockerfile, that decide
// which images it uses.
type Options struct {
	// BuildArgs are the values of --build-arg. BUILDKIT_SYNTAX and
	// BUILDKIT_DOCKERFILE_CHECK work as they do for BuildKit.
	BuildArgs map[string]string
	// Target is the stage to build, in any case; empty means the last stage.
	// Only a name can be found: BuildKit knows no stage by its index, so
	// an index is rejected.
	Target string
	// Platform is the target platform, linux/amd64 when empty.
	Platform string
	// BuildPlatform is the platform of the builder, linux/amd64 when empty.
	BuildPlatform string
	// Contexts are the values of --build-context, by name. A name may end in
	// ::PLATFORM, then the context counts for that platform only. As for
	// buildx, docker-image://REF alone is an image. Anything else (a folder, a
	// git address, a URL, oci-layout:// or target:) replaces an image by files
	// that are not pulled from a registry.
	Contexts map[string]string
	// Base returns the configs of base images; nil if none is known.
	Base BaseFunc
	// AllStages makes every stage count, not only those that Target needs.
	AllStages bool
}

// Kind is the way in which a Dockerfile uses an image.
type Kind string

// The ways to use an image.
const (
	KindFrom    Kind = "from"    // FROM
	KindCopy    Kind = "copy"    // COPY --from
	KindMount   Kind = "mount"   // RUN --mount=from
	KindOnbuild Kind = "onbuild" // COPY or RUN in an ONBUILD trigger of a parent stage or base image
	KindSyntax  Kind = "syntax"  // the frontend, # syntax=
)

// Image is one use of an image.
type Image struct {
	// Ref is the normalised reference: docker.io/library/node:22-slim.
	// A reference with a tag and a digest keeps both.
	Ref  string `json:"ref"`
	Kind Kind   `json:"kind"`
	// Stage is the name of the stage as written, or its index when it has no
	// name. It is empty for a syntax image.
	Stage string `json:"stage"`
	// Line is the 1-based line of the instruction; for a trigger, that of
	// the ONBUILD instruction, or that of FROM when the trigger is the base
	// image's. It is 0 for an image that no line names, such as a syntax
	// given as a build argument.
	Line int `json:"line"`
	// Platform is set when it is not the target platform.
	Platform string `json:"platform,omitempty"`
	// Final is set if the target stage is built on it, directly or through
	// other stages: the layers of the result begin with its layers.
	Final bool `json:"final,omitempty"`
}

// Unresolved is a word of a FROM instruction, the base or its --platform,
// that cannot be resolved because variables in it have no value. BuildKit refuses
// such a file, even where the stage is not needed. An image of which only the
// platform is unresolved is among the images, without a platform.
type Unresolved struct {
	Text    string   `json:"text"`    // as written: node:${VERSION}
	Line    int      `json:"line"`    // 1-based
	Missing []string `json:"missing"` // the variables, sorted
}

// UnknownBase is a FROM whose image may have ONBUILD triggers that
// [Options.Base] does not know.
type UnknownBase struct {
	Ref      string `json:"ref"`
	Platform string `json:"platform"`
	Stage    string `json:"stage"`
	Line     int    `json:"line"`
}

// Warning is a message for the author of the file.
type Warning struct {
	Line    int    `json:"line"` // 0 if no line of the file causes it
	Message string `json:"message"`
}

// Resolution is the result of [Resolve], each list sorted by line.
type Resolution struct {
	Images     []Image      `json:"images"`
	Unresolved []Unresolved `json:"unresolved,omitempty"`
	Warnings   []Warning    `json:"warnings,omitempty"`
	// Unknown are the base images with an unknown config.
	Unknown []UnknownBase `json:"-"`
	// Foreign is set if the frontend of the file does not read Dockerfiles:
	// the images that it uses are unknown.
	Foreign bool `json:"foreign,omitempty"`
}

// Error is the reason why BuildKit refuses a Dockerfile.
type Error struct {
	Line int    `json:"line"` // 1-based, 0 if unknown
	Msg  string `json:"msg"`

	limit bool // this package refuses the file, not BuildKit
}

// Error implements error: it returns the message with its line.
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Msg
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Msg)
}

// Resolve returns the images that BuildKit resolves to build src.
//
// A file or an option that BuildKit refuses returns an *[Error], as does a
// file beyond the limits of this package. The only other error is that of a
// context that ended.
func Resolve(ctx context.Context, src []byte, opts Options) (res *Resolution, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	defer func() {
		if r := recover(); r != nil {
			res, err = nil, &Error{Msg: fmt.Sprintf("resolving: internal error: %v", r)}
		}
	}()
	in, err := newInput(src, opts)
	if err != nil {
		return nil, err
	}
	syntax, err := syntaxImage(in)
	if err != nil {
		return nil, err
	}
	res = &Resolution{}
	if err := resolveStages(ctx, in, res); err != nil {
		var refused *Error
		if syntax == nil || readsDockerfiles(syntax.Ref) || !errors.As(err, &refused) || refused.limit {
			return nil, err
		}
		res = &Resolution{Foreign: true}
	}
	if syntax != nil {
		res.Images = append([]Image{*syntax}, res.Images...)
		if !readsDockerfiles(syntax.Ref) {
			res.Warnings = append(res.Warnings, foreignWarning(syntax, res.Foreign))
		}
	}
	res.sort()
	return res, nil
}

func foreignWarning(syntax *Image, unread bool) Warning {
	message := "the file is for the frontend " + syntax.Ref + ", which may use other images than those of the Dockerfile"
	if unread {
		message = "the file is for the frontend " + syntax.Ref + " and is not a Dockerfile: which images it uses is not known"
	}
	return Warning{Line: syntax.Line, Message: message}
}

func (r *Resolution) sort() {
	slices.SortStableFunc(r.Images, func(a, b Image) int { return a.Line - b.Line })
	slices.SortStableFunc(r.Unresolved, func(a, b Unresolved) int { return a.Line - b.Line })
	slices.SortStableFunc(r.Warnings, func(a, b Warning) int { return a.Line - b.Line })
}

// resolveStages adds the images that the stages use to res.
func resolveStages(ctx context.Context, in *input, res *Resolution) error {
	file, err := parse(in)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if in.opts.Base != nil {
		err := resolveParsed(ctx, in, file, newBases(ctx, in.opts.Base, false), res)
		if err == nil || isLimit(err) || ctx.Err() != nil {
			return err
		}
	}
	return resolveParsed(ctx, in, file, newBases(ctx, in.opts.Base, true), res)
}

// resolveParsed fills res, given the known configs of base images.
func resolveParsed(ctx context.Context, in *input, file *parsed, known *bases, res *Resolution) error {
	plan, planErr := newPlan(in, file, known)
	if plan == nil {
		return planErr // a limit
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	refs, warnings, err := convert(ctx, in, plan)
	if err != nil && planErr != nil {
		return planErr // the same message as from BuildKit, but always with a line
	}
	if err != nil {
		return err
	}
	if planErr != nil && plan.shared > 0 {
		return planErr
	}
	if planErr != nil {
		plan.states = nil // the plan is wrong, BuildKit accepts the file
	}
	res.Unresolved = plan.unresolved
	res.Warnings = append(plan.warnings(), warnings...)
	for _, name := range slices.Sorted(maps.Keys(in.contexts)) {
		if doubt := in.contexts[name].doubt; doubt != "" {
			res.Warnings = append(res.Warnings, Warning{Message: doubt})
		}
	}
	res.Images = addUnattributed(plan.images(), refs)
	res.Unknown = plan.unknown
	return checkImages(res.Images)
}

// addUnattributed adds the references that BuildKit resolves and that no
// instruction asks for, such as the image of a named context that
// SOURCE_DATE_EPOCH names.
func addUnattributed(images []Image, refs map[string]struct{}) []Image {
	seen := make(map[string]struct{}, len(images))
	for _, img := range images {
		seen[img.Ref] = struct{}{}
	}
	for _, ref := range slices.Sorted(maps.Keys(refs)) {
		if _, ok := seen[ref]; !ok {
			images = append(images, Image{Ref: ref, Kind: KindFrom})
		}
	}
	return images
}

// parsed is a Dockerfile parsed by BuildKit.
type parsed struct {
	escape rune
	args   []instructions.ArgCommand
	stages []instructions.Stage
}

func parse(in *input) (*parsed, error) {
	if len(in.src) == 0 {
		return nil, &Error{Msg: "the Dockerfile cannot be empty"}
	}
	tree, err := parser.Parse(bytes.NewReader(in.src))
	if err != nil {
		return nil, newError(err)
	}
	if n := len(tree.AST.Children); n > maxInstructions {
		return nil, limitError(tree.AST.Children[maxInstructions].StartLine, "has more than %d instructions", maxInstructions)
	}
	// A nil linter makes the parser panic on a "# check=" comment.
	stages, args, err := instructions.Parse(tree.AST, linter.New(&linter.Config{}))
	if err != nil {
		return nil, newError(err)
	}
	if len(stages) == 0 {
		return nil, &Error{Msg: "dockerfile contains no stages to build"}
	}
	if len(stages) > maxStages {
		return nil, limitError(line(stages[maxStages].Location), "has more than %d stages", maxStages)
	}
	return &parsed{escape: tree.EscapeToken, args: args, stages: stages}, nil
}

// syntaxImage returns the frontend image of the file, nil for the built-in
// frontend. BuildKit finds a syntax in three forms: after "#", after "//" and
// in JSON.
func syntaxImage(in *input) (*Image, error) {
	ref, _, loc, found := parser.DetectSyntax(in.src)
	at := 0
	if found {
		at = max(line(loc), 1) // the JSON form is given no line
	}
	if arg, ok := in.opts.BuildArgs["BUILDKIT_SYNTAX"]; ok {
		ref, _, _ = strings.Cut(strings.TrimSpace(arg), " ")
		found = true
	}
	if !found {
		return nil, nil
	}
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil, &Error{Line: at, Msg: fmt.Sprintf("parsing syntax %q: %v", ref, err)}
	}
	return &Image{Ref: reference.TagNameOnly(named).String(), Kind: KindSyntax, Line: at}, nil
}

// readsDockerfiles reports whether a frontend is a build of BuildKit's own:
// docker/dockerfile, docker/dockerfile-upstream, or a copy with such a name.
func readsDockerfiles(ref string) bool {
	named, err := reference.ParseNormalizedNamed(ref)
	return err == nil && strings.HasPrefix(path.Base(reference.Path(named)), "dockerfile")
}
