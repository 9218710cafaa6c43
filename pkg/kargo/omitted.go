package kargo

import (
	"fmt"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Omission is an object that is left out of dist because Kargo or the API server would reject it.
type Omission struct {
	Base   string // name of the base image without a Warehouse, or
	Image  string // name of the enrolled image without a Warehouse or a rebuild Stage
	Stage  bool   // the rebuild Stage of Image is missing
	Ref    string // reference that would be watched; empty if only the Stage is missing
	Reason string
}

// Omissions returns what [Objects] leaves out.
func Omissions(cfg *config.Config, st *state.State, g *graph.Graph) []Omission {
	b := newBuilder(cfg, st, g, Options{}, func(Object) {})
	b.ofImages()
	return b.omitted
}

// Watchable reports whether Kargo can watch the repository of a reference.
func Watchable(cfg *config.Config, registry, repository string) bool {
	return repositoryProblem(repoURL(cfg, registry, repository)) == ""
}

// repoForm matches the image repositories that Kargo's admission webhook accepts.
var repoForm = lazy.Regexp(`^(\w+([.-]\w+)*(:\d+)?/)?\w+([.-]\w+)*(/\w+([.-]\w+)*)*$`)

// repositoryProblem returns why Kargo rejects a repository, or "".
func repositoryProblem(repoURL string) string {
	switch {
	case repoForm().MatchString(repoURL):
		return ""
	case strings.HasPrefix(repoURL, "["):
		return "Kargo does not support IPv6 addresses as registry hosts"
	case strings.Contains(repoURL, "--"):
		return "Kargo does not support repository names with two dashes in a row"
	}
	return "Kargo does not support this repository name"
}

// subscriptionProblem returns why Kargo's admission webhook rejects a subscription, or "".
func subscriptionProblem(s *ImageSubscription) string {
	switch config.TagStrategy(s.ImageSelectionStrategy) {
	case config.Digest:
		if s.Constraint == "" {
			return "the strategy Digest needs a tag"
		}
	case config.SemVer:
		if _, err := semver.NewConstraint(s.Constraint); s.Constraint != "" && err != nil {
			return fmt.Sprintf("invalid version range %q", s.Constraint)
		}
	case config.NewestBuild, config.Lexical:
	default:
		return fmt.Sprintf("unknown tag strategy %q", s.ImageSelectionStrategy)
	}
	if size(s.AllowTagsRegexes...)+size(s.IgnoreTagsRegexes...) > maxTexts {
		return fmt.Sprintf("its regular expressions are larger than %d KiB", maxTexts>>10)
	}
	return repositoryProblem(s.RepoURL)
}

// maxTexts is the maximum size of the texts from images.yaml in one object. The API server stores objects of up to 1.5 MiB,
// and Kargo copies the steps of a Stage into each Promotion.
const maxTexts = 512 << 10

func size(texts ...string) int {
	n := 0
	for _, t := range texts {
		n += len(t)
	}
	return n
}

// checkMirror returns an error for a mirror that Kargo cannot watch. It is an error of the whole configuration, because every
// Warehouse of the registry would be missing.
func checkMirror(cfg *config.Config, registry string) error {
	mirrors := cfg.Factory.Mirrors[registry]
	if len(mirrors) == 0 {
		return nil
	}
	if reason := repositoryProblem(strings.TrimSuffix(mirrors[0], "/") + "/repository"); reason != "" {
		return fmt.Errorf("factory.mirrors.%s[0]: %q: %s (put a mirror first that Kargo can watch)", registry, mirrors[0], reason)
	}
	return nil
}
