package state

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Summary describes the changes of a state file, one line per change, for the commit message. file is its path below the
// state folder; before and after may be nil.
func Summary(file string, before, after []byte) []string {
	name := strings.TrimSuffix(path.Base(file), ".yaml")
	if after == nil && file != PauseFile {
		return []string{name + ": removed"}
	}
	var out []string
	switch path.Dir(file) {
	case path.Dir(PauseFile):
		out = changesOf(before, after, (*Pauses).changes)
	case BasesFolder:
		out = changesOf(before, after, (*Base).changes)
	case ImageScansFolder, BaseScansFolder:
		out = changesOf(before, after, (*Scans).changes)
	default:
		out = changesOf(before, after, (*Image).changes)
	}
	if len(out) == 0 {
		return []string{name + ": updated"}
	}
	return out
}

// changesOf returns the changes between two versions of a file; none if one of them cannot be read.
func changesOf[T any](before, after []byte, changes func(now, old *T) []string) []string {
	var old, now T
	if !parse(before, &old) || !parse(after, &now) {
		return nil
	}
	return changes(&now, &old)
}

// Versions returns two versions of a state file; nil for one that does not exist or cannot be read.
func Versions[T Image | Base | Pauses](before, after []byte) (old, now *T) {
	read := func(data []byte) *T {
		v := new(T)
		if data == nil || decode(data, v) != nil {
			return nil
		}
		return v
	}
	return read(before), read(after)
}

func parse(data []byte, v any) bool { return data == nil || decode(data, v) == nil }

// changes describes how the state of the base image differs from old, one line per change.
func (b *Base) changes(old *Base) (out []string) {
	add := func(format string, args ...any) { out = append(out, Short(b.Ref())+": "+fmt.Sprintf(format, args...)) }
	switch {
	case b.Baseline == nil && old.Repository == "":
		add("in use")
	case b.Baseline != nil && old.Baseline == nil:
		add("holds %s", ShortDigest(b.CurrentDigest))
	case b.CurrentDigest != old.CurrentDigest:
		add("moved from %s to %s", ShortDigest(old.CurrentDigest), ShortDigest(b.CurrentDigest))
	}
	if b.Newer != nil {
		was := clonePointer(old.Newer)
		if was == nil {
			was = &Newer{}
		}
		if tag := b.Newer.Line; tag != "" && tag != was.Line {
			add("newer release line %s", tag)
		}
		if tag := b.Newer.Release; tag != "" && tag != was.Release {
			add("newer release %s", tag)
		}
	}
	for i := range b.Candidates {
		c := &b.Candidates[i]
		was := old.Find(c.Digest)
		if was == nil {
			was = &Candidate{}
		}
		switch digest := ShortDigest(c.Digest); {
		case !c.Released.Equal(was.Released.Time) && !c.Released.IsZero():
			add("released %s: %s", digest, c.Reason)
		case !c.Held.Equal(was.Held.Time) && !c.Held.IsZero():
			add("held %s: %s", digest, c.Reason)
		case c.Released.IsZero() && len(was.Urgent) > 0 && c.Held.IsZero():
			add("took back the release of %s", digest)
		case c.Held.IsZero() && len(was.Adds) > 0:
			add("took back the hold of %s", digest)
		case !c.Withdrawn.IsZero() && was.Withdrawn.IsZero():
			add("%s was withdrawn", digest)
		case !c.Returned.Equal(was.Returned.Time) && !c.Returned.IsZero():
			add("%s returned, and ripens again", digest)
		}
		switch digest := ShortDigest(c.Digest); {
		case c.Untrusted != was.Untrusted && c.Untrusted != "":
			add("%s is untrusted: %s", digest, c.Untrusted)
		case c.Verified != was.Verified && c.Verified != "":
			add("%s has a %s", digest, c.Verified)
		}
	}
	return out
}

