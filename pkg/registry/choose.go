package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/tagrule"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Choice is the published tag that counts.
type Choice struct {
	Tag      string
	Snapshot state.Snapshot // its digests
	Used     config.Tags    // the rule by which it was chosen
	// PassedOver is the evidence against a rule that this call decided: the tag of an image that was built later, or the
	// highest semantic version if the newest build was chosen instead.
	PassedOver string
	NotImages  []string // skipped tags that are not images, with the reason
	// Outgrown is a tag that continues the series of the chosen one in a form that the strategy does not order: 2026.01.02
	// after 2025.12.31, which is a semantic version, or 2026.01.02-10, which sorts before 2026.01.02-9.
	Outgrown string
}

// Known returns the last recorded snapshot of a tag, or nil.
type Known func(tag string) *state.Snapshot

// Newest returns the published tag that counts. If decided, it applies tags; otherwise it decides by the tags of the
// repository: dates with leading zeros in alphabetical order, semantic versions if any tag is one, else `latest`, else the
// newest build. Allow and ignore of tags apply in any case. As in Kargo's Warehouses, a semantic version has all three
// numbers, and without a constraint pre-releases count too. Tags that are not images are skipped.
//
// Semantic versions are not chosen against the evidence: if other tags hold images that were built later, and these are as
// many as there are versions, or continue their series, `latest` or the newest build is chosen instead.
//
// The newest build is found by the build times in image configs. Of more than 50 tags it reads the last 25 in the
// registry's list and the 25 highest in natural order.
//
// The error is [ErrUnpublished] if the registry reports that the repository does not exist or has no tag, and a
// [NoneCountsError] if it has tags and none counts.
func (c *Client) Newest(ctx context.Context, repository string, tags config.Tags, decided bool, known Known) (Choice, error) {
	ch := chooser{Client: c, repository: repository, known: known}
	choice, err := ch.choose(ctx, tags, decided)
	if err != nil {
		return Choice{}, fmt.Errorf("choosing the newest tag of %q: %w", repository, err)
	}
	choice.NotImages = ch.notImages
	return choice, nil
}

// chooser chooses the tag of one repository.
type chooser struct {
	*Client
	repository string
	ref        state.Ref
	src        source
	known      Known
	notImages  []string
}

func (ch *chooser) choose(ctx context.Context, tags config.Tags, decided bool) (choice Choice, err error) {
	if ch.ref, err = state.ParseRef(ch.repository); err != nil {
		return Choice{}, err
	}
	if ch.src, err = ch.source(ch.ref); err != nil {
		return Choice{}, err
	}
	if decided && tags.Strategy == config.Digest {
		return ch.named(ctx, tags)
	}
	list, err := ch.counting(ctx, tags)
	if err != nil {
		return Choice{}, err
	}
	if !decided {
		return ch.decide(ctx, config.Tags{Allow: tags.Allow, Ignore: tags.Ignore}, list)
	}
	return ch.by(ctx, tags, list)
}

// by applies a strategy to the tags that count.
func (ch *chooser) by(ctx context.Context, tags config.Tags, list []string) (Choice, error) {
	switch tags.Strategy {
	case config.SemVer:
		rule, err := tagrule.New(tags)
		if err != nil {
			return Choice{}, err
		}
		versions := rule.Versions(list)
		if len(versions) == 0 {
			return Choice{}, noneCounts(list, "no tag is a semantic version%s", within(tags.Constraint))
		}
		choice, err := ch.first(ctx, tags, versions)
		choice.Outgrown = outgrown(choice.Tag, list, func(tag string) bool {
			return shape(tag) == shape(choice.Tag) && !slices.Contains(versions, tag)
		})
		return choice, err
	case config.Lexical:
		choice, err := ch.first(ctx, tags, slices.SortedFunc(slices.Values(list), func(a, b string) int { return strings.Compare(b, a) }))
		choice.Outgrown = outgrown(choice.Tag, list, func(tag string) bool { return tag < choice.Tag })
		return choice, err
	case config.NewestBuild:
		return ch.newestBuild(ctx, tags, list)
	}
	return Choice{}, fmt.Errorf("unknown strategy %q", tags.Strategy)
}

func within(constraint string) string {
	if constraint == "" {
		return ""
	}
	return fmt.Sprintf(" within the constraint %q (a suffix such as -alpine makes a pre-release, which a constraint admits only when it has one itself)", constraint)
}

// named returns the tag of the strategy Digest.
func (ch *chooser) named(ctx context.Context, tags config.Tags) (Choice, error) {
	s, err := ch.image(ctx, tags.Constraint)
	switch {
	case errors.Is(err, ErrNoImage):
		return Choice{}, noneCounts([]string{tags.Constraint}, "tag %q holds no image (%v)", tags.Constraint, err)
	case IsNotFound(err):
		list, failed := ch.list(ctx)
		if failed != nil {
			return Choice{}, failed
		}
		if slices.Contains(list, tags.Constraint) { // it was moved just now, or the registry contradicts itself
			return Choice{}, fmt.Errorf("tag %q is listed, but not found: %w", tags.Constraint, err)
		}
		return Choice{}, noneCounts(list, "no tag %q", tags.Constraint)
	}
	return Choice{Tag: tags.Constraint, Snapshot: s, Used: tags}, err
}

