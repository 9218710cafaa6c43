package trust

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
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

// FetchRoot fetches the trusted root of a Sigstore instance by TUF, from a repository and a root.json that it published once. Without a
// mirror or a root it takes those of the public instance, which the library has.
func FetchRoot(ctx context.Context, transport http.RoundTripper, mirror string, first []byte) ([]*root.TrustedRoot, error) {
	mirror = cmp.Or(strings.TrimRight(mirror, "/"), tuf.DefaultMirror)
	if first == nil {
		first = tuf.DefaultRoot()
	}
	r, err := root.FetchTrustedRootWithOptions(&tuf.Options{
		Root: first, RepositoryBaseURL: mirror, DisableLocalCache: true, Context: ctx,
		Fetcher: fetcher{ctx, &http.Client{Transport: transport}},
	})
	if err != nil {
		return nil, fmt.Errorf("fetching the trusted root from %s: %w", mirror, explain(err))
	}
	return []*root.TrustedRoot{r}, nil
}

// explain returns the cause of a failure of the TUF client.
func explain(err error) error {
	var (
		expired   *metadata.ErrExpiredMetadata
		version   *metadata.ErrBadVersionNumber
		signature *metadata.ErrUnsignedMetadata
		content   *metadata.ErrLengthOrHashMismatch
		status    *metadata.ErrDownloadHTTP
		download  *metadata.ErrDownload
		value     *metadata.ErrValue
		syntax    *json.SyntaxError
	)
	switch {
	case errors.As(err, &expired):
		return fmt.Errorf("the metadata has expired: %s (the mirror is out of date, or the clock of this machine is wrong)", expired.Msg)
	case errors.As(err, &version):
		return fmt.Errorf("the metadata was rolled back: %s", version.Msg)
	case errors.As(err, &signature):
		return fmt.Errorf("the metadata is not signed by the keys of the root: %s", signature.Msg)
	case errors.As(err, &content):
		return fmt.Errorf("a file is not the one that the metadata names: %s", content.Msg)
	case errors.As(err, &status):
		return fmt.Errorf("%s answered %d %s", status.URL, status.StatusCode, http.StatusText(status.StatusCode))
	case errors.As(err, &download):
		return errors.New(download.Msg)
	case errors.As(err, &value):
		return fmt.Errorf("invalid metadata: %s", value.Msg)
	case errors.As(err, &syntax):
		return errors.New("the response is not TUF metadata (check the URL, and any proxy in front of it)")
	}
	return err
}

// fetcher downloads files for the TUF client.
type fetcher struct {
	ctx    context.Context //nolint:containedctx // the interface of go-tuf has none
	client *http.Client
}

// DownloadFile implements the Fetcher of go-tuf.
func (f fetcher) DownloadFile(file string, most int64, _ time.Duration) ([]byte, error) {
	req, err := http.NewRequestWithContext(httpx.WithMaxBody(f.ctx, most), http.MethodGet, file, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := f.client.Do(req)
	if failed := (*url.Error)(nil); errors.As(err, &failed) {
		err = failed.Err // which does not repeat the URL
	}
	if err != nil {
		return nil, &metadata.ErrDownload{Msg: file + ": " + err.Error()}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, &metadata.ErrDownloadHTTP{StatusCode: resp.StatusCode, URL: file}
	}
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, &metadata.ErrDownload{Msg: file + ": the response broke off"}
	}
	return data, nil
}
