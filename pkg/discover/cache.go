package discover

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
)

// cache holds responses with their ETags. It only saves requests: errors of reading or writing are ignored.
type cache struct{ dir string }

func (c cache) file(key string) string {
	name := hexSum([]byte(key))
	return filepath.Join(c.dir, "discover", name[:2], name[2:])
}

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// load returns the ETag and the body of a response, nil if there is none.
func (c cache) load(key string) (etag string, body []byte) {
	if c.dir == "" {
		return "", nil
	}
	info, err := os.Stat(c.file(key))
	if err != nil || info.Size() > maxTreeBytes+1024 {
		return "", nil
	}
	data, err := os.ReadFile(c.file(key))
	if err != nil {
		return "", nil
	}
	first, body, _ := bytes.Cut(data, []byte("\n"))
	sum, etag, _ := strings.Cut(string(first), " ")
	if sum != hexSum(body) { // damaged
		return "", nil
	}
	return etag, body
}

func (c cache) store(key, etag string, body []byte) {
	if c.dir == "" {
		return
	}
	file := c.file(key)
	if os.MkdirAll(filepath.Dir(file), 0o700) == nil {
		data := append([]byte(hexSum(body)+" "+etag+"\n"), body...)
		_ = renameio.WriteFile(file, data, 0o600, renameio.WithTempDir(filepath.Dir(file))) // the next run asks again
	}
}

// read reads a path of an API. What the cache holds is asked for with its ETag; what cannot change is not asked for again.
func (c cache) read(ctx context.Context, e *forgeapi.Endpoint, path string, fixed bool) ([]byte, error) {
	key := e.Host + "/" + path
	etag, body := c.load(key)
	if body != nil && fixed {
		return body, nil
	}
	if body == nil {
		etag = ""
	}
	fresh, newETag, unchanged, err := e.Read(ctx, path, etag)
	switch {
	case err != nil:
		return nil, err
	case unchanged:
		return body, nil
	}
	if newETag != "" || fixed {
		c.store(key, newETag, fresh)
	}
	return fresh, nil
}
