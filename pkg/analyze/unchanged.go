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

// An analysis of a Dockerfile is a function of its content, the options in images.yaml, the version of the analyzer and the
// triggers that state has of its base images. A state file keeps a hash of these and of the answer that they gave
// (dockerfile.analysis): where the hash of what there is now is the same, the answer stands, and nothing is converted. The hash
// vouches for itself, so a file that was merged or edited is no danger. An answer with warnings, or one that state does not hold
// in full, has none.

// baseAnswer is what an analysis was told about an image that a Dockerfile builds on.
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

// answerStands reports whether the last analysis of a Dockerfile with this content says what another one would say, and takes
// it over then.
func (a *analysis) answerStands(d *dockerfileFound, img *config.Image) bool {
	facts := a.State.Images[img.Name]
	if facts == nil || facts.Dockerfile == nil || facts.Dockerfile.Analysis == "" || facts.AnalysisError != "" ||
		len(facts.Unresolved) > 0 || facts.Dockerfile.Digest != contentDigest(d.file.Content) {
		return false
	}
	answers := a.recordedAnswers(img, facts.BaseImages)
	if facts.Dockerfile.Analysis != analysisKey(img, facts.Dockerfile.Digest, facts.BaseImages, answers) {
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

// recordedAnswers returns what state has of the images that an image is built on, given its uses.
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

// platformKey returns a platform in the form in which an analysis asks for configs.
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

// analysisKey returns the hash of everything that an analysis depends on, and of its answer.
func analysisKey(img *config.Image, digest string, uses []state.BaseUse, answers []baseAnswer) string {
	hash := sha256.New()
	_ = json.NewEncoder(hash).Encode(struct { // none of these types can fail to encode, nor can a hash fail
		Version             int
		Digest, Target      string
		Platforms           []string
		BuildArgs, Contexts map[string]string
		Uses                []state.BaseUse
		Answers             []baseAnswer
	}{dockerfile.Version, digest, img.Source.Target, img.Source.Platforms, img.Source.BuildArgs, img.Source.BuildContexts, uses, answers})
	return hex.EncodeToString(hash.Sum(nil)[:16])
}

// rememberAnswers records the answers that stand until something changes. Whether one does is decided by what state holds at
// the end, so that a registry that was not asked, or did not answer, makes no difference to a file.
func (a *analysis) rememberAnswers(ctx context.Context) {
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for name, d := range a.files {
		img, facts := a.Config.Find(name), a.State.Images[name]
		if d.err != nil || d.file == nil || facts == nil || facts.Dockerfile == nil {
			continue
		}
		group.Go(func() error { // each writes to the facts of its own image
			a.rememberAnswer(ctx, img, facts, d)
			return nil
		})
	}
	_ = group.Wait()
}

func (a *analysis) rememberAnswer(ctx context.Context, img *config.Image, facts *state.Image, d *dockerfileFound) {
	answers := a.recordedAnswers(img, facts.BaseImages)
	key := analysisKey(img, facts.Dockerfile.Digest, facts.BaseImages, answers)
	switch {
	case facts.Dockerfile.Analysis == key:
		return
	case d.repeats(facts, answers):
		facts.Dockerfile.Analysis = key
		return
	}
	again := &dockerfileFound{file: d.file, before: facts.BaseImages}
	again.resolve(ctx, img, func(_ context.Context, text, platform string, whole bool) *dockerfile.BaseConfig {
		ref, err := state.ParseRef(text)
		if err != nil {
			return nil
		}
		k := configKey{ref.String(), platform}
		c := a.recordedOf(k)
		again.asked(k, c, whole)
		return c
	})
	if ctx.Err() != nil { // what was known before vouches for itself
		return
	}
	facts.Dockerfile.Analysis = ""
	if again.err == nil && again.repeats(facts, answers) {
		facts.Dockerfile.Analysis = key
	}
}

// asked records what the analysis of a Dockerfile was told.
func (d *dockerfileFound) asked(k configKey, c *dockerfile.BaseConfig, whole bool) {
	if d.answers == nil {
		d.answers = map[configKey]baseAnswer{}
	}
	d.answers[k] = answerOf(k, c)
	d.whole = d.whole || whole || c != nil && !c.Partial
}

// repeats reports whether an analysis that is told answers comes to what state holds and to nothing else.
func (d *dockerfileFound) repeats(facts *state.Image, answers []baseAnswer) bool {
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

// sameUses compares what this version knows of uses.
func sameUses(x, y []state.BaseUse) bool {
	a, _ := json.Marshal(x)
	b, _ := json.Marshal(y)
	return len(x) == len(y) && (len(x) == 0 || bytes.Equal(a, b))
}

func contentDigest(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}