// changes describes how the state of the image differs from old, one line per change.
func (i *Image) changes(old *Image) (out []string) {
	add := func(format string, args ...any) { out = append(out, i.Name+": "+fmt.Sprintf(format, args...)) }
	if i.Dockerfile != nil && (old.Dockerfile == nil || i.Dockerfile.Digest != old.Dockerfile.Digest) {
		at := ""
		if i.Dockerfile.Commit != "" {
			at = " at " + shortCommit(i.Dockerfile.Commit)
		}
		add("Dockerfile%s uses %s", at, listOf(refsOf(i.BaseImages)))
	} else if refs := refsOf(i.BaseImages); !slices.Equal(refs, refsOf(old.BaseImages)) {
		add("uses %s", listOf(refs))
	}
	if b := i.Build; b != nil && (old.Build == nil || b.Digest != old.Build.Digest || b.Env != old.Build.Env) {
		at := ""
		if b.Commit != "" {
			at = " at " + shortCommit(b.Commit)
		}
		add("%s%s builds %s", b.File, at, b.Target)
	}
	if i.AnalysisError != old.AnalysisError && i.AnalysisError != "" {
		add("analysis failed: %s", i.AnalysisError)
	}
	if !i.Unpublished.IsZero() && old.Unpublished.IsZero() {
		add("nothing is published yet")
	}
	if i.CurrentDigest != old.CurrentDigest && i.CurrentDigest != "" {
		add("published as %s (%s)", i.CurrentVersion, ShortDigest(i.CurrentDigest))
	}
	for _, on := range i.BuiltOn {
		if was := old.On(on.Ref); was == nil || was.Digest != on.Digest || was.Evidence != on.Evidence {
			add("built on %s of %s (%s)", ShortDigest(on.Digest), Short(on.Ref), on.Evidence)
		}
	}
	switch r, was := i.PullRequest, old.PullRequest; {
	case r == nil && was != nil:
		add("pull request %s is no longer open or needed", was.URL)
	case r != nil && (was == nil || was.URL != r.URL || !slices.Equal(was.Pins, r.Pins)):
		add("pull request %s brings %s", r.URL, listOf(ShortRefs(r.Pins)))
	case r != nil && r.Message != was.Message:
		add("pull request %s%s", r.URL, because(r.Message))
	}
	if !i.Stuck.IsZero() && old.Stuck.IsZero() {
		add("due since %s, and not started", i.Stuck.UTC().Format("2006-01-02 15:04 MST"))
	}
	if r := i.Rebuild; r != nil {
		was := old.Rebuild
		if was == nil || was.ID != r.ID {
			was = &Rebuild{}
		}
		switch {
		case was.Status != r.Status && r.Status == Requested:
			add("rebuild %s requested: %s", r.ID, r.Reason)
		case was.Status != r.Status:
			add("rebuild %s %s%s", r.ID, r.Status.Predicate(), because(r.Message))
		case was.Run == "" && r.Run != "":
			add("rebuild %s is run %s", r.ID, r.Run)
		case was.Failures > 0 && r.Failures == 0 && r.Message != was.Message:
			add("%s", r.Message)
		case r.Status == Requested && r.Message != "" && was.Message != r.Message:
			add("rebuild %s was not started%s", r.ID, because(r.Message))
		case r.Status == Requested && !r.TriedAt.Equal(was.TriedAt.Time):
			add("rebuild %s is started by a later pass", r.ID)
		}
	}
	return out
}

func because(message string) string {
	if message == "" {
		return ""
	}
	return ": " + message
}

func refsOf(uses []BaseUse) []string {
	out := make([]string, len(uses))
	for i := range uses {
		out[i] = Short(uses[i].Ref)
	}
	return out
}

// ShortRefs returns references as [Short] does.
func ShortRefs(refs []string) []string {
	out := make([]string, len(refs))
	for i, ref := range refs {
		out[i] = Short(ref)
	}
	return out
}

func listOf(refs []string) string {
	if len(refs) == 0 {
		return "no image"
	}
	return strings.Join(refs, ", ")
}

// Familiar returns a reference without Docker Hub's host and library/.
func Familiar(ref string) string {
	return strings.TrimPrefix(strings.TrimPrefix(ref, "docker.io/library/"), "docker.io/")
}

// Short returns a reference in its familiar form with a short digest.
func Short(ref string) string {
	name, digest, pinned := strings.Cut(Familiar(ref), "@")
	if pinned {
		name += "@" + ShortDigest(digest)
	}
	return name
}

// ShortDigest returns the algorithm and the first twelve digits of a digest.
func ShortDigest(digest string) string {
	const digits = 12
	if at := strings.IndexByte(digest, ':'); at >= 0 && len(digest) > at+1+digits {
		return digest[:at+1+digits]
	}
	return digest
}

func shortCommit(commit string) string {
	const digits = 10
	if len(commit) > digits {
		return commit[:digits]
	}
	return commit
}
