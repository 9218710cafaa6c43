package registry

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

const (
	maxTags      = 50_000
	maxPages     = 200
	maxPageBytes = 4 << 20
	maxBuilds    = 50 // images whose build time is read
	maxNotImages = 20 // tags that are skipped because they are not images
)

var (
	tagForm = lazy.Regexp(`^\w[\w.-]{0,127}$`)
	// referrerTag matches the tags by which signatures and attestations refer to a digest.
	referrerTag = lazy.Regexp(`^sha(256|512)-[0-9a-f]{64,128}(\..+)?$`)
)

// Tags returns the tags of a repository, in the order of the registry. More than 50,000 tags or 200 pages are an error, since
// an incomplete list could lack the newest tag.
func (c *Client) Tags(ctx context.Context, repository string) ([]string, error) {
	tags, err := c.tags(ctx, repository)
	if err != nil {
		return nil, fmt.Errorf("listing tags of %q: %w", repository, err)
	}
	return tags, nil
}

func (c *Client) tags(ctx context.Context, repository string) ([]string, error) {
	ref, err := state.ParseRef(repository)
	if err != nil {
		return nil, err
	}
	src, err := c.source(ref)
	if err != nil {
		return nil, err
	}
	return firstOf(ctx, src.places, func(at place) ([]string, error) { return c.tagsAt(ctx, at) })
}

// candidates returns at most so many tags, among which the newest build is searched.
func candidates(tags []string, most int) []string {
	if len(tags) <= most {
		return tags
	}
	out := slices.Clone(tags[len(tags)-most/2:])
	rest := slices.Clone(tags[:len(tags)-most/2])
	slices.SortFunc(rest, func(a, b string) int { return compareNatural(b, a) })
	return append(out, rest[:most/2]...)
}

// compareNatural compares texts alphabetically, and numbers in them as numbers.
func compareNatural(a, b string) int {
	for a != "" && b != "" {
		na, nb := digits(a), digits(b)
		if na > 0 && nb > 0 {
			x, y := strings.TrimLeft(a[:na], "0"), strings.TrimLeft(b[:nb], "0")
			if len(x) != len(y) {
				return len(x) - len(y)
			}
			if c := strings.Compare(x, y); c != 0 {
				return c
			}
			a, b = a[na:], b[nb:]
			continue
		}
		if a[0] != b[0] {
			return int(a[0]) - int(b[0])
		}
		a, b = a[1:], b[1:]
	}
	return len(a) - len(b)
}

func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}
