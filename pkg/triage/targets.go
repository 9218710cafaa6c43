// Package triage scans a fleet: it finds out which digests matter, reads reports about them or runs a scanner, records the
// findings in state, and releases or holds candidates as `urgent` in images.yaml says.
package triage

import (
	"cmp"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/exposure"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/scan"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// maxCandidates is the number of newer candidates of a base image that are scanned, the newest first.
const maxCandidates = 16

// target is a digest to scan, for a platform.
type target struct {
	image, base string // the image that published it, or the base image
	repository  string
	digest      string // of the manifest, or of an index
	index       string // digest of the tag
	platform    string // what the digest is scanned for
	keyed       bool   // the digest is that of an index or of one manifest, which is not known: the platform is part of the key
	least       scan.Severity
}

// ref returns the reference to scan.
func (t *target) ref() string { return t.repository + "@" + t.digest }

// refs returns the references on the mirrors of the target's registry, and then its own.
func (t *target) refs(mirrors map[string][]string) []string {
	registry, repository, _ := strings.Cut(t.repository, "/")
	var out []string
	for _, m := range mirrors[registry] {
		out = append(out, strings.TrimSuffix(m, "/")+"/"+repository+"@"+t.digest)
	}
	return append(out, t.ref())
}

// name returns the name of the image or base image.
func (t *target) name() string { return cmp.Or(t.image, t.base) }

// key tells targets apart.
func (t *target) key() string {
	return strings.Join([]string{t.image, t.base, t.digest, t.recorded()}, "|")
}

// recorded returns the platform in the state file.
func (t *target) recorded() string {
	if t.keyed {
		return t.platform
	}
	return ""
}

// targets collects what is to be scanned.
type targets struct {
	*fleet.Fleet
	list []target
	at   map[string]int // by key
}

// targetsOf returns the digests that matter to the images for which wanted is true, or to all if it is nil: what they published,
// what they are built on, and the newer candidates.
func targetsOf(f *fleet.Fleet, wanted map[string]bool) []target {
	t := &targets{Fleet: f, at: map[string]int{}}
	for _, name := range f.Graph.Order() {
		if img, facts := f.Config.Find(name), f.State.Images[name]; (wanted == nil || wanted[name]) && facts != nil {
			t.image(img, facts)
		}
	}
	return t.list
}

func (t *targets) image(img *config.Image, facts *state.Image) {
	if facts.CurrentDigest != "" {
		platforms := []string{"linux/amd64"}
		if img.Managed() {
			platforms = img.Source.Platforms
		}
		t.add(target{image: img.Name, repository: facts.Repository, least: img.ScanSeverity()}, exposure.PublishedSnapshot(facts), platforms)
	}
	if !img.Managed() {
		return
	}
	deps := t.Graph.Deps(img.Name)
	for i := range deps {
		dep := &deps[i]
		platforms := policy.PlatformsOf(img, dep.Uses)
		on := facts.On(dep.Ref.String())
		switch base := t.State.Bases[dep.Base]; {
		case dep.Parent != "":
			if parent := t.State.Images[dep.Parent]; parent != nil && on != nil {
				t.add(target{image: dep.Parent, repository: parent.Repository, least: img.ScanSeverity()}, on.Snapshot, platforms)
			}
		case base != nil:
			t.ofBase(img, dep, base, on, platforms)
		}
	}
}

func (t *targets) ofBase(img *config.Image, dep *graph.Dep, base *state.Base, on *state.BuiltOn, platforms []string) {
	of := target{base: dep.Base, repository: base.Registry + "/" + base.Repository, least: img.ScanSeverity()}
	var built state.Snapshot
	switch {
	case dep.Ref.Pinned():
		built.Digest = dep.Ref.Digest
	case on != nil:
		built = on.Snapshot
	case base.Baseline != nil:
		built = base.Baseline.Snapshot
	}
	if known := base.Seen(built.Digest); known != nil {
		built = *known
	}
	t.add(of, built, platforms)
	var newer []state.Snapshot
	for i := range base.Candidates {
		if c := &base.Candidates[i]; c.Digest == built.Digest {
			newer = nil
		} else if c.Withdrawn.IsZero() {
			newer = append(newer, c.Snapshot)
		}
	}
	for _, s := range newer[max(0, len(newer)-maxCandidates):] {
		t.add(of, s, slices.DeleteFunc(slices.Clone(platforms), s.Lacks)) // an incomplete candidate gets the others later
	}
}

// add adds a digest for each platform. If several images want it, the lowest severity counts.
func (t *targets) add(of target, s state.Snapshot, platforms []string) {
	if s.Digest == "" {
		return
	}
	for _, p := range platforms {
		one := of
		one.index, one.platform = s.Digest, p
		if one.digest = s.Effective(p); one.digest == s.Digest || strings.Contains(one.digest, " ") {
			one.digest, one.keyed = s.Digest, true
		}
		key := one.key()
		if at, known := t.at[key]; known {
			if known := &t.list[at]; !one.least.AtLeast(known.least) {
				known.least = one.least
			}
			continue
		}
		t.at[key] = len(t.list)
		t.list = append(t.list, one)
	}
}

// scans returns the file of the target's findings, which it creates.
func (t *target) scans(st *state.State) *state.Scans {
	all := st.BaseScans
	if t.image != "" {
		all = st.ImageScans
	}
	if all[t.name()] == nil {
		all[t.name()] = &state.Scans{Name: t.name()}
	}
	return all[t.name()]
}

// last returns the recorded scan of the target, or nil.
func (t *target) last(st *state.State) *state.Scan {
	all := st.BaseScans[t.base]
	if t.image != "" {
		all = st.ImageScans[t.image]
	}
	if all == nil {
		return nil
	}
	at := slices.IndexFunc(all.Digests, func(s state.Scan) bool { return s.Digest == t.digest && s.Platform == t.recorded() })
	if at < 0 {
		return nil
	}
	return &all.Digests[at]
}
