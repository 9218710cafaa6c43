package registry_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/registry"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// inPages makes the registry give n tags at a time, with a link to the next page.
func inPages(all []string, n int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v2/app/tags/list" {
			return false
		}
		from, _ := strconv.Atoi(r.URL.Query().Get("from"))
		page := all[from:min(from+n, len(all))]
		if from+n < len(all) {
			at := r.URL.Path
			if from > 0 { // some write the whole URL, with the scheme that they think they have
				at = "https://" + r.Host + at
			}
			w.Header().Set("Link", fmt.Sprintf(`<%s?from=%d>; rel="next"`, at, from+n))
		}
		quoted := make([]string, len(page))
		for i, tag := range page {
			quoted[i] = strconv.Quote(tag)
		}
		_, _ = w.Write([]byte(`{"name":"app","tags":[` + strings.Join(quoted, ",") + `]}`))
		return true
	}
}

func TestTags(t *testing.T) {
	s := serve(t)
	_, err := client(registry.Options{}).Tags(t.Context(), s.host+"/app")
	require.ErrorContains(t, err, "not found (404)")

	all := []string{"b", "a", "not/a tag", "c", "1.2", "x"}
	s.breaks(inPages(all, 2))
	got, err := client(registry.Options{}).Tags(t.Context(), s.host+"/app")
	require.NoError(t, err)
	assert.Equal(t, []string{"b", "a", "c", "1.2", "x"}, got)
	s.asked()

	for name, c := range map[string]struct{ link, body, want string }{
		"elsewhere":    {`<http://127.0.0.1:1/v2/app/tags/list>; rel="next"`, `{"tags":["a"]}`, "leads to another host"},
		"another form": {`http://x`, `{"tags":["a"]}`, "invalid link to the next page"},
		"in a circle":  {`</v2/app/tags/list?n=1>; rel="next"`, `{"tags":["a"]}`, "pages repeat after"},
		"truncated":    {"", `{"tags":["a"`, "not valid JSON"},
		"web page":     {"", `<html>`, "not valid JSON"},
		"other values": {"", `{"tags":[1]}`, "not valid JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/v2/" {
					return false
				}
				w.Header().Set("Link", c.link)
				_, _ = w.Write([]byte(c.body))
				return true
			})
			_, err := client(registry.Options{}).Tags(t.Context(), s.host+"/app")
			require.ErrorContains(t, err, c.want)
			assert.LessOrEqual(t, len(s.asked()), 200)
		})
	}

	many := make([]string, 50_001)
	for i := range many {
		many[i] = fmt.Sprintf("t%d", i)
	}
	s.breaks(inPages(many, 1000))
	_, err = client(registry.Options{}).Tags(t.Context(), s.host+"/app")
	require.ErrorContains(t, err, "more than 50000 tags")
	s.breaks(inPages(many[:50_000], 1000))
	got, err = client(registry.Options{}).Tags(t.Context(), s.host+"/app")
	require.NoError(t, err)
	assert.Len(t, got, 50_000)
}

func unknown(string) *state.Snapshot { return nil }

func TestNewestOfList(t *testing.T) {
	sig := "sha256-" + fakeDigest("x")[7:] + ".sig"
	for name, c := range map[string]struct {
		have []string
		tags *config.Tags // nil: not decided
		want string
		used config.Tags
		err  string
	}{
		"versions":             {have: []string{"1.9.0", "v1.10.0", "latest", "1.10", "zzz"}, want: "v1.10.0", used: config.Tags{Strategy: config.SemVer}},
		"two spellings":        {have: []string{"v1.0.0", "1.0.0"}, want: "v1.0.0", used: config.Tags{Strategy: config.SemVer}},
		"spelt the other way":  {have: []string{"1.0.0", "v1.0.0"}, want: "v1.0.0", used: config.Tags{Strategy: config.SemVer}},
		"a date is no version": {have: []string{"20260101", "16", "16.2", "latest"}, want: "latest", used: config.Tags{Strategy: config.Digest, Constraint: "latest"}},
		"only signatures":      {have: []string{sig}, err: "only signatures and attestations have tags; published: sha256-"},
		"no tags":              {have: []string{}, err: "nothing is published: 127.0.0.1:"},
		"constraint":           {have: []string{"1.0.0", "1.5.0", "2.0.0"}, tags: &config.Tags{Strategy: config.SemVer, Constraint: "^1"}, want: "1.5.0"},
		"constraint, none":     {have: []string{"1.0.0"}, tags: &config.Tags{Strategy: config.SemVer, Constraint: "^2"}, err: `no tag is a semantic version within the constraint "^2"`},
		"constraint, releases": {have: []string{"1.0.0", "1.1.0-rc.1"}, tags: &config.Tags{Strategy: config.SemVer, Constraint: "^1"}, want: "1.0.0"},
		"pre-release":          {have: []string{"1.0.0", "1.1.0-rc.1"}, tags: &config.Tags{Strategy: config.SemVer}, want: "1.1.0-rc.1"},
		"ignore":               {have: []string{"1.0.0", "1.1.0-rc.1"}, tags: &config.Tags{Strategy: config.SemVer, Ignore: []string{"-rc"}}, want: "1.0.0"},
		"allow":                {have: []string{"1.0.0", "v2.0.0"}, tags: &config.Tags{Strategy: config.SemVer, Allow: []string{`^\d`}}, want: "1.0.0"},
		"lexical":              {have: []string{"2026-01-02", "2026-01-10", "2025-12-31", sig}, tags: &config.Tags{Strategy: config.Lexical}, want: "2026-01-10"},
		"lexical, ignore":      {have: []string{"b", "z"}, tags: &config.Tags{Strategy: config.Lexical, Ignore: []string{"z"}}, want: "b"},
		"bad constraint":       {have: []string{"1.0.0"}, tags: &config.Tags{Strategy: config.SemVer, Constraint: "?"}, err: `invalid constraint "?"`},
		"bad expression":       {have: []string{"1.0.0"}, tags: &config.Tags{Strategy: config.SemVer, Allow: []string{"("}}, err: `invalid expression "("`},
		"unknown strategy":     {have: []string{"1.0.0"}, tags: &config.Tags{Strategy: "Best"}, err: `unknown strategy "Best"`},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			for _, tag := range c.have {
				s.push("app:"+tag, newImage(t, "linux/amd64", day, nil))
			}
			s.breaks(inPages(c.have, 2))
			tags, decided := config.Tags{Strategy: config.SemVer}, c.tags != nil
			if decided {
				tags, c.used = *c.tags, *c.tags
			}
			choice, err := client(registry.Options{}).Newest(t.Context(), s.host+"/app", tags, decided, unknown)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, choice.Tag)
			assert.Equal(t, c.used, choice.Used)
		})
	}
}

