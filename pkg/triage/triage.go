package triage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/progress"
	"github.com/imagefactory/imagefactory/pkg/scan"
	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/pkg/store"
)

// Scanner scans an image by its digest.
type Scanner interface {
	// Scan returns the report about a reference with a digest, on a platform.
	Scan(ctx context.Context, ref, platform string) (*scan.Report, error)
}

// File is a report that was given.
type File struct {
	Path   string
	Name   string // of the image or base image that it is about; empty if the report says it
	Report *scan.Report
}

// Options configure [Run].
type Options struct {
	Files    []File
	Scanner  Scanner // nil: only Files are read
	Select   fleet.Selection
	New      bool                  // scan only where a digest was never scanned, or the last scan is behind
	Known    func(key string) bool // reports whether the scanner's database is the one of the last scan; nil: it is not known
	Parallel int
	Now      func() time.Time
	Progress *progress.Progress
}

// Result is the result for one digest.
type Result struct {
	Image     string                `json:"image,omitempty"` // the image that published it; else
	Base      string                `json:"base,omitempty"`  // the base image
	Digest    string                `json:"digest"`
	Platform  string                `json:"platform,omitempty"`
	Findings  map[scan.Severity]int `json:"findings,omitempty"`
	Unchanged bool                  `json:"unchanged,omitempty"` // not scanned: neither the digest nor the database is new
	Error     string                `json:"error,omitempty"`

	key, index string // index: digest of the tag
}

// Key identifies what was scanned, for [Options.Known].
func (r *Result) Key() string { return r.key }

// Report is the result of a scan.
type Report struct {
	Results  []Result `json:"results"`
	Problems []string `json:"problems,omitempty"` // of reports that were given
	fleet.Change
	Failed      int  `json:"failed"`
	Interrupted bool `json:"interrupted,omitempty"`
}

// Run scans the fleet of a store and saves what is learnt. If another writer changed the state in the meantime, nothing is
// scanned twice.
func Run(ctx context.Context, s store.Store, o Options) (*Report, store.Saved, error) {
	done := map[string]*outcome{}
	var report *Report
	saved, err := s.Update(ctx, func(ctx context.Context, f *fleet.Fleet) (*fleet.Change, error) {
		var err error
		if report, err = runOnce(ctx, f, &o, done); err != nil {
			return nil, err
		}
		return &report.Change, nil
	})
	return report, saved, err
}

// outcome is what a scan of a target gave.
type outcome struct {
	report    *scan.Report
	err       error
	unchanged bool
}

func runOnce(ctx context.Context, f *fleet.Fleet, o *Options, done map[string]*outcome) (*Report, error) {
	images, err := f.Images(o.Select)
	if err != nil {
		return nil, err
	}
	wanted := map[string]bool{}
	for _, img := range images {
		wanted[img.Name] = true
	}
	before, err := f.State.Encode()
	if err != nil {
		return nil, err
	}
	list := targetsOf(f, wanted)
	r := &run{Fleet: f, Options: o, targets: list, done: map[string]*outcome{}, report: &Report{Results: []Result{}}}
	r.assign()
	if o.Scanner != nil {
		r.scan(ctx, done)
	}
	r.record()
	r.statements()
	r.forget()
	now := o.Now()
	f.Exposure(now).Locate()
	f.Judge(now)
	r.report.Change = f.ChangeSince(before)
	r.results()
	r.report.Interrupted = ctx.Err() != nil
	return r.report, nil
}

// run is the state of one attempt.
type run struct {
	*fleet.Fleet
	*Options
	targets []target
	done    map[string]*outcome // by key of the target
	report  *Report
}

// assign gives each report to the targets that it is about.
func (r *run) assign() {
	for i := range r.Files {
		file := &r.Files[i]
		if file.Report.IsVEX() {
			continue
		}
		about, why := r.about(file)
		if why == "" && !file.Report.Looked {
			if why = errNothing.Error(); file.Report.IsSBOM() {
				why = errSBOM.Error()
			}
		}
		if why != "" {
			r.report.Problems = append(r.report.Problems, file.Path+": "+why)
			continue
		}
		for _, t := range about {
			r.done[t.key()] = &outcome{report: file.Report}
		}
	}
}

var (
	errNothing = errors.New("the scanner found no packages, so nothing is known (an unsupported distribution, or no image?)")
	errSBOM    = errors.New("an SBOM without vulnerabilities does not say that there are none (give the report of the scanner as its own JSON)")
)

