package trust

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/klauspost/compress/snappy"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/registry"
)

const (
	maxAttestations = 32      // of one image
	maxBundleBytes  = 4 << 20 // of one bundle
)

// attestationLists are the lists of GitHub's attestations API that may hold the attestations of an image.
type attestationLists struct {
	owners []string // paths of the repository, or of its owner as an organisation and as a user; the first that answers counts
	exists string   // path that GitHub answers if there is such a repository or owner
}

// listsFor returns where GitHub stores the attestations that may satisfy a rule; nil if the rule names no repository on github.com or
// requires a signature. A repository is asked itself. The identity of a workflow is that of the reusable one, whose callers hold the
// attestations: then all repositories of its owner are asked.
func listsFor(rule *config.Trust) *attestationLists {
	switch {
	case rule.Requires() == config.RequireSignature:
		return nil
	case rule.GitHub != "":
		at := "repos/" + rule.GitHub
		return &attestationLists{owners: []string{at}, exists: at}
	case rule.Keyless != nil && rule.Keyless.Issuer == config.GitHubIssuer:
		owner, _, ok := strings.Cut(strings.TrimPrefix(rule.Keyless.Identity, "https://github.com/"), "/")
		if !ok || !strings.HasPrefix(rule.Keyless.Identity, "https://github.com/") || owner == "" {
			return nil
		}
		owner = url.PathEscape(owner)
		return &attestationLists{owners: []string{"orgs/" + owner, "users/" + owner}, exists: "users/" + owner}
	}
	return nil
}

// attestation is an entry of a list: https://docs.github.com/rest/repos/attestations#list-attestations.
type attestation struct {
	Bundle json.RawMessage `json:"bundle"`     // absent from newer versions of the API
	URL    string          `json:"bundle_url"` // signed, on another host
}

// attested reads the provenance of an image from GitHub, and calls visit for one after the other until visit returns true. leftOut
// reports that there is more. After an error, some were not visited.
func (c *Checker) attested(ctx context.Context, lists *attestationLists, digest string, visit func(*registry.Attachment) (done bool)) (leftOut bool, err error) {
	github, err := c.clients.API.GitHub(ctx, &config.Source{Provider: config.GitHub, Host: config.HomeHost(config.GitHub)}, "read access to attestations")
	if err != nil {
		return false, err
	}
	list, leftOut, err := listAttestations(ctx, github, lists, digest)
	if err != nil {
		return false, err
	}
	for _, a := range list {
		data, err := c.bundle(ctx, a)
		if err != nil {
			return leftOut, err
		}
		if visit(&registry.Attachment{Kind: registry.SigstoreBundle, Data: data}) {
			return leftOut, nil
		}
	}
	return leftOut, nil
}

// listAttestations returns the attestations that GitHub lists. It answers 404 for a list that is empty, and for a repository that does
// not exist or that the token may not read: only the former is an answer.
func listAttestations(ctx context.Context, github *forgeapi.GitHub, lists *attestationLists, digest string) (list []attestation, leftOut bool, err error) {
	for _, owner := range lists.owners {
		var page struct {
			Attestations []attestation `json:"attestations"`
		}
		path := fmt.Sprintf("%s/attestations/%s?per_page=%d&predicate_type=provenance", owner, digest, maxAttestations)
		resp, err := github.Get(ctx, path, nil, &page)
		switch {
		case forgeapi.IsNotFound(err):
			continue
		case err != nil:
			return nil, false, err
		case page.Attestations == nil:
			return nil, false, github.Unexpected("no list of attestations")
		}
		list := page.Attestations
		leftOut := resp.After != "" || resp.NextPage != 0 || len(list) > maxAttestations
		return list[:min(len(list), maxAttestations)], leftOut, nil
	}
	_, err = github.Get(ctx, lists.exists, nil, &struct{}{})
	if e := forgeapi.As(err); forgeapi.IsNotFound(err) {
		e.Hint = strings.TrimPrefix(lists.exists, "repos/") + " does not exist, or the token may not read it; " + github.Hint()
	}
	return nil, false, err
}

// bundle returns the bundle of an attestation: in the list itself, or compressed at a URL, which gets no token.
func (c *Checker) bundle(ctx context.Context, a attestation) ([]byte, error) {
	if len(a.Bundle) > 0 && string(a.Bundle) != "null" {
		return a.Bundle, nil
	}
	req, err := http.NewRequestWithContext(httpx.WithMaxBody(ctx, maxBundleBytes), http.MethodGet, a.URL, http.NoBody)
	if err != nil || req.URL.Host == "" {
		return nil, errors.New("an attestation has neither a bundle nor a valid URL of one")
	}
	resp, err := c.clients.HTTP.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("reading a bundle from %s: %w", req.URL.Host, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("reading a bundle: %s answered %d %s", req.URL.Host, resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("reading a bundle from %s: the response broke off", req.URL.Host)
	}
	return unpack(data)
}

// unpack decompresses a bundle. The size that it announces is checked before anything is allocated.
func unpack(data []byte) ([]byte, error) {
	switch size, err := snappy.DecodedLen(data); {
	case err != nil:
		return nil, errors.New("reading a bundle: not compressed by snappy")
	case size > maxBundleBytes:
		return nil, fmt.Errorf("reading a bundle: larger than %d KiB", maxBundleBytes>>10)
	}
	out, err := snappy.Decode(nil, data)
	if err != nil {
		return nil, errors.New("reading a bundle: not compressed by snappy")
	}
	return out, nil
}
