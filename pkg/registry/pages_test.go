package registry

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNextLink(t *testing.T) {
	for name, c := range map[string]struct {
		headers []string
		want    string
		bad     bool
	}{
		"none":               {nil, "", false},
		"relative":           {[]string{`</v2/app/tags/list?last=b&n=2>; rel="next"`}, "/v2/app/tags/list?last=b&n=2", false},
		"absolute":           {[]string{`<https://example.com/v2/app/tags/list?last=b>; rel="next"`}, "https://example.com/v2/app/tags/list?last=b", false},
		"without quotes":     {[]string{`</a>;rel=next`}, "/a", false},
		"upper case":         {[]string{`</a>; REL="NEXT"`}, "/a", false},
		"single quotes":      {[]string{`</a>; rel='next'`}, "/a", false},
		"two relations":      {[]string{`</a>; rel="last next"`}, "/a", false},
		"other parameters":   {[]string{`</a>; title="x, y"; rel="next"; type=x`}, "/a", false},
		"among others":       {[]string{`</p>; rel="prev", </a>; rel="next", </l>; rel="last"`}, "/a", false},
		"in another header":  {[]string{`</p>; rel="prev"`, `</a>; rel="next"`}, "/a", false},
		"a comma in it":      {[]string{`</a?last=b,c>; rel="next"`}, "/a?last=b,c", false},
		"says not what":      {[]string{`</a>`}, "/a", false},
		"only back":          {[]string{`</p>; rel="prev"`}, "", false},
		"nextbutone":         {[]string{`</p>; rel="nextbutone"`}, "", false},
		"without brackets":   {[]string{`/a; rel="next"`}, "", true},
		"empty":              {[]string{``}, "", true},
		"an open bracket":    {[]string{`</a; rel="next"`}, "", true},
		"not the parameter":  {[]string{`</a>; xrel="prev"`}, "/a", false},
		"a target like that": {[]string{`</a;rel=prev>; rel="next"`}, "/a;rel=prev", false},
	} {
		got, ok := nextLink(c.headers)
		assert.Equal(t, c.want, got, name)
		assert.Equal(t, c.bad, !ok, name)
	}
}

func samplePlace(t testing.TB, host string) place {
	reg, err := name.NewRegistry(host)
	require.NoError(t, err)
	return place{repo: reg.Repo("team/app")}
}

func TestNextPage(t *testing.T) {
	at := samplePlace(t, "registry.example:5000")
	for target, want := range map[string]string{
		"/v2/team/app/tags/list?last=b": "https://registry.example:5000/v2/team/app/tags/list?last=b",
		"list?last=b":                   "https://registry.example:5000/v2/team/app/tags/list?last=b",
		"?last=b":                       "https://registry.example:5000/v2/team/app/tags/list?last=b",
		"http://registry.example:5000/v2/team/app/tags/list?last=b":  "https://registry.example:5000/v2/team/app/tags/list?last=b",
		"//REGISTRY.example:5000/x":                                  "https://registry.example:5000/x",
		"https://user:secret@registry.example:5000/x?token=secret#y": "https://registry.example:5000/x?token=secret",
		"https://other.example/v2/team/app/tags/list?token=secret":   "",
		"https://registry.example/x":                                 "",
		"https://registry.example:5001/x":                            "",
		"://?token=secret":                                           "",
	} {
		a := &response{header: http.Header{"Link": {"<" + target + `>; rel="next"`}}, url: "https://registry.example:5000/v2/team/app/tags/list?n=2"}
		got, err := nextPage(at, a)
		assert.Equal(t, want, got, target)
		if want == "" {
			require.Error(t, err, target)
			assert.NotContains(t, err.Error(), "secret")
		}
	}
	got, err := nextPage(samplePlace(t, "registry.example"), &response{header: http.Header{"Link": {`<http://registry.example:80/x>`}}, url: "https://registry.example/y"})
	require.NoError(t, err)
	assert.Equal(t, "https://registry.example/x", got, "the scheme that it thinks it has has a port of its own")
}

func FuzzNextPage(f *testing.F) {
	for _, link := range []string{`</v2/team/app/tags/list?last=b>; rel="next"`, `<a>;rel=prev, <b>;rel=next`, `<//x>`, `<http://u:p@registry.example/a#b>`, `x`, `<%zz>`, `<>`} {
		f.Add(link)
	}
	f.Fuzz(func(t *testing.T, link string) {
		next, err := nextPage(samplePlace(t, "registry.example"), &response{header: http.Header{"Link": {link}}, url: "https://registry.example/v2/team/app/tags/list?n=1000"})
		if err != nil {
			assert.Empty(t, next)
			return
		}
		if next != "" {
			u, err := url.Parse(next)
			require.NoError(t, err)
			assert.Equal(t, "https", u.Scheme)
			assert.Equal(t, "registry.example", u.Host)
			assert.Nil(t, u.User)
		}
	})
}

func FuzzParsePage(f *testing.F) {
	for _, body := range []string{`{"name":"team/app","tags":["a","b"]}`, `{"name":"team/app","tags":null}`, `{"tags":[]}`, `{"name":"x/app","tags":[]}`, `{"name":"proxy/team/app","tags":["a"]}`, `{}`, `[]`, `null`, `{"tags":{}}`, `<html>`} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		at := samplePlace(t, "registry.example")
		p, err := parsePage(at, body)
		if err != nil {
			assert.Nil(t, p)
			return
		}
		assert.True(t, isOf(p.Name, "team/app") || isOf("team/app", p.Name))
		list := tagList{at: at, seen: map[string]bool{}, visited: map[string]bool{}}
		_, err = list.add(&response{body: body, header: http.Header{}, url: "https://registry.example/"})
		require.NoError(t, err)
		for _, tag := range list.tags {
			assert.Regexp(t, tagForm(), tag)
		}
		if e := errorOf(list.empty()); len(list.seen) == 0 && e.unknown {
			assert.Contains(t, []string{"team/app", "app"}, p.Name)
		}
	})
}

func FuzzSaysUnknown(f *testing.F) {
	for _, body := range []string{`{"errors":[{"code":"NAME_UNKNOWN","message":"x"}]}`, `{"errors":[{"code":"NAME_UNKNOWN"},{"code":"DENIED"}]}`, `{"errors":[]}`, `{"errors":null}`, `[]`, `x`} {
		f.Add(404, []byte(body))
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		codes := codesOf(body)
		if saysUnknown(status, codes, unknownManifest) {
			assert.Equal(t, http.StatusNotFound, status)
			assert.NotEmpty(t, codes)
			for _, code := range codes {
				assert.Contains(t, unknownManifest, code)
			}
		}
	})
}
