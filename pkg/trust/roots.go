package trust

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tuf"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
)

const maxRoots = 16 // in one file

// ParseRoots parses a file with trusted roots: one JSON object, or one per line, as `gh attestation trusted-root` writes them.
func ParseRoots(data []byte) ([]*root.TrustedRoot, error) {
	var out []*root.TrustedRoot
	for d := json.NewDecoder(bytes.NewReader(data)); ; {
		var raw json.RawMessage
		err := d.Decode(&raw)
		switch {
		case errors.Is(err, io.EOF) && len(out) == 0:
			return nil, errors.New("no trusted root in the file")
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, errors.New("not valid JSON")
		case len(out) == maxRoots:
			return nil, fmt.Errorf("more than %d trusted roots", maxRoots)
		}
		r, err := root.NewTrustedRootFromJSON(raw)
		if err != nil {
			return nil, fmt.Errorf("invalid trusted root: %w", err)
		}
		if len(r.FulcioCertificateAuthorities()) == 0 {
			return nil, errors.New("a trusted root without certificate authorities")
		}
		out = append(out, r)
	}
}

// PublicRoot fetches the trusted root of the public Sigstore instance by TUF, from the root of trust that the library embeds.
func PublicRoot(ctx context.Context, transport http.RoundTripper) ([]*root.TrustedRoot, error) {
	r, err := root.FetchTrustedRootWithOptions(&tuf.Options{
		Root: tuf.DefaultRoot(), RepositoryBaseURL: tuf.DefaultMirror, DisableLocalCache: true, Context: ctx,
		Fetcher: fetcher{ctx, &http.Client{Transport: transport}},
	})
	if err != nil {
		return nil, fmt.Errorf("fetching the trusted root from %s: %w", tuf.DefaultMirror, err)
	}
	return []*root.TrustedRoot{r}, nil
}

// fetcher downloads files for the TUF client.
type fetcher struct {
	ctx    context.Context //nolint:containedctx // the interface of go-tuf has none
	client *http.Client
}

// DownloadFile implements the Fetcher of go-tuf.
func (f fetcher) DownloadFile(url string, most int64, _ time.Duration) ([]byte, error) {
	req, err := http.NewRequestWithContext(httpx.WithMaxBody(f.ctx, most), http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, &metadata.ErrDownload{Msg: err.Error()}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, &metadata.ErrDownloadHTTP{StatusCode: resp.StatusCode, URL: url}
	}
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, &metadata.ErrDownload{Msg: err.Error()}
	}
	return data, nil
}
