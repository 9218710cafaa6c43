package promote

import (
	"context"

	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/issues"
)

// factIDs returns the facts about images that a person must know, by image.
func factIDs(f *fleet.Fleet) map[string]string {
	out := map[string]string{}
	if f.Config.Factory.Notify.Issues == nil {
		return out
	}
	for i := range f.Config.Images {
		if fact := issues.FactOf(f, &f.Config.Images[i]); fact != nil {
			out[f.Config.Images[i].Name] = fact.ID
		}
	}
	return out
}

// syncIssues brings the issues at the forges up to date: those of images with a fact, of images whose fact this pass removed, and in a
// sweep those of a share of all images. A failure is a warning: the next pass tries again.
func (a *attempt) syncIssues(ctx context.Context) {
	if a.opts.Issues == nil || a.fleet.Config.Factory.Notify.Issues == nil || ctx.Err() != nil {
		return
	}
	recorded, every := map[string]bool{}, interval(a.fleet, a.now)
	for name, id := range factIDs(a.fleet) {
		recorded[name] = id != a.facts[name]
	}
	groups := issues.Groups(a.fleet, a.selected, func(name string, fact *issues.Fact) bool {
		return fact != nil || a.facts[name] != "" || a.opts.Sweep && inShard(name, a.now, every, basesPeriod)
	})
	within, cancel := withDeadline(ctx, proposeDeadline)
	defer cancel()
	a.report.Issues = issues.Sync(within, turned(a, groups), issues.Options{Issues: a.opts.Issues, Now: a.now, Recorded: recorded, Grace: claimTTL})
	for i := range a.report.Issues {
		r := &a.report.Issues[i]
		where := "issues of " + r.Repo
		if r.Image != "" {
			where += ", " + r.Image
		}
		switch {
		case r.Action == issues.Limited:
			a.report.Warnings = append(a.report.Warnings, where+": too many issues at once; a later pass opens it")
		case r.Message != "":
			a.report.Warnings = append(a.report.Warnings, where+": "+r.Message)
		}
	}
}
