// Package exposure compares the findings of scans: which ones of a published image are inherited from the base images that it
// is built on, which candidates fix them, and which candidates add others. It decides which candidates a scan releases or
// holds. It is pure: it takes images.yaml, state and the time.
package exposure

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/scan"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Fleet is what the findings are compared in. Comparisons that several images share are made once, so neither the scans nor the
// lists of candidates in State may change while a Fleet is in use. All else may, such as Now, what images are built on, and releases.
type Fleet struct {
	Config *config.Config
	State  *state.State
	Graph  *graph.Graph
	Now    time.Time

	bases  map[baseKey]*baseView
	images map[imageKey]*published

	repositories map[string][]string // base images by registry and repository
}

// Remedy is what removes a finding from an image.
type Remedy string

// Remedies.
const (
	ByCandidate Remedy = "candidate" // a newer digest of the base image's tag
	ByTag       Remedy = "newerTag"  // no digest of the tag: a newer tag, or a later push
	ByParent    Remedy = "parent"    // a rebuild of the parent
	ByImage     Remedy = "image"     // the image's own layers
	NoFix       Remedy = "none"      // no version fixes it yet
	Unknown     Remedy = ""          // the base image was not scanned
)

// Vulnerability is a finding of the published image, with what removes it.
type Vulnerability struct {
	state.FindingJSON
	Base   string `json:"base,omitempty"`   // reference of the base image or parent that has it
	Remedy Remedy `json:"remedy,omitempty"` // what removes it
	Digest string `json:"digest,omitempty"` // candidate that fixes it
	// Ready is when the candidate has ripened for the image or is released for it; missing if it is held, untrusted or pinned.
	Ready time.Time `json:"ready,omitzero"`
	Tag   string    `json:"tag,omitempty"` // reference with a newer tag, used by another image, that does not have it
}

// Added is a finding that a candidate would add to the image.
type Added struct {
	state.FindingJSON
	Base   string `json:"base"`
	Digest string `json:"digest"`
}

// Exposure is what scans found in an image.
type Exposure struct {
	Scanned  bool            `json:"scanned"` // the published image was scanned
	Findings []Vulnerability `json:"findings,omitempty"`
	Added    []Added         `json:"added,omitempty"`
	// Others are the numbers of less severe findings.
	Others map[scan.Severity]int `json:"others,omitempty"`
	// Ignored is the number of findings that VEX statements or urgent.ignore take away.
	Ignored int `json:"ignored,omitempty"`
}

// Of returns the exposure of an image.
func (f *Fleet) Of(img *config.Image) Exposure {
	v := f.view(img)
	out := Exposure{Scanned: len(v.scans) > 0}
	for _, own := range v.scans {
		for severity, n := range own.Others {
			if out.Others == nil {
				out.Others = map[scan.Severity]int{}
			}
			out.Others[severity] = max(out.Others[severity], n)
		}
	}
	for _, found := range v.findings {
		if v.takenAway(found) {
			out.Ignored++
			continue
		}
		out.Findings = append(out.Findings, v.explain(found))
	}
	out.Added = v.addedByAll()
	return out
}

// Added returns the findings that the candidates of an image's bases would add to it.
func (f *Fleet) Added(img *config.Image) []Added { return f.view(img).addedByAll() }

func (v *view) addedByAll() []Added {
	var out []Added
	for _, b := range v.bases {
		for i, c := range b.candidates {
			for _, found := range v.added(b, i) {
				out = append(out, Added{found.JSON(), b.ref, c.Digest})
			}
		}
	}
	return out
}

// view is what is known of one image.
type view struct {
	*Fleet
	*published
	img   *config.Image
	facts *state.Image
	bases []*baseView
}

// imageKey identifies what an image published.
type imageKey struct {
	image, digest string
	platforms     int // number of those that are known
}

// published is a digest that an image published.
type published struct {
	scans    []*state.Scan    // of the platforms that were scanned
	findings []*state.Finding // that are severe enough, each once
	matches  map[*baseView][]*match
}

// of returns how the findings relate to a base, in their order.
func (p *published) of(b *baseView) []*match {
	list, known := p.matches[b]
	if !known {
		list = make([]*match, len(p.findings))
		for i, f := range p.findings {
			list[i] = b.match(f)
		}
		p.matches[b] = list
	}
	return list
}

