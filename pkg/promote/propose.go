package promote

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/propose"
)

// proposeDeadline bounds the work on pull requests in one pass.
const proposeDeadline = startDeadline

// propose brings the pull requests that move pins up to date. It concludes nothing about an image that this pass could not read, or
// whose tags it could not resolve.
func (a *attempt) propose(ctx context.Context) []propose.Result {
	if a.opts.Repository == nil || ctx.Err() != nil {
		return nil
	}
	groups := propose.Groups(a.fleet, a.decisions, a.now, func(d *policy.Decision) bool { return !a.selected[d.Image] || a.unsure(d) })
	within, cancel := withDeadline(ctx, proposeDeadline)
	defer cancel()
	results := propose.Sync(within, turned(a, groups), propose.Options{Repository: a.opts.Repository})
	for i := range results {
		a.reportRequest(&results[i])
	}
	return results
}

// turned returns the groups in an order that begins at another place in every pass.
func turned[T any](a *attempt, groups []T) []T {
	if len(groups) == 0 {
		return nil
	}
	at := int(passAt(a.fleet, a.now) % int64(len(groups)))
	return slices.Concat(groups[at:], groups[:at])
}

// unsure reports whether this pass could not read an image, or a tag that its pins follow.
func (a *attempt) unsure(d *policy.Decision) bool {
	if d.Status == policy.Unknown || a.failed(d) {
		return true
	}
	for i := range d.Bases {
		if b := &d.Bases[i]; b.Pin != nil && a.unresolved[b.Base] {
			return true
		}
	}
	return false
}

func (a *attempt) reportRequest(r *propose.Result) {
	where := "pull request of " + r.Repo + ", branch " + r.Branch
	for _, problem := range r.Problems {
		a.report.Warnings = append(a.report.Warnings, where+": "+problem)
	}
	switch r.Action {
	case propose.Failed:
		a.problem(strings.Join(r.Images, ", "), errors.New(where+": "+r.Message))
	case propose.Left, propose.Limited:
		a.report.Warnings = append(a.report.Warnings, where+": "+r.Message)
	case propose.Nothing:
		return
	}
	r.Diff = ""
	a.report.Requests = append(a.report.Requests, *r)
}