// list returns the tags of the repository, at least one, or [ErrUnpublished] if the registry reports that there is none.
func (ch *chooser) list(ctx context.Context) ([]string, error) {
	list, err := ch.tags(ctx, ch.repository)
	switch {
	case IsNotFound(err):
		return nil, fmt.Errorf("%w: %w", ErrUnpublished, err)
	case err == nil && len(list) == 0:
		return nil, bad(ch.src.host(), "no name in the list of tags is a valid tag")
	}
	return list, err
}

// counting returns the tags that pass allow and ignore, at least one.
func (ch *chooser) counting(ctx context.Context, tags config.Tags) ([]string, error) {
	rule, err := tagrule.New(tags)
	if err != nil {
		return nil, err
	}
	all, err := ch.list(ctx)
	if err != nil {
		return nil, err
	}
	list := slices.DeleteFunc(slices.Clone(all), referrerTag().MatchString)
	if len(list) == 0 {
		return nil, noneCounts(all, "only signatures and attestations have tags")
	}
	list = slices.DeleteFunc(list, func(tag string) bool { return !rule.Allows(tag) })
	if len(list) == 0 {
		return nil, noneCounts(all, "no tag passes allow and ignore of `tags`")
	}
	return list, nil
}

// first returns the first tag that is an image.
func (ch *chooser) first(ctx context.Context, used config.Tags, tags []string) (Choice, error) {
	for _, tag := range tags[:min(len(tags), maxNotImages)] {
		s, err := ch.image(ctx, tag)
		if errors.Is(err, ErrNoImage) {
			ch.notImages = append(ch.notImages, err.Error())
			continue
		}
		return Choice{Tag: tag, Snapshot: s, Used: used}, err
	}
	return Choice{}, noneCounts(tags, "none of the first %d tags holds an image (%s)", min(len(tags), maxNotImages), ch.notImages[0])
}

// image returns the snapshot of a tag, or [ErrNoImage]. A known digest is that of an image.
func (ch *chooser) image(ctx context.Context, tag string) (state.Snapshot, error) {
	ref, known := ch.ref, ch.known(tag)
	ref.Tag, ref.Digest = tag, ""
	s, err := ch.Snapshot(ctx, ref, known)
	if err != nil || known != nil && known.Digest == s.Digest {
		return s, err
	}
	var no, absent error
	for _, platform := range slices.Sorted(maps.Keys(s.Platforms)) {
		m, err := ch.manifest(ctx, ch.src, s.Platforms[platform])
		if err == nil {
			err = m.notImage(ch.src.host())
		}
		switch {
		case err == nil:
			return s, nil
		case IsAbsent(err): // an index may be copied with some of its platforms only
			absent = errors.New("a manifest of its index is missing")
		case errors.Is(err, ErrNoImage):
			no = err
		default:
			return s, fmt.Errorf("resolving %q: %w", ref, err)
		}
	}
	if err = absent; err == nil {
		err = no
	}
	if err != nil {
		err = fmt.Errorf("resolving %q: %w", ref, err)
	}
	return s, err
}

// build is a tag with the time when its image was built.
type build struct {
	tag    string
	digest string // empty if it was not read
	at     time.Time
}

// newestBuild returns the tag whose image was built last; of several, the alphabetically last.
func (ch *chooser) newestBuild(ctx context.Context, used config.Tags, tags []string) (Choice, error) {
	var images, others []string
	builds, err := ch.builds(ctx, candidates(tags, maxBuilds), func(ctx context.Context, b *build) error {
		ref := ch.ref
		ref.Tag = b.tag
		var err error
		b.at, err = ch.Built(ctx, ref, "")
		return err
	}, &others)
	if err != nil {
		return Choice{}, err
	}
	for _, b := range builds {
		images = append(images, b.tag)
	}
	switch {
	case len(images) > 0:
		return ch.first(ctx, used, images)
	case len(others) == len(candidates(tags, maxBuilds)):
		return Choice{}, noneCounts(tags, "no tag holds an image (%s)", others[0])
	}
	return Choice{}, errors.New("no image has a build time (set tags to choose another strategy)")
}

// builds reads the build times of tags and returns those that have one, the latest first. Tags that are not images are added
// to others.
func (ch *chooser) builds(ctx context.Context, tags []string, read func(context.Context, *build) error, others *[]string) ([]build, error) {
	found, failed := make([]build, len(tags)), make([]error, len(tags))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(ch.http.Concurrency)
	for i, tag := range tags {
		group.Go(func() error {
			found[i].tag = tag
			err := read(ctx, &found[i])
			if errors.Is(err, ErrNoImage) {
				failed[i] = err
				return nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for _, err := range failed {
		if err != nil {
			*others = append(*others, err.Error())
		}
	}
	found = slices.DeleteFunc(found, func(b build) bool { return b.at.IsZero() })
	slices.SortFunc(found, func(a, b build) int {
		if c := b.at.Compare(a.at); c != 0 {
			return c
		}
		return strings.Compare(b.tag, a.tag)
	})
	return found, nil
}
