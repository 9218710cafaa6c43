package registry

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
)

// pageSizes are tried in turn: some registries refuse a size above their limit, some refuse any.
var pageSizes = []string{"?n=1000", "?n=100", ""}

// tagsAt lists the tags at one place. Only the registry itself, not a mirror, can have no tags.
func (c *Client) tagsAt(ctx context.Context, at place) ([]string, error) {
	list := tagList{at: at, visited: map[string]bool{}, seen: map[string]bool{}}
	a, err := c.firstPage(ctx, at)
	for range maxPages {
		if err != nil {
			return nil, err
		}
		next, err := list.add(a)
		switch {
		case err != nil:
			return nil, err
		case len(list.tags) > maxTags:
			return nil, tooManyTags(at, len(list.tags))
		case next == "" && len(list.seen) == 0:
			return nil, list.empty()
		case next == "":
			return list.tags, nil
		}
		if a, err = c.send(ctx, at, http.MethodGet, next, "application/json", maxPageBytes); err != nil {
			return nil, err
		}
	}
	return nil, tooManyTags(at, len(list.tags))
}

func tooManyTags(at place, n int) error {
	return bad(at.host(), "more than %d tags (set tags to {strategy: Digest, constraint: TAG} to follow one)", min(n, maxTags))
}

// firstPage requests the largest page that the registry returns.
func (c *Client) firstPage(ctx context.Context, at place) (a *response, err error) {
	for _, size := range pageSizes {
		a, err = c.send(ctx, at, http.MethodGet, "tags/list"+size, "application/json", maxPageBytes)
		if !refusesSize(err) {
			break
		}
	}
	return a, err
}

// refusesSize reports whether a smaller page may succeed: the request was refused, but not because of the repository.
func refusesSize(err error) bool {
	e := errorOf(err)
	if e == nil || e.Status < http.StatusBadRequest {
		return false
	}
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return false
	}
	return e.Status < http.StatusInternalServerError || e.Status == http.StatusNotImplemented
}

// tagList collects the tags of the pages.
type tagList struct {
	at      place
	tags    []string
	seen    map[string]bool // every entry, including invalid tags
	visited map[string]bool // pages, by their URL
	named   bool            // the pages name the repository
}

// add adds a page and returns the address of the next one, if any. Pages in a circle are an error: a tag may be missing.
func (l *tagList) add(a *response) (next string, err error) {
	page, err := parsePage(l.at, a.body)
	if err != nil {
		return "", err
	}
	l.named = page.Name != "" && isOf(page.Name, l.at.repo.RepositoryStr())
	before := len(l.seen)
	for _, t := range page.tags {
		if !l.seen[t] && tagForm().MatchString(t) {
			l.tags = append(l.tags, t)
		}
		l.seen[t] = true
	}
	l.visited[a.url] = true
	next, err = nextPage(l.at, a)
	if err == nil && next != "" && (l.visited[next] || len(page.tags) > 0 && len(l.seen) == before) {
		return "", bad(l.at.host(), "the tag list does not end: its pages repeat after %d tags", len(l.seen))
	}
	return next, err
}

// empty returns the error for an empty list, or nil.
func (l *tagList) empty() error {
	switch {
	case l.at.mirror:
		return bad(l.at.host(), "the mirror lists no tags")
	case !l.named:
		return bad(l.at.host(), "the tag list is empty and does not name the repository")
	}
	return &Error{Host: l.at.host(), problem: "the repository has no tags", unknown: true}
}

// page is one response of the tag list.
type page struct {
	Name string          `json:"name"`
	Tags json.RawMessage `json:"tags"` // null is an empty list
	tags []string
}

// parsePage decodes a page. JSON of another kind, or the list of another repository, is an error.
func parsePage(at place, body []byte) (*page, error) {
	p := &page{}
	err := json.Unmarshal(body, p)
	if err == nil && p.Tags != nil {
		err = json.Unmarshal(p.Tags, &p.tags)
	}
	switch {
	case err != nil:
		return nil, &Error{Host: at.host(), problem: "the list of tags is not valid JSON", cause: jsonProblem(err)}
	case p.Tags == nil:
		return nil, bad(at.host(), "the response is not a tag list")
	case !isOf(p.Name, at.repo.RepositoryStr()) && !isOf(at.repo.RepositoryStr(), p.Name):
		return nil, bad(at.host(), "the tag list is of another repository")
	}
	return p, nil
}

// isOf reports whether a list with this name is that of the repository. A registry behind a path may not know the first
// parts of the name by which it is reached, and some give no name. The other way round, a proxy may leave out the first parts
// of its registry's names: that is enough for tags, but not for the word that there are none.
func isOf(name, repository string) bool {
	return name == "" || name == repository || strings.HasSuffix(repository, "/"+name)
}

// link matches one link of a Link header with its parameters, and linkRel its relation.
var (
	link    = lazy.Regexp(`<([^<>]*)>([^<]*)`)
	linkRel = lazy.Regexp(`(?i);\s*rel\s*=\s*(?:"([^"]*)"|'?([^\s;,"']+))`)
)

// nextLink returns the link to the next page in Link headers. A link without a relation counts as one. ok is false if the
// headers contain no link at all.
func nextLink(headers []string) (target string, ok bool) {
	if len(headers) == 0 {
		return "", true
	}
	links := link().FindAllStringSubmatch(strings.Join(headers, ", "), -1)
	for _, l := range links {
		rel := linkRel().FindStringSubmatch(l[2])
		if rel == nil || slices.ContainsFunc(strings.Fields(rel[1]+" "+rel[2]), func(r string) bool { return strings.EqualFold(r, "next") }) {
			return l[1], true
		}
	}
	return "", len(links) > 0
}

// nextPage reads the Link header. It must lead to the same host: credentials go with it. Registries behind a proxy often
// do not know that clients reach them by TLS, so the scheme stays.
func nextPage(at place, a *response) (string, error) {
	target, ok := nextLink(a.header.Values("Link"))
	if !ok {
		return "", bad(at.host(), "invalid link to the next page of tags")
	}
	if target == "" {
		return "", nil
	}
	base, err := url.Parse(a.url)
	if err != nil {
		return "", bad(at.host(), "invalid URL of the tag list")
	}
	next, err := base.Parse(target)
	if err != nil || !strings.EqualFold(withoutPort(next.Host), withoutPort(base.Host)) {
		return "", bad(at.host(), "the link to the next page of tags leads to another host")
	}
	next.Scheme, next.Host, next.User, next.Fragment = base.Scheme, base.Host, nil, ""
	return next.String(), nil
}

// withoutPort drops the default ports.
func withoutPort(host string) string {
	return strings.TrimSuffix(strings.TrimSuffix(host, ":443"), ":80")
}
