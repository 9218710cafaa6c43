package analyze

import (
	"context"
	"slices"

	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/pkg/trust"
)

// maxVerified bounds the digests of one base image that one analysis verifies, the newest first.
const maxVerified = 10

// verifyBases verifies the signatures and provenance of digests that factory.trust demands and that were not verified yet, and
// records the results. Untrusted ones are asked again each time, because signatures are often pushed after the image.
func (a *analysis) verifyBases(ctx context.Context) {
	var names []string
	for name := range a.asked {
		if base := a.State.Bases[name]; base != nil && len(base.Unverified(1)) > 0 {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return
	}
	slices.Sort(names)
	a.Progress.Add(len(names))
	checker := trust.NewChecker(a.Config, trust.Clients{Registry: a.Registry, API: a.API, HTTP: a.HTTP})
	results := forEach(ctx, a, a.tasks(ctx, names, a.tagsOf(names)), func(ctx context.Context, name string) map[string]trust.Result {
		return a.verify(ctx, checker, name)
	})
	for _, name := range names {
		base := a.State.Bases[name]
		before := base.Clone()
		for digest, r := range results[name] {
			if r.Untrusted == "" {
				base.SetVerified(digest, a.now)
			} else {
				base.SetUntrusted(digest, r.Untrusted, r.Unknown)
			}
		}
		if err := base.Writable(); err != nil {
			*base = *before
		}
	}
}

// forgetTrust removes what was recorded about the signatures of base images that no longer need any.
func (a *analysis) forgetTrust() {
	for _, base := range a.State.Bases {
		if base.Demand == "" {
			base.ForgetTrust()
		}
	}
}

// verify returns the results for the digests of one base image.
func (a *analysis) verify(ctx context.Context, checker *trust.Checker, name string) map[string]trust.Result {
	base, ref := a.State.Bases[name], a.Graph.BaseRef(name)
	rule := a.Config.TrustFor(ref.Registry, ref.Repository, ref.Tag)
	out := map[string]trust.Result{}
	for _, digest := range base.Unverified(maxVerified) {
		if rule == nil || ctx.Err() != nil {
			break
		}
		out[digest] = checker.Check(ctx, rule, state.Ref{Registry: ref.Registry, Repository: ref.Repository, Tag: ref.Tag, Digest: digest})
	}
	return out
}
