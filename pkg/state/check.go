package state

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

// Limits of what is written. They keep an image whose Dockerfile or registry is out of bounds from filling its file.
const (
	maxReferences = 500 // images that a Dockerfile uses, and references in it that cannot be resolved
	MaxPlatforms  = 64  // of a digest
	MaxText       = 500 // characters of a reason or message
	maxPlatform   = 200 // bytes of the name of a platform
)

var (
	digestForm  = lazy.Regexp(`^sha256:[0-9a-f]{64}$`)
	rebuildForm = lazy.Regexp(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`) // also a label of Kubernetes
)

// Text returns text from outside in the form in which state keeps it: one line of at most MaxText characters.
func Text(s string) string {
	return sanitize.Cut(sanitize.Words(s), MaxText)
}

// Fault is a value in a state file that cannot be true.
type Fault struct {
	Value   string // as the file has it
	Message string
}

// faults gathers Faults. Each bad digest is reported once.
type faults struct {
	list []Fault
	bad  map[string]bool
}

func (f *faults) add(value, format string, args ...any) {
	f.list = append(f.list, Fault{value, fmt.Sprintf(format, args...)})
}

func (f *faults) digest(d string) {
	if d == "" || digestForm().MatchString(d) || f.bad[d] {
		return
	}
	if f.bad == nil {
		f.bad = map[string]bool{}
	}
	f.bad[d] = true
	f.add(d, "invalid digest %q: want sha256 and 64 hexadecimal digits", sanitize.Cut(d, MaxText))
}

func (f *faults) snapshot(s Snapshot) {
	f.digest(s.Digest)
	for _, d := range s.Platforms {
		f.digest(d)
	}
}

// once reports the second of two items with one key. Nothing says which of the two is true.
func (f *faults) once(seen map[string]bool, key, what string) {
	if seen[key] {
		f.add(key, "%s %q is listed twice", what, key)
	}
	seen[key] = true
}

// Faults returns what cannot be true of the image. Anybody who can push to the state repository can write anything into a
// file, so nothing is decided or generated from one that has any.
func (i *Image) Faults() []Fault {
	var f faults
	refs, builtOn, tags := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, b := range i.BaseImages {
		f.once(refs, b.Ref, "reference")
		if r, err := ParseRef(b.Ref); err != nil {
			f.add(b.Ref, "%v", err)
		} else if r.String() != b.Ref {
			f.add(b.Ref, "reference %q is not normalised: want %q", b.Ref, r)
		}
		for _, u := range b.Uses {
			if u.Line < 0 {
				f.add(strconv.Itoa(u.Line), "invalid line %d", u.Line)
			}
		}
	}
	f.digest(i.CurrentDigest)
	for _, b := range i.BuiltOn {
		f.once(builtOn, b.Ref, "builtOn of reference")
		f.snapshot(b.Snapshot)
		if !b.Evidence.known() {
			f.add(string(b.Evidence), "unknown evidence %q", b.Evidence)
		}
	}
	for _, p := range i.Published {
		f.once(tags, p.Tag, "published tag")
		f.snapshot(p.Snapshot)
	}
	if i.Rebuild != nil {
		f.rebuild(i.Rebuild)
	}
	return f.list
}

func (f *faults) rebuild(r *Rebuild) {
	if !r.Status.known() {
		f.add(string(r.Status), "unknown status %q of a rebuild", r.Status)
	}
	if r.Failures < 0 {
		f.add(strconv.Itoa(r.Failures), "invalid number of failures in a row: %d", r.Failures)
	}
	if r.Status == Requested && !rebuildForm().MatchString(r.ID) { // workflows get it as an input
		f.add(r.ID, "invalid id %q of a rebuild", r.ID)
	}
	for _, target := range r.Bases {
		f.snapshot(target.Snapshot)
	}
}

// Faults returns what cannot be true of the base image; see [Image.Faults].
func (b *Base) Faults() []Fault {
	var f faults
	if r, err := ParseRef(b.Ref()); err != nil || r.String() != b.Ref() && !b.HasHostAlias() {
		f.add(b.Repository, "invalid reference %q of a base image", b.Ref())
		return f.list
	}
	r := b.tag()
	if want := BaseName(r); b.Name != want && b.Name != hashedName(r) && b.Name != plainName(r) {
		f.add(b.Name, "the state of %s belongs in %s.yaml", b.Ref(), want)
	}
	f.digest(b.CurrentDigest)
	f.digest(b.PreviousDigest)
	seen := map[string]bool{}
	if b.Baseline != nil {
		f.snapshot(b.Baseline.Snapshot)
		seen[b.Baseline.Digest] = true
	}
	platforms := map[string]bool{}
	for _, t := range b.Triggers {
		f.once(platforms, t.Platform, "triggers for platform")
		f.digest(t.Digest)
	}
	for _, c := range b.Candidates {
		f.once(seen, c.Digest, "digest")
		f.snapshot(c.Snapshot)
		if c.FirstSeen.IsZero() {
			f.add(c.Digest, "candidate %s has no firstSeen", c.Digest)
		}
	}
	return f.list
}

// Writable returns why the state of the image must not be written: it is out of bounds, or reading would refuse it. It is
// to be asked after each change, so that what does not fit is an error of that image alone.
func (i *Image) Writable() error {
	if n := len(i.BaseImages); n > maxReferences {
		return fmt.Errorf("too many references: the Dockerfile uses %d images, and at most %d are recorded", n, maxReferences)
	}
	if n := len(i.Unresolved); n > maxReferences {
		return fmt.Errorf("too many references: %d in the Dockerfile cannot be resolved, and at most %d are recorded", n, maxReferences)
	}
	for _, b := range i.BaseImages {
		if r, err := ParseRef(b.Ref); err == nil && r.Pinned() && !digestForm().MatchString(r.Digest) {
			return fmt.Errorf("unsupported digest of %s: only sha256 is known", b.Ref)
		}
	}
	snapshots := make([]Snapshot, 0, len(i.BuiltOn)+len(i.Published))
	for _, b := range i.BuiltOn {
		snapshots = append(snapshots, b.Snapshot)
	}
	for _, p := range i.Published {
		snapshots = append(snapshots, p.Snapshot)
	}
	return writable(i.Name, i.Faults(), snapshots, i.encode)
}

// Writable returns why the state of the base image must not be written; see [Image.Writable].
func (b *Base) Writable() error {
	var snapshots []Snapshot
	if b.Baseline != nil {
		snapshots = append(snapshots, b.Baseline.Snapshot)
	}
	for _, c := range b.Candidates {
		snapshots = append(snapshots, c.Snapshot)
	}
	return writable(b.Name, b.Faults(), snapshots, b.encode)
}

func writable(name string, found []Fault, snapshots []Snapshot, encode func() ([]byte, error)) error {
	if !fileName().MatchString(name + ".yaml") {
		return fmt.Errorf("%q cannot name a state file", name)
	}
	for _, s := range snapshots {
		if err := s.bounded(); err != nil {
			return err
		}
	}
	if len(found) > 0 {
		return errors.New(found[0].Message)
	}
	data, err := encode()
	if err != nil {
		return err
	}
	return sized(data)
}

func (s Snapshot) bounded() error {
	if n := len(s.Platforms); n > MaxPlatforms {
		return fmt.Errorf("too many platforms: %s has %d, and at most %d are recorded", ShortDigest(s.Digest), n, MaxPlatforms)
	}
	for p := range s.Platforms {
		if len(p) > maxPlatform || !utf8.ValidString(p) {
			return fmt.Errorf("invalid platform %q of %s", sanitize.Cut(p, maxPlatform), ShortDigest(s.Digest))
		}
	}
	return nil
}

func sized(data []byte) error {
	if len(data) > maxFileBytes {
		return fmt.Errorf("too much to record: the state file would have %d KiB, and at most %d are read", (len(data)+1<<10-1)>>10, maxFileBytes>>10)
	}
	return nil
}

// Check returns why a state file, given by its path below the state folder or the archive, must not be written: Load would
// refuse it, or read something else than was meant.
func Check(file string, data []byte) error {
	if !fileName().MatchString(path.Base(file)) {
		return fmt.Errorf("%q cannot name a state file", path.Base(file))
	}
	if err := sized(data); err != nil {
		return err
	}
	if path.Base(path.Dir(file)) == BasesFolder {
		return kindOfBase.check(file, data)
	}
	return kindOfImage.check(file, data)
}

func (k kind[T]) check(file string, data []byte) error {
	v, bad := k.read(data, strings.TrimSuffix(path.Base(file), ".yaml"))
	if bad != nil {
		return errors.New(bad.message)
	}
	if found := k.faults(v); len(found) > 0 {
		return errors.New(found[0].Message)
	}
	if again, err := k.encode(v); err != nil || !bytes.Equal(data, again) {
		return errors.New("it would not be read back as it was written")
	}
	return nil
}