func TestNewestOfNothing(t *testing.T) {
	s := serve(t)
	for _, tags := range []config.Tags{{Strategy: config.SemVer}, {Strategy: config.Digest, Constraint: "latest"}, {Strategy: config.NewestBuild}} {
		_, err := client(registry.Options{}).Newest(t.Context(), s.host+"/absent", tags, true, unknown)
		require.ErrorIs(t, err, registry.ErrUnpublished)
	}
	_, err := client(registry.Options{}).Newest(t.Context(), s.host+"/absent", config.Tags{}, false, unknown)
	require.ErrorIs(t, err, registry.ErrUnpublished)
	s.breaks(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusForbidden); return true })
	_, err = client(registry.Options{}).Newest(t.Context(), s.host+"/absent", config.Tags{}, false, unknown)
	require.Error(t, err)
	require.NotErrorIs(t, err, registry.ErrUnpublished, "whoever may not look does not know that there is nothing")
}

func TestNewestDigest(t *testing.T) {
	s := serve(t)
	s.push("app:edge", newImage(t, "linux/amd64", day, nil))
	tags := config.Tags{Strategy: config.Digest, Constraint: "edge"}
	choice, err := client(registry.Options{}).Newest(t.Context(), s.host+"/app", tags, true, unknown)
	require.NoError(t, err)
	assert.Equal(t, "edge", choice.Tag)
	assert.Equal(t, tags, choice.Used)
	assert.Len(t, s.asked(), 3, "the digest, the manifest and its config: no list is needed")
	_, err = client(registry.Options{}).Newest(t.Context(), s.host+"/app", tags, true, func(string) *state.Snapshot { return &choice.Snapshot })
	require.NoError(t, err)
	assert.Equal(t, []string{"HEAD app/manifests/edge"}, s.asked(), "what is known is known to be an image")
}

func TestNewestBuild(t *testing.T) {
	s := serve(t)
	s.push("app:bbb", newImage(t, "linux/amd64", day, nil))
	s.push("app:aaa", newIndex(entry{platform: "linux/amd64", what: newImage(t, "linux/amd64", day.Add(time.Hour), nil)}))
	s.push("app:ccc", newImage(t, "linux/amd64", time.Time{}, nil))
	old := raw{[]byte(`{"schemaVersion":1}`), "application/vnd.docker.distribution.manifest.v1+prettyjws"}
	s.push("app:ancient", old)
	choice, err := client(registry.Options{}).Newest(t.Context(), s.host+"/app", config.Tags{}, false, unknown)
	require.NoError(t, err)
	assert.Equal(t, "aaa", choice.Tag)
	assert.Equal(t, config.Tags{Strategy: config.NewestBuild}, choice.Used)

	choice, err = client(registry.Options{}).Newest(t.Context(), s.host+"/app", config.Tags{Strategy: config.NewestBuild, Ignore: []string{"^aaa$"}}, true, unknown)
	require.NoError(t, err)
	assert.Equal(t, "bbb", choice.Tag)
	_, err = client(registry.Options{}).Newest(t.Context(), s.host+"/app", config.Tags{Strategy: config.NewestBuild, Allow: []string{"^ccc$"}}, true, unknown)
	require.ErrorContains(t, err, "no image has a build time")

	s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/v2/app/manifests/bbb" {
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	})
	_, err = client(registry.Options{}).Newest(t.Context(), s.host+"/app", config.Tags{}, false, unknown)
	require.ErrorContains(t, err, "access denied", "half an answer is none")
}

