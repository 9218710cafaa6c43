package fleet

import (
	"fmt"

	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// setDemand sets what factory.trust requires of the candidates of a base image.
func (f *Fleet) setDemand(base *state.Base) {
	base.Demand = ""
	if ref, err := state.ParseRef(base.Ref()); err == nil {
		if rule := f.Config.TrustFor(ref.Registry, ref.Repository, ref.Tag); rule != nil {
			base.Demand = rule.Demand()
		}
	}
}

// lintTrust reports the base images whose newest digest is not verified; until there is a candidate, that is the baseline.
func (f *Fleet) lintTrust() finding.List {
	var l finding.List
	for _, name := range f.Graph.Bases() {
		base := f.State.Bases[name]
		if base == nil || base.Baseline == nil {
			continue
		}
		what, c := "baseline", base.Baseline
		for i := range base.Candidates {
			if base.Candidates[i].Withdrawn.IsZero() {
				what, c = "newest digest", &base.Candidates[i]
			}
		}
		if why := base.Distrust(c); why != "" {
			l = append(l, finding.Untrusted.At(stateFile(f.Paths.StateDir, state.BasesFolder, name), 0, 0,
				fmt.Sprintf("%s of %s is untrusted: %s", what, state.Short(base.Ref()), state.Text(why)), "factory.trust requires a "+base.Demand))
		}
	}
	return l
}
