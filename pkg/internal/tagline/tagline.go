// Package tagline orders the tags of base images: which release a tag names, and which listed tags are newer releases of the same
// variant. Tags are a matter of custom, so it compares only those of the same form, and what it does not understand is no release.
package tagline

import (
	"slices"
	"strconv"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
)

// Tag is what a tag says: node:22.11-bookworm-slim is release 22.11 of the variant -bookworm-slim.
type Tag struct {
	Prefix  string // before the release: v, jdk-, bookworm-
	Release []int  // 22, 11
	Variant string // after it: -bookworm-slim

	form string // of the release, with N for each number
	date bool   // the release is a date
}

// form splits a tag: an optional word, the release, and the variant. The numbers of a release are joined by dots, by the u of
// Java 8 (8u422), by an underscore (21.0.5_11), or are a date with dashes. A number after a dash that ends the tag counts the
// builds of a release.
var form = lazy.Regexp(`^([a-z]+-?)??(\d{4}-\d{2}-\d{2}|\d+(?:[._u]\d+)*(?:-\d+$)?)((?:[-_].*)?)$`)

var number = lazy.Regexp(`\d+`)

// preRelease matches the variants of releases that are not finished.
var preRelease = lazy.Regexp(`(?i)(^|[-._])(alpha|beta|rc|pre|preview|dev|nightly|snapshot|canary|edge|test|ea)([-._]?\d+)?([-._]|$)`)

const (
	maxDigits  = 14   // of a number: 20260102030405
	maxRelease = 999  // that is a single number, other than a date
	firstYear  = 1990 // of dates
	lastYear   = 2199
)

// Parse returns the parts of a tag; false for one that names no release, such as latest, bookworm or a commit.
func Parse(tag string) (Tag, bool) {
	m := form().FindStringSubmatch(tag)
	if m == nil || preRelease().MatchString(m[3]) {
		return Tag{}, false
	}
	t := Tag{Prefix: m[1], Variant: m[3], form: number().ReplaceAllString(m[2], "N")}
	for _, digits := range number().FindAllString(m[2], -1) {
		n, err := strconv.Atoi(digits)
		if err != nil || len(digits) > maxDigits {
			return Tag{}, false
		}
		t.Release = append(t.Release, n)
	}
	t.date = isDate(t.Release)
	if !t.date && len(t.Release) == 1 && t.Release[0] > maxRelease { // a build number, or the digits of a commit
		return Tag{}, false
	}
	return t, true
}

// isDate reports whether numbers are a date: 20260102, or numbers that begin with a year.
func isDate(release []int) bool {
	year := release[0]
	for year > 9999 && len(release) == 1 {
		year /= 100
	}
	return year >= firstYear && year <= lastYear && (len(release) > 1 || release[0] > 9999)
}

// alike reports whether two tags are releases of the same variant, in the same form.
func (t *Tag) alike(other *Tag) bool {
	return t.Prefix == other.Prefix && t.Variant == other.Variant && t.form == other.form && t.date == other.date
}

// line returns the release line of a tag: 22.11 for 22.11.0. Up to two numbers are a line themselves; dates have none.
func (t *Tag) line() []int {
	if t.date {
		return nil
	}
	return t.Release[:min(len(t.Release), 2)]
}

// Newer are the newest releases beyond a tag.
type Newer struct {
	Release string // in the same release line, which has a tag of its own: 22.11.1 for 22.11.0
	Line    string // of a later release line: 24 for 22
}

// NewerThan returns the newest releases of the same variant among listed tags.
func NewerThan(tag string, list []string) Newer {
	own, ok := Parse(tag)
	if !ok {
		return Newer{}
	}
	release, line := own, own
	var newer Newer
	for _, name := range list {
		t, ok := Parse(name)
		if !ok || !own.alike(&t) {
			continue
		}
		switch c := slices.Compare(t.line(), own.line()); {
		case c == 0 && slices.Compare(t.Release, release.Release) > 0:
			release, newer.Release = t, name
		case c > 0 && slices.Compare(t.Release, line.Release) > 0:
			line, newer.Line = t, name
		}
	}
	return newer
}

// Names reports whether a tag belongs to a release cycle, such as 22 or 3.13, or names it by a word: bookworm.
func (t *Tag) Names(cycle string) bool {
	c, ok := Parse(cycle)
	return ok && !c.date && c.Variant == "" && c.Prefix == "" && len(c.Release) <= len(t.Release) && slices.Equal(c.Release, t.Release[:len(c.Release)])
}

// HasWord reports whether a tag has a word, such as the code name of a distribution, between dashes.
func HasWord(tag, word string) bool {
	return slices.ContainsFunc(strings.FieldsFunc(tag, func(r rune) bool { return r == '-' || r == '_' || r == '.' }), func(w string) bool { return strings.EqualFold(w, word) })
}