func TestNewestBuildIsBounded(t *testing.T) {
	s := serve(t)
	img := newImage(t, "linux/amd64", day, nil)
	s.push("app:build-1", img)
	manifest, err := img.RawManifest()
	require.NoError(t, err)
	tags := make([]string, 0, 500)
	for i := range 500 {
		tags = append(tags, fmt.Sprintf("build-%d", i))
	}
	slices.Sort(tags) // as many registries do: build-499 is not the last
	s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		if inPages(tags, 1000)(w, r) {
			return true
		}
		if !isManifestGet(r) {
			return false
		}
		body("application/vnd.oci.image.manifest.v1+json", string(manifest))(w, r)
		return true
	})
	s.asked()
	_, err = client(registry.Options{}).Newest(t.Context(), s.host+"/app", config.Tags{}, false, unknown)
	require.NoError(t, err)
	asked := s.asked()
	gets := 0
	for _, r := range asked {
		if path, _ := url.PathUnescape(r); len(path) > 18 && path[:18] == "GET app/manifests/" {
			gets++
		}
	}
	assert.Equal(t, 50+2, gets, "the chosen one is looked at again, by its digest")
	assert.Contains(t, asked, "GET app/manifests/build-499", "the highest number")
	assert.Contains(t, asked, "GET app/manifests/"+tags[499], "the last in the list")
}

// TestPageSizes: what a registry refuses is asked for again in smaller pages.
func TestPageSizes(t *testing.T) {
	for name, c := range map[string]struct {
		most   int // that is given
		refuse http.HandlerFunc
		want   []string
	}{
		"all":               {1000, nil, []string{"1000"}},
		"a hundred":         {100, answer(400, `{"errors":[{"code":"PAGINATION_NUMBER_INVALID"}]}`), []string{"1000", "100"}},
		"no number at all":  {0, answer(422, "invalid n"), []string{"1000", "100", ""}},
		"not allowed":       {100, answer(405, `{"errors":[{"code":"UNSUPPORTED"}]}`), []string{"1000", "100"}},
		"too large":         {100, status(413), []string{"1000", "100"}},
		"range":             {100, status(416), []string{"1000", "100"}},
		"denied":            {100, status(403), []string{"1000"}},
		"not found":         {100, status(404), []string{"1000"}},
		"nothing is good":   {-1, status(400), []string{"1000", "100", ""}},
		"not a bad request": {100, status(501), []string{"1000", "100"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			var sizes []string
			s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != "/v2/app/tags/list" {
					return false
				}
				size := r.URL.Query().Get("n")
				sizes = append(sizes, size)
				if n, _ := strconv.Atoi(size); n > c.most {
					c.refuse(w, r)
					return true
				}
				_, _ = w.Write([]byte(`{"name":"app","tags":["1"]}`))
				return true
			})
			got, err := client(registry.Options{}).Tags(t.Context(), s.host+"/app")
			assert.Equal(t, c.want, sizes)
			if last, _ := strconv.Atoi(c.want[len(c.want)-1]); last > c.most {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, []string{"1"}, got)
		})
	}
}

// TestCyclicPages end at the second visit, and pages without tags do not end the list.
func TestCyclicPages(t *testing.T) {
	for name, c := range map[string]struct {
		pages [][2]string // the tags and the number of the next page, which may be beyond the last
		asked int
		want  string
	}{
		"itself":                {[][2]string{{`"a"`, "0"}}, 2, "pages repeat after"},
		"two":                   {[][2]string{{`"a"`, "1"}, {`"b"`, "0"}}, 3, "pages repeat after"},
		"the same, again":       {[][2]string{{`"a"`, "1"}, {`"a"`, "2"}, {`"a"`, "3"}}, 2, "pages repeat after"},
		"one without tags":      {[][2]string{{`"a"`, "1"}, {``, "2"}, {`"b"`, ""}}, 3, ""},
		"some that overlap":     {[][2]string{{`"a","b"`, "1"}, {`"b","c"`, ""}}, 2, ""},
		"the last is the first": {[][2]string{{`"a"`, "1"}, {`"a"`, ""}}, 2, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != "/v2/app/tags/list" {
					return false
				}
				n, _ := strconv.Atoi(r.URL.Query().Get("page"))
				page := c.pages[n]
				if page[1] != "" {
					w.Header().Set("Link", `</v2/app/tags/list?page=`+page[1]+`>; rel="next"`)
				}
				_, _ = w.Write([]byte(`{"name":"app","tags":[` + page[0] + `]}`))
				return true
			})
			got, err := client(registry.Options{}).Tags(t.Context(), s.host+"/app")
			assert.LessOrEqual(t, len(s.asked()), c.asked)
			if c.want != "" {
				require.ErrorContains(t, err, c.want)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, slices.Compact(slices.Sorted(slices.Values(got))), got, "each once")
		})
	}
}