func (f *Fleet) view(img *config.Image) *view {
	v := &view{Fleet: f, published: &published{}, img: img, facts: f.State.Images[img.Name]}
	if v.facts == nil || v.facts.CurrentDigest == "" {
		return v
	}
	v.published = f.publishedBy(img, PublishedSnapshot(v.facts))
	if !img.Managed() {
		return v
	}
	deps := f.Graph.Deps(img.Name)
	for i := range deps {
		if b := v.base(&deps[i]); b != nil {
			v.bases = append(v.bases, b)
		}
	}
	return v
}

func (f *Fleet) publishedBy(img *config.Image, seen state.Snapshot) *published {
	key := imageKey{img.Name, seen.Digest, len(seen.Platforms)}
	if p := f.images[key]; p != nil {
		return p
	}
	p := &published{matches: map[*baseView][]*match{}}
	for _, platform := range platformsOf(img) {
		if s := f.State.ImageScans[img.Name].Of(seen, platform); s != nil {
			p.scans = append(p.scans, s)
			p.add(s, img.ScanSeverity())
		}
	}
	if f.images == nil {
		f.images = map[imageKey]*published{}
	}
	f.images[key] = p
	return p
}

// add adds the findings of a platform that are severe enough and that no other one has.
func (p *published) add(s *state.Scan, least scan.Severity) {
	for i := range s.Findings {
		if f := &s.Findings[i]; f.Severity.AtLeast(least) && !slices.ContainsFunc(p.findings, f.Same) {
			p.findings = append(p.findings, f)
		}
	}
}

// platformsOf returns the platforms of an image that are scanned.
func platformsOf(img *config.Image) []string {
	if img.Managed() {
		return img.Source.Platforms
	}
	return []string{"linux/amd64"}
}

// PublishedSnapshot returns the published digest, with its platforms if they are known.
func PublishedSnapshot(facts *state.Image) state.Snapshot {
	for i := range facts.Published {
		if facts.Published[i].Digest == facts.CurrentDigest {
			return facts.Published[i].Snapshot
		}
	}
	return state.Snapshot{Digest: facts.CurrentDigest}
}

// base returns what is known of a base that the image is built on, or nil.
func (v *view) base(dep *graph.Dep) *baseView {
	ref := dep.Ref.String()
	var seen state.Snapshot
	if on := v.facts.On(ref); on != nil {
		seen = on.Snapshot
	} else if dep.Ref.Pinned() {
		seen.Digest = dep.Ref.Digest
	}
	base := v.State.Bases[dep.Base]
	if seen.Digest == "" || dep.Parent == "" && base == nil {
		return nil
	}
	if base != nil && dep.Parent == "" {
		if known := base.Seen(seen.Digest); known != nil {
			seen = *known
		}
	}
	platforms := policy.PlatformsOf(v.img, dep.Uses)
	key := baseKey{ref, seen.Digest, len(seen.Platforms), strings.Join(platforms, " "), dep.Moves()}
	b := v.Fleet.bases[key]
	if b == nil {
		b = v.compareWith(dep, seen, platforms)
		if v.Fleet.bases == nil {
			v.Fleet.bases = map[baseKey]*baseView{}
		}
		v.Fleet.bases[key] = b
	}
	return b
}

// takenAway reports whether a VEX statement about the image or its bases, or urgent.ignore, takes a finding away.
func (v *view) takenAway(f *state.Finding) bool {
	if v.img.Urgent != nil && v.img.Urgent.Ignores(&f.Finding, v.Now) || v.State.ImageScans[v.img.Name].TakesAway(f, v.facts.CurrentDigest) {
		return true
	}
	for _, b := range v.bases {
		if b.scans.TakesAway(f, b.digest) && b.match(f) != nil {
			return true
		}
	}
	return false
}

// source returns the base that a finding is inherited from, or nil. scanned reports whether all bases were scanned.
func (v *view) source(f *state.Finding) (from *baseView, scanned bool) {
	scanned = len(v.bases) > 0
	for _, b := range v.bases {
		if b.match(f) != nil {
			return b, true
		}
		scanned = scanned && b.scanned()
	}
	return nil, scanned
}

// whereOf returns where a finding of the published image comes from: [state.InBase], [state.InOwn], or "" if that is not known.
func whereOf(from *baseView, scanned bool) string {
	switch {
	case from != nil:
		return state.InBase
	case scanned:
		return state.InOwn
	}
	return ""
}

