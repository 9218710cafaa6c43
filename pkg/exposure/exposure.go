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

// Fleet is what the findings are compared in.
type Fleet struct {
	Config *config.Config
	State  *state.State
	Graph  *graph.Graph
	Now    time.Time
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
	out := Exposure{Scanned: len(v.published) > 0}
	for _, own := range v.published {
		for severity, n := range own.Others {
			if out.Others == nil {
				out.Others = map[scan.Severity]int{}
			}
			out.Others[severity] = max(out.Others[severity], n)
		}
	}
	for _, found := range v.findings() {
		if v.takenAway(found) {
			out.Ignored++
			continue
		}
		out.Findings = append(out.Findings, v.explain(found))
	}
	for i := range v.bases {
		b := &v.bases[i]
		for _, c := range b.candidates {
			for _, added := range v.added(b, c) {
				out.Added = append(out.Added, Added{added.JSON(), b.ref, c.Digest})
			}
		}
	}
	return out
}

// view is what is known of one image.
type view struct {
	*Fleet
	img       *config.Image
	facts     *state.Image
	platforms []string
	published map[string]*state.Scan // of the published image, by platform
	bases     []baseView
}

// baseView is one reference that the image is built on.
type baseView struct {
	ref        string
	name       string // of the base image; empty for a parent
	parent     string
	pinned     bool
	platforms  []string
	scans      *state.Scans
	on         map[string]*state.Scan // of the digest that the image is built on, by platform
	digest     string                 // that digest
	candidates []*state.Candidate     // newer ones that were not withdrawn, oldest first
	current    bool                   // the image is built on what the tag holds
}

func (f *Fleet) view(img *config.Image) *view {
	v := &view{Fleet: f, img: img, facts: f.State.Images[img.Name], published: map[string]*state.Scan{}}
	if v.facts == nil || v.facts.CurrentDigest == "" {
		return v
	}
	v.platforms = platformsOf(img)
	seen := PublishedSnapshot(v.facts)
	for _, p := range v.platforms {
		if s := f.State.ImageScans[img.Name].Of(seen, p); s != nil {
			v.published[p] = s
		}
	}
	if !img.Managed() {
		return v
	}
	deps := f.Graph.Deps(img.Name)
	for i := range deps {
		if b := v.base(&deps[i]); b != nil {
			v.bases = append(v.bases, *b)
		}
	}
	return v
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

func (v *view) base(dep *graph.Dep) *baseView {
	b := &baseView{ref: dep.Ref.String(), name: dep.Base, parent: dep.Parent, pinned: dep.Ref.Pinned(), on: map[string]*state.Scan{}}
	b.platforms = policy.PlatformsOf(v.img, dep.Uses)
	var seen state.Snapshot
	if on := v.facts.On(b.ref); on != nil {
		seen = on.Snapshot
	} else if b.pinned {
		seen.Digest = dep.Ref.Digest
	}
	base := v.State.Bases[dep.Base]
	switch {
	case seen.Digest == "":
		return nil
	case dep.Parent != "":
		b.scans = v.State.ImageScans[dep.Parent]
	case base == nil:
		return nil
	default:
		b.scans = v.State.BaseScans[dep.Base]
		if known := base.Seen(seen.Digest); known != nil {
			seen = *known
		}
		b.candidates = newer(base, seen)
		b.current = base.CurrentDigest == seen.Digest
	}
	b.digest = seen.Digest
	for _, p := range b.platforms {
		if s := b.scans.Of(seen, p); s != nil {
			b.on[p] = s
		}
	}
	return b
}

// newer returns the candidates after the digest that an image is built on. If it is not among them, all of them are newer.
func newer(base *state.Base, on state.Snapshot) []*state.Candidate {
	var out []*state.Candidate
	for i := range base.Candidates {
		c := &base.Candidates[i]
		if c.Digest == on.Digest {
			out = nil
		} else if c.Withdrawn.IsZero() {
			out = append(out, c)
		}
	}
	return out
}

// findings returns the findings of the published image that are severe enough, each once.
func (v *view) findings() []*state.Finding {
	var out []*state.Finding
	for _, p := range v.platforms {
		s := v.published[p]
		if s == nil {
			continue
		}
		for i := range s.Findings {
			if f := &s.Findings[i]; f.Severity.AtLeast(v.img.ScanSeverity()) && !slices.ContainsFunc(out, f.Same) {
				out = append(out, f)
			}
		}
	}
	return out
}

// takenAway reports whether a VEX statement about the image or its bases, or urgent.ignore, takes a finding away.
func (v *view) takenAway(f *state.Finding) bool {
	if v.img.Urgent != nil && v.img.Urgent.Ignores(&f.Finding, v.Now) || v.State.ImageScans[v.img.Name].TakesAway(f, v.facts.CurrentDigest) {
		return true
	}
	for i := range v.bases {
		if b := &v.bases[i]; b.scans.TakesAway(f, b.digest) && b.has(f) {
			return true
		}
	}
	return false
}

// has reports whether the digest that the image is built on has a finding.
func (b *baseView) has(f *state.Finding) bool {
	for _, s := range b.on {
		if s.Find(f) != nil {
			return true
		}
	}
	return false
}

// source returns the base that a finding is inherited from, or nil. scanned reports whether all bases were scanned.
func (v *view) source(f *state.Finding) (from *baseView, scanned bool) {
	scanned = len(v.bases) > 0
	for i := range v.bases {
		b := &v.bases[i]
		if b.has(f) {
			return b, true
		}
		scanned = scanned && len(b.on) > 0
	}
	return nil, scanned
}

// Where returns where a finding of the published image comes from: [state.InBase], [state.InOwn], or "" if that is not known.
func (v *view) where(f *state.Finding) string { return whereOf(v.source(f)) }

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
		if c := v.fixing(from, found); c != nil {
			out.Remedy, out.Digest, out.Ready = ByCandidate, c.Digest, v.ready(from, c)
			return out
		}
		if v.remains(from, found) {
			out.Remedy, out.Tag = ByTag, v.otherTag(from, found)
		}
	}
	if out.Fixed == "" && out.Tag == "" && out.Remedy != ByParent {
		out.Remedy = NoFix
	}
	return out
}

