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

// Limits of what a state file holds, whatever a Dockerfile or a registry contains.
const (
	maxReferences = 500 // in a Dockerfile, resolved and unresolved each
	MaxPlatforms  = 64  // of a digest
	MaxText       = 500 // characters of a reason or message
	maxPlatform   = 200 // bytes of a platform
)

var (
	digestForm  = lazy.Regexp(`^sha256:[0-9a-f]{64}$`)
	rebuildForm = lazy.Regexp(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`) // valid as the value of a Kubernetes label
)

// Text returns untrusted text in the form that state holds: one line of at most [MaxText] characters.
func Text(s string) string {
	return sanitize.Cut(sanitize.Words(s), MaxText)
}

// Fault is an impossible value in a state file.
type Fault struct {
	Value   string // as the file has it
	Message string
}

// faults collects Faults. It reports each invalid digest once.
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

// once reports an item whose key was seen before.
func (f *faults) once(seen map[string]bool, key, what string) {
	if seen[key] {
		f.add(key, "%s %q is listed twice", what, key)
	}
	seen[key] = true
}

// Faults returns the impossible values in the state of the image. Anybody who can push to the state repository can write
// anything into a file, so commands refuse files with faults.
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
		if b.Pin != nil {
			f.digest(b.Pin.TagHeld)
		}
		for _, u := range b.Uses {
			if u.Line < 0 {
				f.add(strconv.Itoa(u.Line), "invalid line %d", u.Line)
			}
		}
	}
	f.digest(i.CurrentDigest)
	for _, b := range i.BuiltOn {
		f.once(builtOn, b.Ref, "builtOn for reference")
		f.snapshot(b.Snapshot)
		if !b.Evidence.known() {
			f.add(string(b.Evidence), "unknown evidence %q", b.Evidence)
		}
	}
	for _, p := range i.Published {
		f.once(tags, p.Tag, "published tag")
		f.snapshot(p.Snapshot)
	}
	if i.PullRequest != nil {
		for _, ref := range i.PullRequest.Pins {
			if r, err := ParseRef(ref); err != nil || !r.Pinned() || r.String() != ref {
				f.add(ref, "invalid pinned reference %q", ref)
			}
		}
	}
	if i.Rebuild != nil {
		f.rebuild(i.Rebuild)
	}
	return f.list
}

func (f *faults) rebuild(r *Rebuild) {
	if !r.Status.known() {
		f.add(string(r.Status), "unknown rebuild status %q", r.Status)
	}
	if r.Failures < 0 {
		f.add(strconv.Itoa(r.Failures), "invalid number of failures in a row: %d", r.Failures)
	}
	if r.Status == Requested && !rebuildForm().MatchString(r.ID) { // workflows get it as an input
		f.add(r.ID, "invalid rebuild ID %q", r.ID)
	}
	for _, target := range r.Bases {
		f.snapshot(target.Snapshot)
	}
}

// Faults returns the impossible values in the state of the base image; see [Image.Faults].
func (b *Base) Faults() []Fault {
	var f faults
	if r, err := ParseRef(b.Ref()); err != nil || r.String() != b.Ref() && !b.HasHostAlias() {
		f.add(b.Repository, "invalid base image reference %q", b.Ref())
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
	if b.Newer != nil {
		for _, tag := range []string{b.Newer.Release, b.Newer.Line} {
			if r, err := ParseRef(b.Registry + "/" + b.Repository + ":" + tag); tag != "" && (err != nil || r.Tag != tag) {
				f.add(tag, "invalid tag %q", tag)
			}
		}
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

// Writable returns an error if the state of the image must not be written, because it exceeds a limit or could not be read
// back. Callers check it after each change, so that the error belongs to that image alone.
func (i *Image) Writable() error {
	if n := len(i.BaseImages); n > maxReferences {
		return fmt.Errorf("too many references: the Dockerfile uses %d images (limit %d)", n, maxReferences)
	}
	if n := len(i.Unresolved); n > maxReferences {
		return fmt.Errorf("too many references: %d in the Dockerfile cannot be resolved (limit %d)", n, maxReferences)
	}
	for _, b := range i.BaseImages {
		if r, err := ParseRef(b.Ref); err == nil && r.Pinned() && !digestForm().MatchString(r.Digest) {
			return fmt.Errorf("unsupported digest algorithm of %s (only sha256 is supported)", b.Ref)
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

// Writable returns an error if the state of the base image must not be written; see [Image.Writable].
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
		return fmt.Errorf("invalid name of a state file %q", name)
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
		return fmt.Errorf("too many platforms: %s has %d (limit %d)", ShortDigest(s.Digest), n, MaxPlatforms)
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
		return fmt.Errorf("state file too large: %d KiB (limit %d KiB)", (len(data)+1<<10-1)>>10, maxFileBytes>>10)
	}
	return nil
}

// Check returns an error if a state file must not be written, because Load would refuse it or read something else. file is
// its path below the state folder or the archive.
func Check(file string, data []byte) error {
	if !fileName().MatchString(path.Base(file)) {
		return fmt.Errorf("invalid name of a state file %q", path.Base(file))
	}
	if err := sized(data); err != nil {
		return err
	}
	switch path.Base(path.Dir(file)) {
	case path.Dir(PauseFile):
		return kindOfPauses.check(file, data)
	case BasesFolder:
		return kindOfBase.check(file, data)
	case ImageScansFolder, BaseScansFolder:
		return kindOfScans.check(file, data)
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
		return errors.New("internal error: the state file would not be read back as written")
	}
	return nil
}
