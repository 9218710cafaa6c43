package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	"golang.org/x/sync/errgroup"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/state"
)

const (
	maxTags      = 50_000
	maxPages     = 200
	pageSize     = "1000" // some registries refuse more
	maxPageBytes = 4 << 20
	maxBuilds    = 50 // images whose date is asked for
)

var (
	tagForm = regexp.MustCompile(`^\w[\w.-]{0,127}$`)
	// referrerTag is how signatures and attestations are attached to a digest where there is no other way.
	referrerTag = regexp.MustCompile(`^sha(256|512)-[0-9a-f]{64,128}(\..+)?$`)
)

// Tags lists the tags of a repository, in the order of the registry. It reads up to 50,000 of them, on up to 200 pages;
// more is an error, since what is missing could be what is asked for.
func (c *Client) Tags(ctx context.Context, repository string) ([]string, error) {
	tags, err := c.tags(ctx, repository)
	if err != nil {
		return nil, fmt.Errorf("listing the tags of %q: %w", repository, err)
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
	return ask(ctx, src.places, func(at place) ([]string, error) { return c.pages(ctx, at) })
}

func (c *Client) pages(ctx context.Context, at place) ([]string, error) {
	var tags []string
	next := "tags/list?n=" + pageSize
	for range maxPages {
		a, err := c.send(ctx, at, http.MethodGet, next, "application/json", maxPageBytes)
		if err != nil {
			return nil, err
		}
		var page struct {
			Tags []string `json:"tags"`
		}
		if err := json.Unmarshal(a.body, &page); err != nil {
			return nil, &Error{Host: at.host(), problem: "the list of tags is not valid JSON", cause: jsonProblem(err)}
		}
		for _, t := range page.Tags {
			if tagForm.MatchString(t) {
				tags = append(tags, t)
			}
		}
		if len(tags) > maxTags {
			break
		}
		if next, err = nextPage(at, a); err != nil || next == "" {
			return tags, err
		}
	}
	return nil, bad(at.host(), "there are more than %d tags; set tags to {strategy: Digest, constraint: TAG} to follow one", min(len(tags), maxTags))
}

// nextPage reads the Link header. It must lead to the same host: credentials go with it. Registries behind a proxy often
// do not know that they are reached by TLS, so the scheme stays what it is.
func nextPage(at place, a *answer) (string, error) {
	link := a.header.Get("Link")
	if link == "" {
		return "", nil
	}
	start, end := strings.IndexByte(link, '<'), strings.IndexByte(link, '>')
	if start != 0 || end < 0 {
		return "", bad(at.host(), "the link to the next page of tags has the wrong form")
	}
	base, err := url.Parse(a.url)
	if err != nil {
		return "", bad(at.host(), "the address of the tags has the wrong form")
	}
	next, err := base.Parse(link[1:end])
	if err != nil || next.Host != base.Host {
		return "", bad(at.host(), "the link to the next page of tags leads elsewhere")
	}
	next.Scheme, next.User = base.Scheme, nil
	return next.String(), nil
}

// Newest chooses the published tag that counts: by tags when that is decided, and else by what the repository holds:
// semantic versions if any tag is one, else `latest`, else the newest build. used says by which it was; allow and ignore
// of tags hold in any case. As in Kargo's Warehouses, a semantic version has all three numbers, and without a constraint
// pre-releases count too.
//
// The newest build is found by the dates in image configs. When more than 50 tags come into question, these are asked
// for: the 25 last ones in the registry's list, and the 25 highest when numbers in tags are compared as numbers.
//
// The error is ErrUnpublished when the repository does not exist or has no tag that counts.
func (c *Client) Newest(ctx context.Context, repository string, tags config.Tags, decided bool) (tag string, used config.Tags, err error) {
	if decided {
		tag, err = c.newest(ctx, repository, tags)
		used = tags
	} else {
		tag, used, err = c.decide(ctx, repository, tags)
	}
	if IsNotFound(err) {
		err = fmt.Errorf("%w: %w", ErrUnpublished, err)
	}
	if err != nil {
		return "", config.Tags{}, fmt.Errorf("choosing the newest tag of %q: %w", repository, err)
	}
	return tag, used, nil
}

func (c *Client) newest(ctx context.Context, repository string, tags config.Tags) (string, error) {
	if tags.Strategy == config.Digest {
		return tags.Constraint, c.exists(ctx, repository, tags.Constraint)
	}
	list, err := c.counting(ctx, repository, tags)
	if err != nil {
		return "", err
	}
	switch tags.Strategy {
	case config.SemVer:
		return newestVersion(list, tags.Constraint)
	case config.Lexical:
		return slices.Max(list), nil
	case config.NewestBuild:
		return c.newestBuild(ctx, repository, list)
	}
	return "", fmt.Errorf("unknown strategy %q", tags.Strategy)
}

func (c *Client) decide(ctx context.Context, repository string, tags config.Tags) (string, config.Tags, error) {
	used := config.Tags{Allow: tags.Allow, Ignore: tags.Ignore}
	list, err := c.counting(ctx, repository, used)
	if err != nil {
		return "", used, err
	}
	used.Strategy = config.SemVer
	tag, err := newestVersion(list, "")
	switch {
	case err == nil:
		return tag, used, nil
	case slices.Contains(list, "latest"):
		used.Strategy, used.Constraint = config.Digest, "latest"
		return "latest", used, nil
	}
	used.Strategy = config.NewestBuild
	tag, err = c.newestBuild(ctx, repository, list)
	return tag, used, err
}

func (c *Client) exists(ctx context.Context, repository, tag string) error {
	ref, err := state.ParseRef(repository + ":" + tag)
	if err != nil {
		return err
	}
	src, err := c.source(ref)
	if err != nil {
		return err
	}
	_, err = c.head(ctx, src, tag)
	return err
}

// counting lists the tags that allow and ignore let through, at least one.
func (c *Client) counting(ctx context.Context, repository string, tags config.Tags) ([]string, error) {
	allow, err := compile(tags.Allow)
	if err != nil {
		return nil, err
	}
	ignore, err := compile(tags.Ignore)
	if err != nil {
		return nil, err
	}
	list, err := c.tags(ctx, repository)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(tag string) bool {
		matches := func(re *regexp.Regexp) bool { return re.MatchString(tag) }
		return referrerTag.MatchString(tag) || len(allow) > 0 && !slices.ContainsFunc(allow, matches) || slices.ContainsFunc(ignore, matches)
	})
	if len(list) == 0 {
		return nil, fmt.Errorf("%w: no tag counts", ErrUnpublished)
	}
	return list, nil
}