// about returns the targets that a report is about, or why there is none.
func (r *run) about(file *File) (out []*target, why string) {
	digests := file.Report.Subject.Digests()
	base := r.Base(file.Name)
	switch {
	case file.Name == "" && len(digests) == 0:
		return nil, "the report does not say which digest it is about (name the image: --report NAME=FILE)"
	case file.Name != "" && r.Config.Find(file.Name) == nil && base == "":
		return nil, fmt.Sprintf("no image or base image %q is in use", file.Name)
	}
	platform, pulled := file.Report.Subject.Platform, file.Report.Subject.Pulled()
	var exact []*target // whose own manifest the report names
	for i := range r.targets {
		t := &r.targets[i]
		if platform != "" && !state.SamePlatform(platform, t.platform) {
			continue
		}
		named := slices.Contains(digests, t.digest) || slices.Contains(digests, t.index)
		if file.Name != "" {
			if named = r.current(t, file.Name, base); named && len(pulled) > 0 && !slices.Contains(pulled, t.digest) && !slices.Contains(pulled, t.index) {
				return nil, fmt.Sprintf("the report is about %s, and the current digest of %q is %s", strings.Join(pulled, " or "), file.Name, t.index)
			}
		}
		if named {
			out = append(out, t)
			if slices.Contains(digests, t.digest) && !t.keyed {
				exact = append(exact, t)
			}
		}
	}
	switch {
	case len(exact) > 0 && platform == "":
		return exact, ""
	case len(out) == 0 && file.Name != "":
		return nil, strings.TrimSuffix(fmt.Sprintf("no digest of %q is in use for the platform %s", file.Name, platform), " for the platform ")
	case len(out) == 0:
		return nil, fmt.Sprintf("no image in use has the digest %s", strings.Join(digests, " or "))
	case platform == "" && slices.ContainsFunc(out, func(t *target) bool { return t.platform != out[0].platform }):
		return nil, fmt.Sprintf("the report does not say which platform of %s it is about: %s or %s (scan the digest of the platform's manifest)", out[0].index, out[0].platform, out[len(out)-1].platform)
	}
	return out, ""
}

// current reports whether a target is the published digest of an image, or the current digest of a base image.
func (r *run) current(t *target, image, base string) bool {
	return t.image != "" && t.image == image && t.index == r.State.Images[image].CurrentDigest ||
		t.base != "" && t.base == base && t.index == r.State.Bases[base].CurrentDigest
}

// scan scans the targets that have no report, several at a time. One that fails keeps its state.
func (r *run) scan(ctx context.Context, done map[string]*outcome) {
	var todo []*target
	renew := r.renewed()
	for i := range r.targets {
		t := &r.targets[i]
		key := t.key()
		switch last := t.last(r.State); {
		case r.done[key] != nil:
		case done[key] != nil:
			r.done[key] = done[key]
		case r.New && !renew[t.name()],
			r.Known != nil && last != nil && !last.Behind && t.least.AtLeast(last.Severity) && r.Known(key):
			r.done[key] = &outcome{unchanged: true}
		default:
			todo = append(todo, t)
		}
	}
	r.Progress.Start(len(todo), "scanning")
	defer r.Progress.Finish()
	var group errgroup.Group
	group.SetLimit(max(r.Parallel, 1))
	var mu sync.Mutex
	for _, t := range todo {
		group.Go(func() error {
			if ctx.Err() != nil {
				return nil
			}
			finish := r.Progress.Item(t.ref())
			defer finish()
			report, err := r.scanFirst(ctx, t)
			if err == nil && !report.Looked {
				err = fmt.Errorf("scanning %s: %w", t.ref(), errNothing)
			}
			if ctx.Err() != nil {
				return nil // interrupted: the digest was not scanned
			}
			mu.Lock()
			defer mu.Unlock()
			r.done[t.key()] = &outcome{report: report, err: err}
			done[t.key()] = r.done[t.key()]
			return nil
		})
	}
	_ = group.Wait() // failures are results
}

// scanFirst scans a target on the mirrors of its registry, in order, and then on the registry itself, until a scan succeeds.
// Findings belong to the target, wherever it was pulled from.
func (r *run) scanFirst(ctx context.Context, t *target) (report *scan.Report, err error) {
	err = firstOf(ctx, t.refs(r.Config.Factory.Mirrors), func(ref string) error {
		report, err = r.Scanner.Scan(ctx, ref, t.platform)
		return err
	})
	return report, err
}

