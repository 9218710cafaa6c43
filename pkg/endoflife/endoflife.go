// Package endoflife asks the API of endoflife.date when the release lines of images end: https://endoflife.date/docs/api/v1/. What
// follows from that is decided by package fleet.
package endoflife

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/state"
)

const (
	timeout     = time.Minute // of all requests
	maxProducts = 200
)

// Cycle is a release line.
type Cycle struct {
	Name     string // the beginning of the release in a tag: 3.13
	Codename string // a word of the tag
	EOL      string // the date on which it ends, "true" if it has ended, else empty or "false"
}

// Client asks one API.
type Client struct {
	HTTP http.RoundTripper
	URL  string // https://endoflife.date/api/v1
}

// Cycles returns the release lines of those repositories that the API knows: it names the images of a product by package URLs. Each
// product is asked for once. With an error, the result holds what could be had.
func (c *Client) Cycles(ctx context.Context, repositories []string) (map[string][]Cycle, error) {
	out := map[string][]Cycle{}
	if len(repositories) == 0 {
		return out, nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	products, err := c.products(ctx)
	if err != nil {
		return out, err
	}
	known := map[string][]Cycle{}
	var failed error
	for _, repository := range slices.Sorted(slices.Values(repositories)) {
		product := products[repository]
		if product == "" {
			continue
		}
		if _, ok := known[product]; !ok {
			if len(known) == maxProducts {
				return out, errors.Join(failed, fmt.Errorf("more than %d products; the others are not asked for", maxProducts))
			}
			cycles, err := c.product(ctx, product)
			if err != nil && failed == nil {
				failed = err
			}
			known[product] = cycles
		}
		out[repository] = known[product]
	}
	return out, failed
}

// products returns the products of repositories.
func (c *Client) products(ctx context.Context) (map[string]string, error) {
	var list struct {
		Result []struct {
			Identifier string `json:"identifier"`
			Product    struct {
				Name string `json:"name"`
			} `json:"product"`
		} `json:"result"`
	}
	if err := c.get(ctx, "identifiers/purl/", &list); err != nil {
		return nil, err
	}
	if len(list.Result) == 0 {
		return nil, fmt.Errorf("%s has no list of package URLs (is this the URL of an API, such as https://endoflife.date/api/v1?)", c.URL)
	}
	out := map[string]string{}
	for _, r := range list.Result {
		if repository := repositoryOf(r.Identifier); repository != "" && out[repository] == "" {
			out[repository] = r.Product.Name
		}
	}
	return out, nil
}

// repositoryOf returns the repository that a package URL of the type docker or oci names: docker.io/library/node for
// pkg:docker/library/node; or "".
func repositoryOf(purl string) string {
	rest, ok := strings.CutPrefix(purl, "pkg:docker/")
	oci := false
	if !ok {
		if rest, oci = strings.CutPrefix(purl, "pkg:oci/"); !oci {
			return ""
		}
	}
	path, query, _ := strings.Cut(rest, "?")
	path, _, _ = strings.Cut(path, "@")
	qualifiers, err := url.ParseQuery(query)
	if err != nil {
		return ""
	}
	from := qualifiers.Get("repository_url")
	switch {
	case oci: // the URL holds the whole name
		path = from
	case from != "":
		path = strings.TrimSuffix(from, "/") + "/" + path
	}
	ref, err := state.ParseRef(path)
	if err != nil {
		return ""
	}
	return ref.Registry + "/" + ref.Repository
}

// product returns the release lines of a product.
func (c *Client) product(ctx context.Context, name string) ([]Cycle, error) {
	var details struct {
		Result struct {
			Releases []struct {
				Name     string `json:"name"`
				Codename string `json:"codename"`
				IsEOL    bool   `json:"isEol"`
				From     string `json:"eolFrom"`
			} `json:"releases"`
		} `json:"result"`
	}
	if err := c.get(ctx, "products/"+url.PathEscape(name)+"/", &details); err != nil {
		return nil, err
	}
	var out []Cycle
	for _, r := range details.Result.Releases {
		cycle := Cycle{Name: r.Name, EOL: r.From}
		cycle.Codename, _, _ = strings.Cut(r.Codename, " ") // the tag of Jammy Jellyfish is jammy
		if r.IsEOL && r.From == "" {
			cycle.EOL = "true"
		}
		out = append(out, cycle)
	}
	return out, nil
}

// get reads a path of the API.
func (c *Client) get(ctx context.Context, path string, into any) error {
	at := strings.TrimRight(c.URL, "/") + "/" + path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, http.NoBody)
	if err != nil {
		return fmt.Errorf("invalid URL %q", at)
	}
	req.Header.Set("Accept", "application/json")
	resp, err := (&http.Client{Transport: c.HTTP}).Do(req)
	if failed := (*url.Error)(nil); errors.As(err, &failed) {
		err = failed.Err // which does not repeat the URL
	}
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %d %s", at, resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("%s: the response broke off", at)
	}
	if json.Unmarshal(data, into) != nil {
		return fmt.Errorf("%s did not answer in the form of the API", at)
	}
	return nil
}
