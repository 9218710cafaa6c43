package endoflife_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/endoflife"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
)

const purls = `{"schema_version": "1.2.0", "total": 6, "result": [
	{"identifier": "pkg:npm/node", "product": {"name": "nodejs", "uri": "https://endoflife.example/nodejs"}},
	{"identifier": "pkg:docker/library/node", "product": {"name": "nodejs"}},
	{"identifier": "pkg:docker/circleci/node?repository_url=quay.io", "product": {"name": "nodejs"}},
	{"identifier": "pkg:oci/node?repository_url=registry.example.com/base/node", "product": {"name": "nodejs"}},
	{"identifier": "pkg:docker/library/ubuntu@22.04", "product": {"name": "ubuntu"}},
	{"identifier": "pkg:docker/A B", "product": {"name": "odd"}}
]}`

const nodejs = `{"result": {"name": "nodejs", "releases": [
	{"name": "24", "codename": null, "isEol": false, "eolFrom": "2028-04-30"},
	{"name": "22", "codename": "Jod", "isEol": false, "eolFrom": null},
	{"name": "18", "isEol": true, "eolFrom": "2025-04-30"},
	{"name": "0.10", "isEol": true, "eolFrom": null}
]}}`

// api is a server in the place of the API, and the paths that it was asked for.
type api struct {
	*endoflife.Client
	files map[string]string
	asked []string
}

func newAPI(t *testing.T) *api {
	a := &api{files: map[string]string{
		"/api/v1/identifiers/purl/": purls, "/api/v1/products/nodejs/": nodejs,
		"/api/v1/products/ubuntu/": `{"result": {"releases": [{"name": "22.04", "codename": "Jammy Jellyfish", "eolFrom": "2027-04-01"}]}}`,
	}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.asked = append(a.asked, strings.TrimPrefix(r.URL.Path, "/api/v1/"))
		text, ok := a.files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(text))
	}))
	t.Cleanup(server.Close)
	a.Client = &endoflife.Client{URL: server.URL + "/api/v1", HTTP: httpx.New(httpx.Options{
		Backoff: func() backoff.BackOff { return &backoff.ZeroBackOff{} }, Sleep: func(context.Context, time.Duration) error { return nil },
	})}
	return a
}

func TestCycles(t *testing.T) {
	a := newAPI(t)
	got, err := a.Cycles(t.Context(), []string{"quay.io/circleci/node", "registry.example.com/base/node", "docker.io/library/ubuntu", "docker.io/library/node", "ghcr.io/acme/base"})
	require.NoError(t, err)
	node := []endoflife.Cycle{{Name: "24", EOL: "2028-04-30"}, {Name: "22", Codename: "Jod"}, {Name: "18", EOL: "2025-04-30"}, {Name: "0.10", EOL: "true"}}
	assert.Equal(t, map[string][]endoflife.Cycle{
		"docker.io/library/node": node, "quay.io/circleci/node": node, "registry.example.com/base/node": node,
		"docker.io/library/ubuntu": {{Name: "22.04", Codename: "Jammy", EOL: "2027-04-01"}},
	}, got)
	assert.Equal(t, []string{"identifiers/purl/", "products/nodejs/", "products/ubuntu/"}, a.asked, "each once")

	none := newAPI(t)
	got, err = none.Cycles(t.Context(), nil)
	require.NoError(t, err)
	assert.Empty(t, got)
	assert.Empty(t, none.asked)
}

func TestCyclesOutage(t *testing.T) {
	for text, want := range map[string]string{
		"": "identifiers/purl/ answered 404 Not Found", "<html>": "did not answer in the form of the API",
		`{"result": "x"}`: "did not answer in the form of the API", "{}": "has no list of package URLs",
		strings.Repeat("x", 5<<20): "larger than 4096 KiB",
	} {
		a := newAPI(t)
		if a.files["/api/v1/identifiers/purl/"] = text; text == "" {
			delete(a.files, "/api/v1/identifiers/purl/")
		}
		got, err := a.Cycles(t.Context(), []string{"docker.io/library/node"})
		require.ErrorContains(t, err, want)
		assert.Empty(t, got)
	}
	a := newAPI(t)
	delete(a.files, "/api/v1/products/nodejs/")
	got, err := a.Cycles(t.Context(), []string{"docker.io/library/node", "docker.io/library/ubuntu"})
	require.ErrorContains(t, err, "products/nodejs/ answered 404 Not Found")
	assert.NotEmpty(t, got["docker.io/library/ubuntu"], "one product does not hide the others")
	assert.Empty(t, got["docker.io/library/node"])
}

// FuzzCycles: whatever the API answers is read or refused.
func FuzzCycles(f *testing.F) {
	f.Add([]byte(`{"result":[{"identifier":"pkg:docker/library/node","product":{"name":"nodejs"}},{"identifier":"pkg:oci/node?repository_url=a.example/node"}]}`),
		[]byte(`{"result":{"releases":[{"name":"22","codename":"Jod A","isEol":false,"eolFrom":null},{"name":"18","isEol":true,"eolFrom":"2025-04-30"}]}}`))
	f.Add([]byte(`{"result":[{"identifier":"pkg:docker/library/node?repository_url=%zz"}]}`), []byte(`{"result":{"releases":[{}]}}`))
	f.Fuzz(func(t *testing.T, list, product []byte) {
		c := endoflife.Client{URL: "https://api.example", HTTP: answers{list, product}}
		got, err := c.Cycles(t.Context(), []string{"docker.io/library/node"})
		if err == nil {
			require.LessOrEqual(t, len(got), 1)
		}
	})
}

type answers struct{ list, product []byte }

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	data := a.product
	if strings.Contains(r.URL.Path, "purl") {
		data = a.list
	}
	_, _ = w.Write(data)
	return w.Result(), nil
}
