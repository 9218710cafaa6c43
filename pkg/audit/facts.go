// Package audit reports what was rebuilt in a period, why, on which evidence, and how long each change waited. It works on facts
// that others have read; whether a build should have used a digest is for package policy to say.
package audit

import (
	"bytes"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/imagefactory/imagefactory/pkg/state"
)

// CoverageOf returns what the present state covers: since when it records every rebuild of every image.
func CoverageOf(st *state.State) Coverage {
	c := Coverage{Source: "state"}
	for _, img := range st.Images {
		if since := img.RebuildsSince(); since.After(c.From) {
			c.From = since
		}
	}
	return c
}

// Facts are what is known of the past, without the bounds of state files.
type Facts struct {
	images map[string]*image
	bases  map[string]*baseImage      // by name
	byRef  map[string]*state.Base     // by reference; see sort
	lines  map[string]map[string]bool // by file: lines of its versions that tell of facts; see hasNews
}

// baseImage is a base image with every candidate that is known.
type baseImage struct {
	*state.Base
	known map[string]bool // digests
}

type image struct {
	rebuilds map[string]state.Rebuild // by ID
	builds   map[buildKey]Build
	since    map[string]time.Time // by digest: when a tag was first seen to hold it
}

type buildKey struct {
	digest string
	at     time.Time
}

// Build is a published image, as it was found in its registry.
type Build struct {
	Digest  string
	Version string
	At      time.Time
	BuiltOn []state.BuiltOn
}

// NewFacts returns the facts of the present state. Facts of the past are added to them, the newest first.
func NewFacts(st *state.State) *Facts {
	f := &Facts{images: map[string]*image{}, bases: map[string]*baseImage{}, lines: map[string]map[string]bool{}}
	for _, img := range st.Images {
		f.addImage(img, false)
	}
	for _, base := range st.Bases {
		f.addBase(base.Clone())
	}
	return f
}

// File is an earlier version of a state file.
type File struct {
	Path string // below the state folder
	Data []byte
}

// Add adds earlier versions of state files, the newest first. It returns how many cannot be read, which add nothing: somebody has
// committed a broken file, and the versions before and after it count.
func (f *Facts) Add(files []File) (skipped int) {
	type version struct {
		image *state.Image
		base  *state.Base
		err   error
	}
	versions := make([]version, len(files))
	var parsers errgroup.Group
	parsers.SetLimit(runtime.GOMAXPROCS(0))
	for i, file := range files {
		if f.hasNews(file.Path, file.Data) {
			v := &versions[i]
			parsers.Go(func() error {
				v.image, v.base, v.err = state.Parse(file.Path, file.Data)
				return nil
			})
		}
	}
	_ = parsers.Wait() // errors are in versions
	for i := range versions {
		switch v := &versions[i]; {
		case v.err != nil:
			skipped++
		case v.image != nil:
			f.addImage(v.image, true)
		case v.base != nil:
			f.addBase(v.base)
		}
	}
	return skipped
}

// factKeys are the keys of the facts that an audit collects.
var factKeys = []string{"id: ", "digest: ", "currentDigest: ", "lastBuilt: ", "since: ", "firstSeen: "}

// hasNews reports whether a version of a file may hold facts that the newer ones do not. Most versions hold none, and parsing them
// would take most of the time.
func (f *Facts) hasNews(file string, data []byte) bool {
	seen := f.lines[file]
	if seen == nil {
		seen = map[string]bool{}
		f.lines[file] = seen
	}
	news := bytes.ContainsAny(data, "{[") // in a style that imagefactory does not write
	for line := range bytes.Lines(data) {
		text := bytes.TrimLeft(line, "- ")
		if slices.ContainsFunc(factKeys, func(key string) bool { return bytes.HasPrefix(text, []byte(key)) }) && !seen[string(text)] {
			seen[string(text)], news = true, true
		}
	}
	return news
}

// addImage adds facts. What newer facts say of the same rebuild or build stands. A rebuild that was active in the past, and that
// no newer facts know, was taken back before it started.
func (f *Facts) addImage(facts *state.Image, past bool) {
	img := f.images[facts.Name]
	if img == nil {
		img = &image{rebuilds: map[string]state.Rebuild{}, builds: map[buildKey]Build{}, since: map[string]time.Time{}}
		f.images[facts.Name] = img
	}
	rebuilds := slices.Clone(facts.RebuildHistory)
	if facts.Rebuild != nil {
		rebuilds = append(rebuilds, *facts.Rebuild)
	}
	for _, r := range rebuilds {
		if _, known := img.rebuilds[r.ID]; !known && r.ID != "" && (!past || !r.Status.Active()) {
			img.rebuilds[r.ID] = r
		}
	}
	img.see(facts.CurrentDigest, facts.LastBuilt.Time)
	for _, p := range facts.Published {
		img.see(p.Digest, p.Since.Time)
	}
	if key := (buildKey{facts.CurrentDigest, facts.LastBuilt.Time}); key.digest != "" && !key.at.IsZero() {
		if _, known := img.builds[key]; !known {
			img.builds[key] = Build{facts.CurrentDigest, facts.CurrentVersion, key.at, facts.BuiltOn}
		}
	}
}

func (img *image) see(digest string, at time.Time) {
	if old, known := img.since[digest]; digest != "" && !at.IsZero() && (!known || at.Before(old)) {
		img.since[digest] = at
	}
}

func (f *Facts) addBase(facts *state.Base) {
	base := f.bases[facts.Name]
	if base == nil {
		base = &baseImage{Base: facts, known: map[string]bool{}}
		if facts.Baseline != nil {
			base.known[facts.Baseline.Digest] = true
		}
		for i := range facts.Candidates {
			base.known[facts.Candidates[i].Digest] = true
		}
		f.bases[facts.Name] = base
		return
	}
	if base.Ref() != facts.Ref() {
		return
	}
	if base.Baseline == nil && facts.Baseline != nil {
		base.Baseline, base.known[facts.Baseline.Digest] = facts.Baseline, true
	}
	for i := range facts.Candidates {
		if c := &facts.Candidates[i]; !base.known[c.Digest] {
			base.Candidates, base.known[c.Digest] = append(base.Candidates, *c), true
		}
	}
}

// sort puts the candidates of each base image in the order in which they were seen.
func (f *Facts) sort() {
	f.byRef = map[string]*state.Base{}
	for _, name := range slices.Sorted(maps.Keys(f.bases)) {
		base := f.bases[name].Base
		slices.SortStableFunc(base.Candidates, func(a, b state.Candidate) int { return a.FirstSeen.Compare(b.FirstSeen.Time) })
		f.byRef[base.Ref()] = base
	}
}

func (img *image) sortedRebuilds() []state.Rebuild {
	out := make([]state.Rebuild, 0, len(img.rebuilds))
	for _, r := range img.rebuilds {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b state.Rebuild) int {
		if c := a.RequestedAt.Compare(b.RequestedAt.Time); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

func (img *image) sortedBuilds() []Build {
	out := make([]Build, 0, len(img.builds))
	for _, b := range img.builds {
		out = append(out, b)
	}
	slices.SortFunc(out, func(a, b Build) int {
		if c := a.At.Compare(b.At); c != 0 {
			return c
		}
		return strings.Compare(a.Digest, b.Digest)
	})
	return out
}
