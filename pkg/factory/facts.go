package factory

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strconv"

	"github.com/imagefactory/imagefactory/pkg/finding"
	"github.com/imagefactory/imagefactory/pkg/state"
)

var (
	digestForm  = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	rebuildForm = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`) // also a label of Kubernetes
)

// untrue reports facts that cannot be true. Whoever can push to the state repository can write anything into it, so
// nothing is decided or generated from such a file.
func untrue(st *state.State, stateDir string, files fs.FS) finding.List {
	var l finding.List
	for name, img := range st.Images {
		l = append(l, factsOf(files, stateDir, state.ImagesFolder, name).image(img)...)
	}
	for name, b := range st.Bases {
		l = append(l, factsOf(files, stateDir, state.BasesFolder, name).base(b)...)
	}
	l.Sort()
	return l
}

func stateFile(stateDir, folder, name string) string {
	return display(stateDir, path.Join(folder, name+".yaml"))
}

// facts checks one state file.
type facts struct {
	files      fs.FS
	path       string // below the state folder
	file       string // to show
	list       finding.List
	badDigests map[string]bool // each is reported once
}

func factsOf(files fs.FS, stateDir, folder, name string) *facts {
	p := path.Join(folder, name+".yaml")
	return &facts{files: files, path: p, file: display(stateDir, p), badDigests: map[string]bool{}}
}

// wrong reports a value, at the first place where the file has it.
func (f *facts) wrong(value, format string, args ...any) {
	line, column := 0, 0
	if text, err := fs.ReadFile(f.files, f.path); err == nil { // it was read before; without it only the place is missing
		if at := bytes.Index(text, []byte(value)); at >= 0 && value != "" {
			line, column = 1+bytes.Count(text[:at], []byte("\n")), at-bytes.LastIndexByte(text[:at], '\n')
		}
	}
	f.list = append(f.list, finding.DataShape.At(f.file, line, column, fmt.Sprintf(format, args...), "restore the file from git"))
}

func (f *facts) image(img *state.Image) finding.List {
	for _, b := range img.BaseImages {
		if r, err := state.ParseRef(b.Ref); err != nil {
			f.wrong(b.Ref, "%v", err)
		} else if r.String() != b.Ref {
			f.wrong(b.Ref, "reference %q is not normalised: want %q", b.Ref, r)
		}
		for _, u := range b.Uses {
			if u.Line < 0 {
				f.wrong(strconv.Itoa(u.Line), "%d is no line", u.Line)
			}
		}
	}
	f.digest(img.CurrentDigest)
	for _, b := range img.BuiltOn {
		f.snapshot(b.Snapshot)
		if !b.Evidence.Known() {
			f.wrong(string(b.Evidence), "unknown evidence %q", b.Evidence)
		}
	}
	for _, p := range img.Published {
		f.snapshot(p.Snapshot)
	}
	if r := img.Rebuild; r != nil {
		if !r.Status.Known() {
			f.wrong(string(r.Status), "unknown status %q of a rebuild", r.Status)
		}
		if r.Failures < 0 {
			f.wrong(strconv.Itoa(r.Failures), "%d failures in a row", r.Failures)
		}
		if r.Status == state.Requested && !rebuildForm.MatchString(r.ID) { // workflows get it as an input
			f.wrong(r.ID, "%q is no id of a rebuild", r.ID)
		}
		for _, target := range r.Bases {
			f.snapshot(target.Snapshot)
		}
	}
	return f.list
}

func (f *facts) base(b *state.Base) finding.List {
	if r, err := state.ParseRef(b.Ref()); err != nil || r.String() != b.Ref() {
		f.wrong(b.Repository, "%q is no reference of a base image", b.Ref())
		return f.list
	}
	if want := state.BaseName(state.Ref{Registry: b.Registry, Repository: b.Repository, Tag: b.Tag}); want != b.Name {
		f.wrong(b.Name, "the state of %s belongs into %s.yaml", b.Ref(), want)
	}
	f.digest(b.CurrentDigest)
	f.digest(b.PreviousDigest)
	if b.Baseline != nil {
		f.snapshot(b.Baseline.Snapshot)
	}
	for _, c := range b.Candidates {
		f.snapshot(c.Snapshot)
		if c.FirstSeen.IsZero() {
			f.wrong(c.Digest, "candidate %s has no firstSeen", c.Digest)
		}
	}
	return f.list
}

func (f *facts) snapshot(s state.Snapshot) {
	f.digest(s.Digest)
	for _, d := range s.Platforms {
		f.digest(d)
	}
}

func (f *facts) digest(d string) {
	if d == "" || digestForm.MatchString(d) || f.badDigests[d] {
		return
	}
	f.badDigests[d] = true
	f.wrong(d, "%q is no digest", d)
}