func (v *view) explain(found *state.Finding) Vulnerability {
	out := Vulnerability{FindingJSON: found.JSON()}
	from, scanned := v.source(found)
	out.Where = whereOf(from, scanned)
	switch {
	case out.Where == state.InOwn:
		out.Remedy = ByImage
	case from == nil:
		return out
	default:
		out.Base = from.ref
		if from.parent != "" {
			out.Remedy = ByParent
			break
		}
		m := from.match(found)
		if c := v.fixing(from, m); c != nil {
			out.Remedy, out.Digest, out.Ready = ByCandidate, c.Digest, v.ready(from, c)
			return out
		}
		if m.remains {
			out.Remedy, out.Tag = ByTag, v.otherTag(from, m)
		}
	}
	if out.Fixed == "" && out.Tag == "" && out.Remedy != ByParent {
		out.Remedy = NoFix
	}
	return out
}

// fixing returns the candidate that no longer has an inherited finding and is ready first, or nil.
func (v *view) fixing(b *baseView, m *match) *state.Candidate {
	var best *state.Candidate
	var at time.Time
	for i, c := range slices.Backward(b.candidates) {
		if !m.fixedBy[i] {
			continue
		}
		if ready := v.ready(b, c); best == nil || !ready.IsZero() && (at.IsZero() || ready.Before(at)) {
			best, at = c, ready
		}
	}
	return best
}

// ready returns when a candidate that fixes a finding has ripened for the image or is released for it. It is the zero time if that
// is not known: the candidate is held or untrusted, or the image pins the base.
func (v *view) ready(b *baseView, c *state.Candidate) time.Time {
	u := v.img.Urgent
	held := !c.Held.IsZero() && (len(c.Adds) == 0 || u != nil && u.Holds())
	if b.pinned || held || v.State.Bases[b.name].Distrust(c) != "" {
		return time.Time{}
	}
	ripe := since(c).Add(v.img.Delay().Std())
	at := ripe
	switch byScan := len(c.Urgent) > 0; {
	case !c.Released.IsZero() && (!byScan || u != nil):
		at = c.Released.Time
	case u != nil:
		at = since(c).Add(u.Age())
	}
	if ripe.Before(at) {
		return ripe
	}
	return at
}

// otherTag returns the reference of another tag of the same repository whose digest is known not to have a finding, or "".
func (v *view) otherTag(b *baseView, m *match) string {
	if m.searched {
		return m.tag
	}
	base := v.State.Bases[b.name]
	var found []string
	for _, name := range v.siblings(base) {
		other := v.State.Bases[name]
		seen := other.Seen(other.CurrentDigest)
		gone := seen != nil && len(b.platforms) > 0
		for i, p := range b.platforms {
			if !gone {
				break
			}
			on, now := b.on[i], v.State.BaseScans[name].Of(*seen, p)
			gone = on != nil && now != nil && !now.Behind && now.Scanner == on.Scanner && now.Complete(m.finding.Severity) && now.Find(m.finding) == nil
		}
		if gone {
			found = append(found, other.Ref())
		}
	}
	slices.Sort(found)
	m.tag, m.searched = cmp.Or(append(found, "")...), true
	return m.tag
}

// siblings returns the other base images of the same repository.
func (f *Fleet) siblings(base *state.Base) []string {
	if f.repositories == nil {
		f.repositories = map[string][]string{}
		for name, b := range f.State.Bases {
			repository := b.Registry + "/" + b.Repository
			f.repositories[repository] = append(f.repositories[repository], name)
		}
	}
	return slices.DeleteFunc(slices.Clone(f.repositories[base.Registry+"/"+base.Repository]), func(name string) bool { return name == base.Name })
}

// added returns the findings that a candidate, given by its place, is known to have and the digest that the image is built on is
// known not to have.
func (v *view) added(b *baseView, candidate int) []*state.Finding {
	var out []*state.Finding
	for _, f := range b.added(candidate) {
		if f.Severity.AtLeast(v.img.ScanSeverity()) && !v.ignored(b, b.candidates[candidate].Digest, f) && !slices.ContainsFunc(out, f.Same) {
			out = append(out, f)
		}
	}
	return out
}

// ignored reports whether a finding of a digest of a base does not count for the image.
func (v *view) ignored(b *baseView, digest string, f *state.Finding) bool {
	return v.img.Urgent != nil && v.img.Urgent.Ignores(&f.Finding, v.Now) || b.scans.TakesAway(f, digest) || v.State.ImageScans[v.img.Name].TakesAway(f)
}
