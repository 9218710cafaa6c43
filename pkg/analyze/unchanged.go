package analyze

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"runtime"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"golang.org/x/sync/errgroup"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/dockerfile"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// The analysis of a Dockerfile is a function of its content, the options in images.yaml, the version of the analyzer and the
// recorded ONBUILD triggers of its base images. A state file keeps a hash of these inputs and of the result
// (dockerfile.analysis). If the hash is still the same, the result is reused and nothing is converted. The hash covers the
// result, so a merged or edited state file is detected. Results with warnings, or that state does not hold in full, have no
// hash.

// baseAnswer is the answer to one config lookup of an analysis.
type baseAnswer struct {
	Ref, Platform string
	Known         bool
	OnBuild       []string
}

func answerOf(k configKey, c *dockerfile.BaseConfig) baseAnswer {
	if c == nil {
		return baseAnswer{Ref: k.ref, Platform: k.platform}
	}
	return baseAnswer{Ref: k.ref, Platform: k.platform, Known: true, OnBuild: c.OnBuild}
}

// reuseAnalysis reports whether the inputs of the last analysis of a Dockerfile are unchanged, and copies its result to d if
// so.
func (a *analysis) reuseAnalysis(d *dockerfileResult, img *config.Image) bool {
	facts := a.State.Images[img.Name]
	if facts == nil || facts.Dockerfile == nil || facts.Dockerfile.Analysis == "" || facts.AnalysisError != "" ||
		len(facts.Unresolved) > 0 || facts.Dockerfile.Digest != contentDigest(d.file.Content) {
		return false
	}
	answers := a.recordedAnswers(img, facts.BaseImages)
	if facts.Dockerfile.Analysis != analysisKey(img, facts.Dockerfile.Digest, facts.BaseImages, answers, d.linkInputs()) {
		return false
	}
	a.configs.mu.Lock()
	defer a.configs.mu.Unlock()
	for _, answer := range answers {
		k := configKey{answer.Ref, answer.Platform}
		d.wants = append(d.wants, k)
		if _, wanted := a.configs.wanted[k]; !wanted {
			a.configs.wanted[k] = false
		}
		if !answer.Known {
			d.unknown = append(d.unknown, k)
		}
	}
	d.uses = facts.BaseImages
	return true
}

// recordedAnswers returns the answers that state gives for the base images in uses.
func (a *analysis) recordedAnswers(img *config.Image, uses []state.BaseUse) []baseAnswer {
	seen := map[configKey]bool{}
	var out []baseAnswer
	for _, use := range uses {
		for _, u := range use.Uses {
			if u.Kind != string(dockerfile.KindFrom) {
				continue
			}
			on := img.Source.Platforms
			if u.Platform != "" {
				on = []string{u.Platform}
			}
			for _, platform := range on {
				if k := (configKey{use.Ref, platformKey(platform)}); !seen[k] {
					seen[k] = true
					out = append(out, answerOf(k, a.recordedOf(k)))
				}
			}
		}
	}
	sortAnswers(out)
	return out
}

func (a *analysis) recordedOf(k configKey) *dockerfile.BaseConfig {
	ref, err := state.ParseRef(k.ref)
	if err != nil {
		return nil
	}
	return a.recordedTriggers(ref, k.platform)
}

// platformKey returns a platform in the form used in config lookups.
func platformKey(text string) string {
	p, err := platforms.Parse(text)
	if err != nil {
		return text
	}
	return platforms.FormatAll(platforms.Normalize(p))
}

func sortAnswers(answers []baseAnswer) {
	slices.SortFunc(answers, func(x, y baseAnswer) int {
		if c := strings.Compare(x.Ref, y.Ref); c != 0 {
			return c
		}
		return strings.Compare(x.Platform, y.Platform)
	})
}

// analysisKey returns the hash of all inputs of an analysis and of its result.
func analysisKey(img *config.Image, digest string, uses []state.BaseUse, answers []baseAnswer, links []string) string {
	hash := sha256.New()
	_ = json.NewEncoder(hash).Encode(struct { // none of these types can fail to encode, nor can a hash fail
		Version             int
		Digest, Target      string
		Platforms           []string
		BuildArgs, Contexts map[string]string
		Uses                []state.BaseUse
		Answers             []baseAnswer
		Links               []string `json:",omitempty"`
	}{dockerfile.Version, digest, img.Source.Target, img.Source.Platforms, img.Source.BuildArgs, img.Source.BuildContexts, uses, answers, links})
	return hex.EncodeToString(hash.Sum(nil)[:16])
}

// recordAnalyses records the hashes of reusable results. It compares with the final state, so that a registry that was not
// asked, or did not respond, does not change a file.
func (a *analysis) recordAnalyses(ctx context.Context) {
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for name, d := range a.files {
		img, facts := a.Config.Find(name), a.State.Images[name]
		if d.err != nil || d.file == nil || facts == nil || facts.Dockerfile == nil {
			continue
		}
		group.Go(func() error { // each writes to the facts of its own image
			a.recordAnalysis(ctx, img, facts, d)
			return nil
		})
	}
	_ = group.Wait()
}

func (a *analysis) recordAnalysis(ctx context.Context, img *config.Image, facts *state.Image, d *dockerfileResult) {
	answers := a.recordedAnswers(img, facts.BaseImages)
	key := analysisKey(img, facts.Dockerfile.Digest, facts.BaseImages, answers, d.linkInputs())
	switch {
	case facts.Dockerfile.Analysis == key:
		return
	case d.repeats(facts, answers):
		facts.Dockerfile.Analysis = key
		return
	}
	again := &dockerfileResult{file: d.file, before: facts.BaseImages, img: d.img, parts: d.parts, linkWarnings: d.linkWarnings}
	again.resolve(ctx, func(_ context.Context, text, platform string, whole bool) *dockerfile.BaseConfig {
		ref, err := state.ParseRef(text)
		if err != nil {
			return nil
		}
		k := configKey{ref.String(), platform}
		c := a.recordedOf(k)
		again.asked(k, c, whole)
		return c
	})
	if ctx.Err() != nil { // the recorded hash remains valid
		return
	}
	facts.Dockerfile.Analysis = ""
	if again.err == nil && again.repeats(facts, answers) {
		facts.Dockerfile.Analysis = key
	}
}

// asked records the answer to a config lookup.
func (d *dockerfileResult) asked(k configKey, c *dockerfile.BaseConfig, whole bool) {
	if d.answers == nil {
		d.answers = map[configKey]baseAnswer{}
	}
	d.answers[k] = answerOf(k, c)
	d.whole = d.whole || whole || c != nil && !c.Partial
}

// repeats reports whether an analysis with these answers results in exactly what state holds.
func (d *dockerfileResult) repeats(facts *state.Image, answers []baseAnswer) bool {
	if d.whole || d.kept || d.foreign || len(d.warnings) > 0 || len(d.unresolved) > 0 || len(answers) != len(d.answers) {
		return false
	}
	for _, answer := range answers {
		k := configKey{answer.Ref, answer.Platform}
		told, ok := d.answers[k]
		if !ok || told.Known != answer.Known || !slices.Equal(told.OnBuild, answer.OnBuild) || answer.Known == slices.Contains(d.unknown, k) {
			return false
		}
	}
	return sameUses(d.uses, facts.BaseImages)
}

// sameUses reports whether uses are equal in the fields that this version knows.
func sameUses(x, y []state.BaseUse) bool {
	a, _ := json.Marshal(x)
	b, _ := json.Marshal(y)
	return len(x) == len(y) && (len(x) == 0 || bytes.Equal(a, b))
}

func contentDigest(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}
