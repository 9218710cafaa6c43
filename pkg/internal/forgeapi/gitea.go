package forgeapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
)

// Gitea is a client of the API of one Gitea or Forgejo host. The requests are our own: code.gitea.io/sdk/gitea knows neither
// Forgejo's runs nor a context for each request, and brings three libraries for signing requests with SSH keys.
type Gitea struct {
	*Endpoint
	client *http.Client
}

// Gitea returns the client for the host of a source. needs describes the permissions that the token must have, for messages.
func (c *Clients) Gitea(ctx context.Context, s *config.Source, needs string) (*Gitea, error) {
	e, err := c.Endpoint(ctx, s, needs)
	if err != nil {
		return nil, err
	}
	return &Gitea{e, &http.Client{Transport: e}}, nil
}

// GiteaStarts is what a token needs to start workflows.
const GiteaStarts = "the scope write:repository and write access to the repository, where Actions must be enabled"

// Get reads a path of the API into a value.
func (g *Gitea) Get(ctx context.Context, path string, query url.Values, into any) error {
	_, err := g.Send(ctx, http.MethodGet, path, query, nil, into)
	return err
}

// Send sends a request with a JSON body, if body is not nil, and reads the response into a value, if into is not nil and there is a
// body. It returns the status. path is below the URL of the API, and escaped.
func (g *Gitea) Send(ctx context.Context, method, path string, query url.Values, body, into any) (status int, err error) {
	var data []byte
	if body != nil {
		if data, err = json.Marshal(body); err != nil {
			return 0, fmt.Errorf("building a request to %s: %w", g.Host, err)
		}
	}
	target := g.api.String() + "/" + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(data))
	if err != nil {
		return 0, fmt.Errorf("building a request to %s: %w", g.Host, err)
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := g.client.Do(req)
	if err != nil {
		return 0, g.Error(err)
	}
	defer resp.Body.Close()
	if into == nil || resp.StatusCode == http.StatusNoContent {
		return resp.StatusCode, nil
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return 0, g.Unexpected("")
	}
	return resp.StatusCode, nil
}

// Repo returns the path of a repository in the API, given as owner/name, and of elements below it, which it escapes.
func (g *Gitea) Repo(repo string, below ...string) string {
	var out strings.Builder
	out.WriteString("repos")
	for _, element := range append(strings.Split(repo, "/"), below...) {
		out.WriteString("/" + url.PathEscape(element))
	}
	return out.String()
}

// explainsItself reports whether an error response links to the description of Gitea's API, as all errors of Gitea and Forgejo do.
func explainsItself(body []byte) bool {
	var fields struct {
		URL string `json:"url"`
	}
	return json.Unmarshal(body, &fields) == nil && strings.HasSuffix(fields.URL, "/api/swagger")
}
