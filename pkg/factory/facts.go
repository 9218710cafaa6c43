package factory

import (
	"fmt"
	"path"
	"regexp"
	"slices"

	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/state"
)

var digestForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// untrue reports facts that cannot be true. Whoever can push to the state repository can write anything into it, so
// nothing is decided or generated from such a file.
func (f *Fleet) untrue() finding.List {
	var l finding.List
	add := func(folder, name string, problems []string) {
		for _, p := range problems {
			l = append(l, finding.DataShape.At(f.stateFile(folder, name), 0, 0, p, "restore the file from git"))
		}
	}
	for name, img := range f.State.Images {
		add(state.ImagesFolder, name, imageProblems(img))
	}
	for name, b := range f.State.Bases {
		add(state.BasesFolder, name, baseProblems(b))
	}
	l.Sort()
	return l
}

func (f *Fleet) stateFile(folder, name string) string {
	return display(f.Paths.StateDir, path.Join(folder, name+".yaml"))
}

func imageProblems(img *state.Image) []string {
	var out []string
	for _, b := range img.BaseImages {
		if r, err := state.ParseRef(b.Ref); err != nil {
			out = append(out, err.Error())
		} else if r.String() != b.Ref {
			out = append(out, fmt.Sprintf("reference %q is not normalised: want %q", b.Ref, r))
		}
	}
	digests := []string{img.CurrentDigest}
	for _, b := range img.BuiltOn {
		digests = append(digests, snapshotDigests(b.Snapshot)...)
	}
	for _, p := range img.Published {
		digests = append(digests, snapshotDigests(p.Snapshot)...)
	}
	return append(out, badDigests(digests)...)
}

func baseProblems(b *state.Base) []string {
	if r, err := state.ParseRef(b.Ref()); err != nil || r.String() != b.Ref() {
		return []string{fmt.Sprintf("%q is no reference of a base image", b.Ref())}
	}
	var out []string
	if want := state.BaseName(state.Ref{Registry: b.Registry, Repository: b.Repository, Tag: b.Tag}); want != b.Name {
		out = append(out, fmt.Sprintf("the state of %s belongs into %s.yaml", b.Ref(), want))
	}
	digests := []string{b.CurrentDigest, b.PreviousDigest}
	if b.Baseline != nil {
		digests = append(digests, snapshotDigests(b.Baseline.Snapshot)...)
	}
	for _, c := range b.Candidates {
		digests = append(digests, snapshotDigests(c.Snapshot)...)
		if c.FirstSeen.IsZero() {
			out = append(out, fmt.Sprintf("candidate %s has no firstSeen", c.Digest))
		}
	}
	return append(out, badDigests(digests)...)
}

func snapshotDigests(s state.Snapshot) []string {
	out := []string{s.Digest}
	for _, d := range s.Platforms {
		out = append(out, d)
	}
	return out
}

func badDigests(digests []string) []string {
	var out []string
	for _, d := range digests {
		if d != "" && !digestForm.MatchString(d) {
			out = append(out, fmt.Sprintf("%q is no digest", d))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
