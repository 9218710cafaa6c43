package describe

import (
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/plan"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Base describes a base image, or returns nil for the name of one that is neither in state nor in use.
func (d *Describer) Base(name string) *Base {
	facts, users := d.in.State.Bases[name], d.in.Graph.Dependents(name)
	if facts == nil && len(users) == 0 {
		return nil
	}
	ref := d.in.Graph.BaseRef(name).String()
	if facts != nil {
		ref = facts.Ref()
	}
	out := &Base{
		Name: name, Ref: ref, StateFile: d.baseFile(name), Watched: d.in.Graph.Watched(name), External: d.external(ref),
		Candidates: []BaseCandidate{}, Users: []User{}, AllUsers: d.allUsers(users), History: []state.Update{}, Plan: []plan.Entry{},
		Findings: finding.List{}, Objects: []Object{},
	}
	for _, e := range d.causes[ref] {
		out.Plan = append(out.Plan, *e)
	}
	out.Findings = append(out.Findings, d.findingsOf("", out.StateFile)...)
	out.Objects = append(out.Objects, d.ofBase[name]...)
	if facts != nil {
		out.Digest, out.Previous, out.Updated = facts.CurrentDigest, facts.PreviousDigest, facts.LastUpdated.Time
		out.History = append(out.History, facts.UpdateHistory...)
		slices.Reverse(out.History)
		if d.in.Config.Factory.Lint.NewerTags {
			out.Newer = facts.Newer
		}
		d.addCandidates(out, facts)
	}
	for _, image := range users {
		d.addUser(out, image)
	}
	for i := range out.Candidates {
		slices.SortStableFunc(out.Candidates[i].Ripens, func(a, b Ripening) int { return a.At.Compare(b.At) })
	}
	return out
}

// external returns the external image that a reference belongs to, or "".
func (d *Describer) external(ref string) string {
	repository, _, _ := strings.Cut(ref[strings.IndexByte(ref, '/')+1:], ":")
	for i := range d.in.Config.Images {
		img := &d.in.Config.Images[i]
		if !img.Managed() && strings.HasPrefix(ref, img.Registry+"/") && img.Repository == repository {
			return img.Name
		}
	}
	return ""
}

// allUsers counts the images that are built on a base image, directly or through others.
func (d *Describer) allUsers(users []string) int {
	seen := map[string]bool{}
	for todo := slices.Clone(users); len(todo) > 0; {
		name := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if !seen[name] {
			seen[name] = true
			todo = append(todo, d.in.Graph.Children(name)...)
		}
	}
	return len(seen)
}

func (d *Describer) addCandidates(out *Base, facts *state.Base) {
	add := func(c *state.Candidate, baseline bool) {
		out.Candidates = append(out.Candidates, BaseCandidate{
			Digest: c.Digest, Seen: c.FirstSeen.Time, Baseline: baseline, Current: c.Digest == facts.CurrentDigest,
			Withdrawn: c.Withdrawn.Time, Returned: c.Returned.Time, Held: c.Held.Time, Released: c.Released.Time, Reason: state.Text(c.Reason),
			Untrusted: state.Text(facts.Distrust(c)), Verified: state.Text(c.Verified), TrustWaived: c.TrustWaived.Time,
			Place: d.inState(out.StateFile, keyOf(baseline), c.Digest),
		})
	}
	if facts.Baseline != nil {
		add(facts.Baseline, true)
	}
	for i := range facts.Candidates {
		add(&facts.Candidates[i], false)
	}
}

func keyOf(baseline bool) string {
	if baseline {
		return "baseline"
	}
	return "candidates"
}

// addUser adds an image that uses the base image, once for each reference to it.
func (d *Describer) addUser(out *Base, image string) {
	img, facts, dec := d.in.Config.Find(image), d.in.State.Images[image], d.decisions[image]
	deps := d.in.Graph.Deps(image)
	for i := range deps {
		dep := &deps[i]
		if dep.Base != out.Name {
			continue
		}
		u := User{Image: image, Pinned: !dep.Moves(), BuiltOn: d.builtOn(image, facts, dep.Ref.String()), Uses: usesOf(facts, dep.Uses)}
		if dec != nil {
			u.Status, u.Reason = dec.Status, dec.Reason
			if i < len(dec.Bases) {
				u.Due, u.Until = dec.Bases[i].Due, dec.Bases[i].Until
			}
		}
		out.Users = append(out.Users, u)
		d.addClocks(out, img, dep)
	}
}

// addClocks adds the clocks of an image to the candidates. Of digests that are one candidate for it, one has the clock.
func (d *Describer) addClocks(out *Base, img *config.Image, dep *graph.Dep) {
	for _, clock := range d.decider.Clocks(img, dep) {
		at := slices.IndexFunc(out.Candidates, func(c BaseCandidate) bool { return c.Digest == clock.Digest })
		if at < 0 {
			continue
		}
		c := &out.Candidates[at]
		same := slices.IndexFunc(c.Ripens, func(r Ripening) bool { return r.At.Equal(clock.Ripe) && r.Status == clock.Status })
		if same < 0 {
			c.Ripens = append(c.Ripens, Ripening{At: clock.Ripe, Status: clock.Status})
			same = len(c.Ripens) - 1
		}
		if r := &c.Ripens[same]; len(r.Images) == 0 || r.Images[len(r.Images)-1] != img.Name {
			r.Images = append(r.Images, img.Name)
		}
	}
}