func compile(list []string) ([]*regexp.Regexp, error) {
	out := make([]*regexp.Regexp, 0, len(list))
	for _, s := range list {
		re, err := regexp.Compile(s)
		if err != nil {
			return nil, fmt.Errorf("reading expression %q: %w", s, err)
		}
		out = append(out, re)
	}
	return out, nil
}

// newestVersion is the highest semantic version, ErrUnpublished when there is none. Of two spellings of one version the
// last one counts, by the alphabet.
func newestVersion(tags []string, constraint string) (string, error) {
	var within *semver.Constraints
	if constraint != "" {
		var err error
		if within, err = semver.NewConstraint(constraint); err != nil {
			return "", fmt.Errorf("reading constraint %q: %w", constraint, err)
		}
	}
	var newest *semver.Version
	tag := ""
	for _, t := range tags {
		v, err := semver.StrictNewVersion(strings.TrimPrefix(t, "v"))
		if err != nil || within != nil && !within.Check(v) {
			continue
		}
		if newest == nil || v.GreaterThan(newest) || v.Equal(newest) && t > tag {
			newest, tag = v, t
		}
	}
	if newest == nil {
		return "", fmt.Errorf("%w: no tag is a semantic version that counts", ErrUnpublished)
	}
	return tag, nil
}

// newestBuild is the tag whose image was built last; of several, the last by the alphabet.
func (c *Client) newestBuild(ctx context.Context, repository string, tags []string) (string, error) {
	ref, err := state.ParseRef(repository)
	if err != nil {
		return "", err
	}
	tags = candidates(tags)
	dates := make([]time.Time, len(tags))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(c.hosts.slots.Limit)
	for i, tag := range tags {
		group.Go(func() error {
			of := ref
			of.Tag = tag
			built, err := c.Built(ctx, of, "")
			if errors.Is(err, errNoImage) {
				return nil
			}
			dates[i] = built
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return "", err
	}
	newest := -1
	for i, at := range dates {
		if !at.IsZero() && (newest < 0 || at.After(dates[newest]) || at.Equal(dates[newest]) && tags[i] > tags[newest]) {
			newest = i
		}
	}
	if newest < 0 {
		return "", errors.New("no image says when it was built; set tags to say which tag counts")
	}
	return tags[newest], nil
}

// candidates are the tags that the newest build is looked for in.
func candidates(tags []string) []string {
	if len(tags) <= maxBuilds {
		return tags
	}
	out := slices.Clone(tags[len(tags)-maxBuilds/2:])
	rest := slices.Clone(tags[:len(tags)-maxBuilds/2])
	slices.SortFunc(rest, func(a, b string) int { return compareNatural(b, a) })
	return append(out, rest[:maxBuilds/2]...)
}

// compareNatural compares texts by the alphabet, and numbers in them as numbers.
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
