package registry

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
	"github.com/imagefactory/imagefactory/pkg/internal/tagrule"
)

const (
	maxEvidence = 10        // tags whose build time is read as evidence against a rule
	sameBuild   = time.Hour // between a release build and a branch build of one commit
	latest      = "latest"
)

// decide determines the tag strategy of a repository.
func (ch *chooser) decide(ctx context.Context, used config.Tags, list []string) (Choice, error) {
	if isCalendar(list) {
		used.Strategy = config.Lexical
		return ch.by(ctx, used, list)
	}
	versions := new(tagrule.Rule).Versions(list)
	var none *NoneCountsError
	if len(versions) > 0 {
		used.Strategy = config.SemVer
		choice, err := ch.by(ctx, used, list)
		if err == nil {
			choice, err = ch.weigh(ctx, choice, list, versions)
		}
		switch {
		case err == nil && choice.Outgrown != "" && choice.Used.Strategy == config.SemVer: // build times do not show it
			return ch.unversioned(ctx, used, list, choice.Tag)
		case err == nil, !errors.As(err, &none):
			return choice, err
		}
		list = slices.DeleteFunc(slices.Clone(list), func(tag string) bool { return slices.Contains(versions, tag) })
		if len(list) == 0 {
			return Choice{}, err
		}
	}
	return ch.unversioned(ctx, used, list, "")
}

// unversioned chooses `latest`, else the newest build. passedOver is the semantic version that was rejected.
func (ch *chooser) unversioned(ctx context.Context, used config.Tags, list []string, passedOver string) (choice Choice, err error) {
	var none *NoneCountsError
	defer func() {
		if choice.Tag != passedOver {
			choice.PassedOver = passedOver
		}
	}()
	if slices.Contains(list, latest) {
		used.Strategy, used.Constraint = config.Digest, latest
		if choice, err := ch.named(ctx, used); !errors.As(err, &none) {
			return choice, err
		}
		used.Constraint = ""
	}
	used.Strategy = config.NewestBuild
	return ch.by(ctx, used, list)
}

// weigh looks for evidence against the highest version: images of other tags that were built after it. If they outnumber the
// versions, or continue their series in a form that is not a version (2026.01.02 after 2025.12.31), another strategy is
// chosen.
func (ch *chooser) weigh(ctx context.Context, version Choice, list, versions []string) (Choice, error) {
	later, err := ch.builtAfter(ctx, version, others(list, versions))
	if err != nil || len(later) == 0 {
		return version, err
	}
	newest := later[0]
	if len(later) < len(versions) && shape(newest.tag) != shape(version.Tag) {
		version.PassedOver = newest.tag
		return version, nil
	}
	used := version.Used
	used.Strategy = config.NewestBuild
	if slices.ContainsFunc(later, func(b build) bool { return b.tag == latest && b.digest == newest.digest }) {
		used.Strategy, used.Constraint, newest.tag = config.Digest, latest, latest
	}
	choice, err := ch.first(ctx, used, []string{newest.tag})
	choice.PassedOver = version.Tag
	return choice, err
}

// pullRequest matches the usual tags of images of pull and merge requests, which are not released.
var pullRequest = lazy.Regexp(`^(pr|mr|pull|merge)[-_.]?\d+(\W|$)`)

// others returns the tags that are neither versions, nor prefixes of one (1.2 moves with 1.2.3), nor of a pull request.
func others(list, versions []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(tag string) bool {
		if pullRequest().MatchString(tag) {
			return true
		}
		number, suffix, _ := strings.Cut(strings.TrimPrefix(tag, "v"), "-")
		return slices.ContainsFunc(versions, func(v string) bool {
			n, s, _ := strings.Cut(strings.TrimPrefix(v, "v"), "-")
			return v == tag || s == suffix && strings.HasPrefix(n, number+".")
		})
	})
}

// builtAfter returns the images of other tags that were built after the chosen one, the latest first, each once. It reads a
// few tags only.
func (ch *chooser) builtAfter(ctx context.Context, chosen Choice, tags []string) ([]build, error) {
	if len(tags) == 0 {
		return nil, nil
	}
	sample := candidates(tags, maxEvidence)
	if slices.Contains(tags, latest) && !slices.Contains(sample, latest) {
		sample = append(slices.Clone(sample), latest)
	}
	digests := map[string]bool{}
	var none []string
	builds, err := ch.builds(ctx, append(slices.Clone(sample), chosen.Tag), func(ctx context.Context, b *build) error {
		err := ch.date(ctx, b, chosen)
		if IsAbsent(err) || isInvalid(err) { // a retry would not help
			err = nil
		}
		return err
	}, &none)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(builds, func(b build) bool { return b.tag == chosen.Tag })
	if at < 0 {
		return nil, nil // without its build time, nothing is known to be later
	}
	limit := builds[at].at.Add(sameBuild)
	return slices.DeleteFunc(builds, func(b build) bool {
		same := b.digest != "" && digests[b.digest] && b.tag != latest
		digests[b.digest] = true
		return same || !b.at.After(limit)
	}), nil
}

// date reads the digest and the build time of a tag, unless it has the digest of the chosen one.
func (ch *chooser) date(ctx context.Context, b *build, chosen Choice) (err error) {
	if b.digest, err = ch.head(ctx, ch.src, b.tag); err != nil || b.digest == chosen.Snapshot.Digest && b.tag != chosen.Tag {
		return err
	}
	ref := ch.ref
	if ref.Digest = b.digest; b.digest == "" {
		ref.Tag = b.tag
	}
	b.at, err = ch.Built(ctx, ref, "")
	return err
}

// calendarForm matches tags that begin with a date of fixed width: 2026.02.03, 2026-02, 20260203.
var calendarForm = lazy.Regexp(`^v?20\d\d[.-]?(0[1-9]|1[0-2])([.-]?([0-2]\d|3[01]))?([.-]?\d+)?$`)

// IsDate reports whether a tag begins with a date whose alphabetical order is that of time.
func IsDate(tag string) bool { return calendarForm().MatchString(tag) }

// isCalendar reports whether all tags, at least two, are dates of one form in alphabetical order. Dates without leading zeros
// are semantic versions.
func isCalendar(tags []string) bool {
	versions := new(tagrule.Rule).Versions(tags)
	return len(tags) > 1 && len(versions) < len(tags) && !slices.ContainsFunc(tags, func(t string) bool {
		return !IsDate(t) || shape(t) != shape(tags[0])
	})
}

// outgrown returns the latest of the dates that follow a tag in natural order; "" for none.
func outgrown(tag string, list []string, counts func(tag string) bool) string {
	if !IsDate(tag) {
		return ""
	}
	last := ""
	for _, t := range list {
		if IsDate(t) && compareNatural(t, cmp.Or(last, tag)) > 0 && counts(t) {
			last = t
		}
	}
	return last
}

var anyDigit = lazy.Regexp(`\d`)

// shape returns a tag without its digits.
func shape(tag string) string { return anyDigit().ReplaceAllString(tag, "0") }
