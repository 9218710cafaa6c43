package factory

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/dockerfile"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/source"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// DockerfileSource gives the Dockerfile of a managed image.
type DockerfileSource interface {
	Dockerfile(img *config.Image) (*source.File, error)
}

// ImageReport is what analyzing one image came to.
type ImageReport struct {
	Image      string          `json:"image"`
	Kind       string          `json:"kind"` // managed or external
	Dockerfile string          `json:"dockerfile,omitempty"`
	Bases      []string        `json:"bases,omitempty"`
	Parents    []string        `json:"parents,omitempty"`
	Unresolved []state.Missing `json:"unresolved,omitempty"`
	Warnings   []string        `json:"warnings,omitempty"`
	Error      string          `json:"error,omitempty"`
}

// AnalyzeReport is what an analysis came to.
type AnalyzeReport struct {
	Images []ImageReport `json:"images"`
	StateChange
	Failed int `json:"failed"`
}

// Analyze reads the Dockerfiles of the named images (all when there are none) and updates the fleet's state in memory.
// An image that fails is reported and keeps its state; the others go on. Nothing is written: see Save.
func (f *Fleet) Analyze(ctx context.Context, names []string, src DockerfileSource) (*AnalyzeReport, error) {
	images, err := f.images(names)
	if err != nil {
		return nil, err
	}
	before, err := f.State.Encode()
	if err != nil {
		return nil, err
	}
	findings := make([]analysis, len(images))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, img := range images {
		group.Go(func() error {
			findings[i] = analyzeOne(ctx, img, src)
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("analyzing: %w", err)
	}
	report := &AnalyzeReport{Images: []ImageReport{}}
	for i, img := range images {
		f.learn(img, &findings[i])
	}
	f.Graph = graph.Build(f.Config, f.State)
	for i, img := range images {
		f.addBases(img.Name)
		report.Images = append(report.Images, f.describe(img, &findings[i]))
		if findings[i].err != nil {
			report.Failed++
		}
	}
	if err := cycles(f.Config, f.Graph).Err(); err != nil {
		return nil, err
	}
	report.StateChange, err = f.changeSince(before)
	return report, err
}

// analysis is what the Dockerfile of one image says.
type analysis struct {
	file       *source.File
	uses       []state.BaseUse
	unresolved []state.Missing
	warnings   []string
	err        error
}

func analyzeOne(ctx context.Context, img *config.Image, src DockerfileSource) (a analysis) {
	if !img.Managed() {
		return a
	}
	if a.file, a.err = src.Dockerfile(img); a.err != nil {
		return a
	}
	byUse := map[useKey][]string{} // to the platforms that a build for them uses it on
	missing := map[string]state.Missing{}
	for _, platform := range img.Source.Platforms {
		res, err := dockerfile.Resolve(ctx, a.file.Content, dockerfile.Options{
			BuildArgs: img.Source.BuildArgs, Contexts: img.Source.BuildContexts, Target: img.Source.Target, Platform: platform,
		})
		if err != nil {
			a.err = positioned(a.file.Path, err)
			return a
		}
		for _, i := range res.Images {
			k := useKey{ref: i.Ref, use: state.Use{Kind: string(i.Kind), Stage: i.Stage, Line: i.Line}.Key()}
			on := platform
			if i.Platform != "" {
				on = i.Platform
			}
			if !slices.Contains(byUse[k], on) {
				byUse[k] = append(byUse[k], on)
			}
		}
		for _, u := range res.Unresolved {
			missing[fmt.Sprintf("%d %s", u.Line, u.Text)] = state.Missing{Text: u.Text, Line: u.Line, Variables: u.Missing}
		}
		for _, w := range res.Warnings {
			if text := fmt.Sprintf("%s:%d: %s", a.file.Path, w.Line, w.Message); !slices.Contains(a.warnings, text) {
				a.warnings = append(a.warnings, text)
			}
		}
	}
	a.uses = baseUses(byUse, img.Source.Platforms)
	for _, m := range missing {
		a.unresolved = append(a.unresolved, m)
	}
	slices.SortFunc(a.unresolved, func(x, y state.Missing) int {
		if x.Line != y.Line {
			return x.Line - y.Line
		}
		return strings.Compare(x.Text, y.Text)
	})
	return a
}

func positioned(path string, err error) error {
	var refused *dockerfile.Error
	if errors.As(err, &refused) && refused.Line > 0 {
		return fmt.Errorf("%s:%d: %s", path, refused.Line, refused.Msg)
	}
	return fmt.Errorf("%s: %w", path, err)
}

type useKey struct {
	ref string
	use state.UseKey
}

// baseUses groups uses by reference. A use that holds for all of the image's platforms names none.
func baseUses(byUse map[useKey][]string, platforms []string) []state.BaseUse {
	byRef := map[string][]state.Use{}
	for k, on := range byUse {
		slices.Sort(on)
		if slices.Equal(on, slices.Sorted(slices.Values(platforms))) {
			byRef[k.ref] = append(byRef[k.ref], k.use.Use(""))
			continue
		}
		for _, p := range on {
			byRef[k.ref] = append(byRef[k.ref], k.use.Use(p))
		}
	}
	out := make([]state.BaseUse, 0, len(byRef))
	for _, ref := range slices.Sorted(maps.Keys(byRef)) {
		uses := byRef[ref]
		slices.SortFunc(uses, state.Use.Compare)
		out = append(out, state.BaseUse{Ref: ref, Uses: uses})
	}
	return out
}

// learn makes facts of what the Dockerfile of an image says.
func (f *Fleet) learn(img *config.Image, a *analysis) {
	if a.err != nil {
		return
	}
	facts := f.State.Images[img.Name]
	if facts == nil {
		facts = &state.Image{Name: img.Name}
		f.State.Images[img.Name] = facts
	}
	facts.Enrolled(img.Ref())
	if !img.Managed() {
		return
	}
	sum := sha256.Sum256(a.file.Content)
	found := state.Dockerfile{
		Repo: img.Source.Repo, Path: img.Source.Dockerfile, Commit: a.file.Commit, Digest: "sha256:" + hex.EncodeToString(sum[:]),
	}
	facts.SetDockerfile(found, a.uses, a.unresolved)
}

// addBases makes a state file for each base image that an image uses and that has none yet.
func (f *Fleet) addBases(name string) {
	for _, dep := range f.Graph.Deps(name) {
		if dep.Base == "" || f.State.Bases[dep.Base] != nil {
			continue
		}
		f.State.Bases[dep.Base] = &state.Base{
			Name: dep.Base, Registry: dep.Ref.Registry, Repository: dep.Ref.Repository, Tag: dep.Ref.Tag,
		}
	}
}

func (f *Fleet) describe(img *config.Image, a *analysis) ImageReport {
	r := ImageReport{Image: img.Name, Kind: "external", Unresolved: a.unresolved, Warnings: a.warnings}
	if img.Managed() {
		r.Kind = "managed"
	}
	if a.file != nil {
		r.Dockerfile = a.file.Path
	}
	if a.err != nil {
		r.Error = string(bytes.TrimSpace([]byte(a.err.Error())))
		return r
	}
	for _, dep := range f.Graph.Deps(img.Name) {
		if dep.Parent != "" {
			r.Parents = append(r.Parents, dep.Parent)
		} else {
			r.Bases = append(r.Bases, dep.Ref.String())
		}
	}
	r.Parents = slices.Compact(slices.Sorted(slices.Values(r.Parents)))
	return r
}
