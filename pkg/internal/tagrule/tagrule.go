// Package tagrule applies the `tags` of an image: which tags of its repository count.
package tagrule

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/imagefactory/imagefactory/pkg/config"
)

// Rule is a compiled `tags` entry.
type Rule struct {
	tags          config.Tags
	allow, ignore []*regexp.Regexp
	within        *semver.Constraints // nil for any version
}

// New compiles a rule.
func New(t config.Tags) (*Rule, error) {
	r := &Rule{tags: t}
	var err error
	if r.allow, err = compile(t.Allow); err != nil {
		return nil, err
	}
	if r.ignore, err = compile(t.Ignore); err != nil {
		return nil, err
	}
	if t.Strategy == config.SemVer && t.Constraint != "" {
		if r.within, err = semver.NewConstraint(t.Constraint); err != nil {
			return nil, fmt.Errorf("invalid constraint %q: %w", t.Constraint, err)
		}
	}
	return r, nil
}

func compile(list []string) ([]*regexp.Regexp, error) {
	out := make([]*regexp.Regexp, 0, len(list))
	for _, s := range list {
		re, err := regexp.Compile(s)
		if err != nil {
			return nil, fmt.Errorf("invalid expression %q: %w", s, err)
		}
		out = append(out, re)
	}
	return out, nil
}

// Allows reports whether allow and ignore let a tag through.
func (r *Rule) Allows(tag string) bool {
	matches := func(re *regexp.Regexp) bool { return re.MatchString(tag) }
	return (len(r.allow) == 0 || slices.ContainsFunc(r.allow, matches)) && !slices.ContainsFunc(r.ignore, matches)
}

// Versions returns the tags that are semantic versions within the constraint, the highest first. As in Kargo's Warehouses, a
// version has all three numbers. Of two spellings of a version, the alphabetically last one comes first.
func (r *Rule) Versions(tags []string) []string {
	type version struct {
		*semver.Version
		tag string
	}
	var found []version
	for _, tag := range tags {
		v, err := semver.StrictNewVersion(strings.TrimPrefix(tag, "v"))
		if err == nil && (r.within == nil || r.within.Check(v)) {
			found = append(found, version{v, tag})
		}
	}
	slices.SortFunc(found, func(a, b version) int { return cmp.Or(b.Compare(a.Version), strings.Compare(b.tag, a.tag)) })
	out := make([]string, len(found))
	for i := range found {
		out[i] = found[i].tag
	}
	return out
}

// Publishes reports whether the builds of the image publish a tag. That is wider than [Rule.Versions] on purpose: a build of
// 9.1.2 usually moves the tags 9 and 9.1 as well, and Dockerfiles name those.
func (r *Rule) Publishes(tag string) bool {
	if !r.Allows(tag) {
		return false
	}
	switch r.tags.Strategy {
	case config.Digest:
		return tag == r.tags.Constraint
	case config.SemVer:
		v, err := semver.NewVersion(tag)
		return err == nil && (r.within == nil || r.within.Check(v))
	}
	return true
}