// fixing returns the candidate that no longer has an inherited finding and is ready first, or nil.
func (v *view) fixing(b *baseView, f *state.Finding) *state.Candidate {
	var best *state.Candidate
	var at time.Time
	for _, c := range slices.Backward(b.candidates) {
		if !v.fixes(b, c, f) {
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

// fixes reports whether a candidate is known not to have a finding on any platform on which the base has it.
func (v *view) fixes(b *baseView, c *state.Candidate, f *state.Finding) bool {
	had := false
	for _, p := range b.platforms {
		on, now := b.on[p], b.scans.Of(c.Snapshot, p)
		if on == nil || on.Find(f) == nil {
			continue
		}
		had = true
		if now == nil || now.Behind || !comparable(on, now) || !now.Complete(f.Severity) || now.Find(f) != nil {
			return false
		}
	}
	return had
}

// comparable reports whether the absence of a finding in a scan means that it is gone: the same scanner made both, and it knows
// the distribution.
func comparable(before, after *state.Scan) bool {
	return before.Scanner == after.Scanner && (release(before.OS) == release(after.OS) || len(after.Findings)+len(after.Others) > 0)
}

// release returns a distribution with its major version: "debian 12" of "debian 12.5".
func release(os string) string {
	major, _, _ := strings.Cut(os, ".")
	return major
}

// remains reports whether the newest digest of the tag is known to have a finding.
func (v *view) remains(b *baseView, f *state.Finding) bool {
	if len(b.candidates) == 0 {
		return true
	}
	newest := b.candidates[len(b.candidates)-1]
	return slices.ContainsFunc(b.platforms, func(p string) bool {
		s := b.scans.Of(newest.Snapshot, p)
		return s != nil && s.Find(f) != nil
	})
}

// otherTag returns the reference of another tag of the same repository whose digest is known not to have a finding, or "".
func (v *view) otherTag(b *baseView, f *state.Finding) string {
	base := v.State.Bases[b.name]
	var found []string
	for name, other := range v.State.Bases {
		seen := other.Seen(other.CurrentDigest)
		if name == b.name || other.Registry != base.Registry || other.Repository != base.Repository || seen == nil {
			continue
		}
		gone := len(b.platforms) > 0
		for _, p := range b.platforms {
			on, now := b.on[p], v.State.BaseScans[name].Of(*seen, p)
			gone = gone && on != nil && now != nil && !now.Behind && now.Scanner == on.Scanner && now.Complete(f.Severity) && now.Find(f) == nil
		}
		if gone {
			found = append(found, other.Ref())
		}
	}
	slices.Sort(found)
	return cmp.Or(append(found, "")...)
}

// added returns the findings that a candidate is known to have and the digest that the image is built on is known not to have.
func (v *view) added(b *baseView, c *state.Candidate) []*state.Finding {
	var out []*state.Finding
	for _, p := range b.platforms {
		on, now := b.on[p], b.scans.Of(c.Snapshot, p)
		if on == nil || now == nil || on.Behind || on.Scanner != now.Scanner {
			continue
		}
		for i := range now.Findings {
			f := &now.Findings[i]
			if f.Severity.AtLeast(v.img.ScanSeverity()) && on.Find(f) == nil && on.Complete(f.Severity) &&
				!v.ignored(b, c.Digest, f) && !slices.ContainsFunc(out, f.Same) {
				out = append(out, f)
			}
		}
	}
	return out
}

// ignored reports whether a finding of a digest of a base does not count for the image.
func (v *view) ignored(b *baseView, digest string, f *state.Finding) bool {
	return v.img.Urgent != nil && v.img.Urgent.Ignores(&f.Finding, v.Now) || b.scans.TakesAway(f, digest) || v.State.ImageScans[v.img.Name].TakesAway(f)
}