// firstOf calls scan for one reference after the other until one succeeds. Otherwise the error is that of the registry itself,
// which is the last one, followed by those of its mirrors.
func firstOf(ctx context.Context, refs []string, scan func(ref string) error) error {
	var before []string
	for _, ref := range refs[:len(refs)-1] {
		err := scan(ref)
		if err == nil || ctx.Err() != nil {
			return err
		}
		before = append(before, err.Error())
	}
	err := scan(refs[len(refs)-1])
	if err != nil && len(before) > 0 {
		err = fmt.Errorf("%w (mirrors: %s)", err, strings.Join(before, "; "))
	}
	return err
}

// renewed returns the images and base images of which a digest was never scanned, or whose last scan is behind. All digests of
// these are scanned again, so that they can be compared.
func (r *run) renewed() map[string]bool {
	out := map[string]bool{}
	for i := range r.targets {
		t := &r.targets[i]
		if last := t.last(r.State); last == nil || last.Behind {
			out[t.name()] = true
		}
	}
	return out
}

// record records the findings. Where something was learnt, digests that were not scanned this time are behind.
func (r *run) record() {
	learnt := map[*state.Scans]bool{}
	for i := range r.targets {
		t := &r.targets[i]
		if found := r.done[t.key()]; found != nil && found.report != nil && found.err == nil {
			scans := t.scans(r.State)
			if scans.Set(state.NewScan(t.digest, t.recorded(), found.report, t.least)) {
				learnt[scans] = true
			}
		}
	}
	fresh := map[*state.Scan]bool{}
	for i := range r.targets {
		found := r.done[r.targets[i].key()]
		if found != nil && found.err == nil && (found.report != nil || r.Known != nil) { // scanned now, or with the same database
			fresh[r.targets[i].last(r.State)] = true
		}
	}
	for scans := range learnt {
		for i := range scans.Digests {
			d := &scans.Digests[i]
			d.Behind = !fresh[d]
		}
	}
}

// forget drops the scans of digests that no longer matter to any image, and the VEX statements about them.
func (r *run) forget() {
	keep, used := map[string]bool{}, map[string]bool{"": true}
	all := targetsOf(r.Fleet, nil)
	for i := range all {
		t := &all[i]
		keep[t.key()], used[t.digest], used[t.index] = true, true, true
	}
	drop := func(scans *state.Scans, image, base string) {
		scans.Digests = slices.DeleteFunc(scans.Digests, func(s state.Scan) bool {
			t := target{image: image, base: base, digest: s.Digest, platform: s.Platform, keyed: true}
			return !keep[t.key()]
		})
		scans.VEX = slices.DeleteFunc(scans.VEX, func(v state.VEXStatement) bool { return !used[v.Digest] })
		scans.Shrink()
	}
	for name, scans := range r.State.ImageScans {
		if r.Config.Find(name) != nil {
			drop(scans, name, "")
		}
	}
	for name, scans := range r.State.BaseScans {
		if len(r.Graph.Dependents(name)) > 0 {
			drop(scans, "", name)
		}
	}
}

// results reports each target.
func (r *run) results() {
	for i := range r.targets {
		t := &r.targets[i]
		found := r.done[t.key()]
		if found == nil {
			continue
		}
		result := Result{Image: t.image, Base: t.base, Digest: t.digest, Platform: t.platform, Unchanged: found.unchanged, key: t.key(), index: t.index}
		switch refused := r.refused(t); {
		case found.err != nil:
			result.Error = found.err.Error()
		case refused != nil:
			result.Error = refused.Error()
		case found.report != nil:
			for j := range found.report.Findings {
				if result.Findings == nil {
					result.Findings = map[scan.Severity]int{}
				}
				result.Findings[found.report.Findings[j].Severity]++
			}
		}
		if result.Error != "" {
			r.report.Failed++
		}
		r.report.Results = append(r.report.Results, result)
	}
	r.report.Failed += len(r.report.Problems)
}

func (r *run) refused(t *target) error {
	if t.image != "" {
		return r.report.RefusedOf(state.ImageScansFolder, t.image)
	}
	return r.report.RefusedOf(state.BaseScansFolder, t.base)
}
