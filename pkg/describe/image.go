package describe

import (
	"cmp"
	"slices"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/plan"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Image describes an enrolled image, or returns nil for a name that is not enrolled.
func (d *Describer) Image(name string) *Image {
	img, facts := d.in.Config.Find(name), d.in.State.Images[name]
	if img == nil {
		return nil
	}
	out := &Image{
		Name: name, Managed: img.Managed(), Repository: img.Ref(), Owner: img.Owner, Labels: img.Labels, Entry: Place{d.in.Config.File(), img.Line}, StateFile: d.imageFile(name),
		Bases: []ImageBase{}, Reasons: []Step{}, History: []state.Rebuild{}, Plan: []plan.Entry{}, Findings: finding.List{}, Objects: []Object{},
		Users: d.in.Graph.Children(name), AllUsers: len(d.in.Graph.Descendants(name)), Skipped: d.skips[name],
	}
	if dec := d.decisions[name]; dec != nil {
		out.Decision = *dec
	}
	out.Findings = append(out.Findings, d.findingsOf(name, out.StateFile)...)
	out.Objects = append(out.Objects, d.ofImage[name]...)
	for _, e := range d.entries[name] {
		out.Plan = append(out.Plan, *e)
	}
	if img.Managed() {
		out.Source = sourceOf(img)
	}
	if facts != nil {
		d.addFacts(out, img, facts)
	}
	out.Reasons = append(out.Reasons, d.reasons(out, img, facts)...)
	return out
}

func sourceOf(img *config.Image) *Source {
	s := img.Source
	file, _ := s.BuildFile() // until it is read, it stands for the Dockerfile
	return &Source{
		Host: s.Host, Repo: s.Repo, Branch: s.Branch, Dockerfile: cmp.Or(s.Dockerfile, file), Workflow: s.Workflow,
		WorkflowRepo: s.WorkflowRepo, WorkflowBranch: s.WorkflowBranch, Platforms: s.Platforms,
		AutoRebuild: img.Rebuilds(), RebuildPolicy: img.RebuildPolicy, RebuildDelay: img.Delay(), MaxRebuildDelay: img.MaxDelay(), PinBases: s.PinsBases(),
	}
}

func (d *Describer) addFacts(out *Image, img *config.Image, facts *state.Image) {
	out.Version, out.Digest, out.Built = facts.CurrentVersion, facts.CurrentDigest, facts.LastBuilt.Time
	out.Published, out.Unresolved = facts.Published, facts.Unresolved
	if facts.Rebuild != nil {
		out.History = append(out.History, *facts.Rebuild)
	}
	for i := range slices.Backward(facts.RebuildHistory) {
		out.History = append(out.History, facts.RebuildHistory[i])
	}
	if file := facts.Dockerfile; out.Source != nil && file != nil {
		out.Source.DockerfileCommit, out.Source.DockerfileDigest = file.Commit, file.Digest
	}
	deps := d.in.Graph.Deps(img.Name)
	for i := range deps {
		if i < len(out.Decision.Bases) { // the decisions are in the order of the references
			out.Bases = append(out.Bases, d.imageBase(img, facts, &deps[i], &out.Decision.Bases[i]))
		}
	}
}

func (d *Describer) imageBase(img *config.Image, facts *state.Image, dep *graph.Dep, dec *policy.BaseDecision) ImageBase {
	b := ImageBase{BaseDecision: *dec, Final: dep.Final, Uses: usesOf(facts, dep.Uses), BuiltOn: d.builtOn(img.Name, facts, dec.Ref)}
	base := d.in.State.Bases[dep.Base]
	for _, clock := range d.decider.Clocks(img, dep) {
		c := Candidate{Clock: clock, Current: clock.Digest == base.CurrentDigest}
		if fact := base.Find(clock.Digest); fact != nil && (!clock.Held.IsZero() || !clock.Released.IsZero()) {
			c.Reason = state.Text(fact.Reason)
		}
		b.Candidates = append(b.Candidates, c)
	}
	return b
}

func (d *Describer) builtOn(image string, facts *state.Image, ref string) *BuiltOn {
	on := facts.On(ref)
	if on == nil {
		return nil
	}
	return &BuiltOn{Digest: on.Digest, Evidence: on.Evidence, How: evidenceText(on.Evidence), Place: d.inState(d.imageFile(image), "builtOn", "ref: "+ref)}
}

// evidenceText returns how the digest that an image was built on is known.
func evidenceText(e state.Evidence) string {
	switch e {
	case state.Provenance:
		return "its provenance attestation names it"
	case state.Annotation:
		return "its OCI base image annotations name it"
	case state.Layers:
		return "its first layers are those of the digest"
	case state.Recorded:
		return "the rebuild was recorded with it"
	case state.Assumed:
		return "assumed, without evidence"
	}
	return string(e)
}
