package triage

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sync/errgroup"

	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/scan"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Event is a new digest of a tag, which state may not have yet.
type Event struct {
	Image  string // name of the enrolled image; else
	Base   string // name of the base image
	Tag    string
	Digest string
}

// name returns the name of the image or base image.
func (e Event) name() string { return cmp.Or(e.Image, e.Base) }

// Reporter scans images and passes their reports on.
type Reporter interface {
	// Report scans an image as [Scanner.Scan] does, and copies the report to w.
	Report(ctx context.Context, ref, platform string, w io.Writer) (*scan.Report, error)
}

// AheadOptions configure [Ahead].
type AheadOptions struct {
	Scanner  Reporter
	Dir      string // folder of the reports; a file appears when it is complete
	Parallel int
	Now      time.Time
}

// Ahead scans the digest of an event before state has it, and the digests of the same image or base image that it is compared
// with: those that images are built on, and the other candidates. All are scanned with the same database, the digest of the event
// first. It records nothing. It returns the number of reports, and the errors of scans that failed.
func Ahead(ctx context.Context, f *fleet.Fleet, e Event, o AheadOptions) (reports int, errs []error) {
	list := e.targets(f, o.Now)
	failed := make([]error, len(list))
	var group errgroup.Group
	group.SetLimit(max(o.Parallel, 1))
	for i := range list {
		group.Go(func() error {
			failed[i] = o.report(ctx, f.Config.Factory.Mirrors, &list[i], i)
			return nil
		})
	}
	_ = group.Wait() // failures are results
	for _, err := range failed {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return len(list) - len(errs), errs
}

// report scans a target and writes its report.
func (o *AheadOptions) report(ctx context.Context, mirrors map[string][]string, t *target, number int) error {
	return firstOf(ctx, t.refs(mirrors), func(ref string) error {
		const readableByAll = 0o644
		file, err := renameio.NewPendingFile(filepath.Join(o.Dir, fmt.Sprintf("%03d.json", number)), renameio.WithStaticPermissions(readableByAll))
		if err != nil {
			return fmt.Errorf("creating a report: %w", err)
		}
		defer func() { _ = file.Cleanup() }()
		report, err := o.Scanner.Report(ctx, ref, t.platform, file)
		switch {
		case err != nil:
			return err
		case !report.Looked:
			return fmt.Errorf("scanning %s: %w", ref, errNothing)
		}
		return file.CloseAtomicallyReplace()
	})
}

// targets returns the digests to scan for an event, its own first; none if the event needs no scan.
func (e Event) targets(f *fleet.Fleet, now time.Time) []target {
	if !e.observe(f, now) {
		return nil
	}
	list := slices.DeleteFunc(targetsOf(f, nil), func(t target) bool { return t.name() != e.name() || (t.image != "") != (e.Image != "") })
	scanned := func(t *target) bool { last := t.last(f.State); return last != nil && !last.Behind }
	if !slices.ContainsFunc(list, func(t target) bool { return t.index == e.Digest && !scanned(&t) }) {
		return nil
	}
	rank := func(t *target) int {
		if t.index == e.Digest {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(list, func(a, b target) int { return cmp.Compare(rank(&a), rank(&b)) })
	return list
}

// observe changes the state in memory as if the digest of the event had been recorded. It reports whether the digest is to be
// scanned: that of an enrolled image which another analysis has recorded is left to the next scan of all, so that images which
// are published together do not cost a commit each.
func (e Event) observe(f *fleet.Fleet, now time.Time) bool {
	seen := state.Snapshot{Digest: e.Digest}
	if e.Image != "" {
		img := f.Config.Find(e.Image)
		if img == nil {
			return false
		}
		facts := f.ImageState(img)
		if facts.CurrentDigest == e.Digest {
			return false
		}
		facts.CurrentDigest = e.Digest
		return facts.ObservePublished(e.Tag, seen, now)
	}
	if len(f.Graph.Dependents(e.Base)) == 0 {
		return false
	}
	base := f.State.Bases[e.Base]
	if base == nil {
		ref := f.Graph.BaseRef(e.Base)
		base = &state.Base{Name: e.Base, Registry: ref.Registry, Repository: ref.Repository, Tag: ref.Tag}
		f.State.Bases[e.Base] = base
	}
	base.Observe(seen, now)
	return true
}

// Record records reports about the digests of a fleet in memory, and releases or holds candidates. It scans nothing.
func Record(f *fleet.Fleet, files []File, now func() time.Time) (*Report, error) {
	return runOnce(context.Background(), f, &Options{Files: files, Now: now}, nil)
}

// About reports whether a digest has a report.
func (r *Report) About(digest string) bool {
	return slices.ContainsFunc(r.Results, func(res Result) bool { return res.index == digest || res.Digest == digest })
}
