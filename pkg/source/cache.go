package source

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
)

// cache holds file contents by digest, and the ETag of each. It only saves requests: errors of reading or writing are ignored.
type cache struct{ dir string }

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// content returns the content with a digest, or nil.
func (c cache) content(digest string) []byte {
	name, ok := strings.CutPrefix(digest, "sha256:")
	if c.dir == "" || !ok || !filepath.IsLocal(name) {
		return nil
	}
	path := filepath.Join(c.dir, "contents", name)
	if info, err := os.Stat(path); err != nil || info.Size() > MaxFileBytes {
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil || digestOf(data) != digest { // damaged or changed
		return nil
	}
	return data
}

// tagged is the content that an ETag stands for.
type tagged struct {
	ETag   string `json:"etag"`
	Digest string `json:"digest"`
}

func (c cache) tagFile(url string) string {
	return filepath.Join(c.dir, "etags", strings.TrimPrefix(digestOf([]byte(url)), "sha256:"))
}

// response returns the ETag and the content of the last response of a URL, if both are known.
func (c cache) response(url string) (etag string, content []byte) {
	if c.dir == "" {
		return "", nil
	}
	data, err := os.ReadFile(c.tagFile(url))
	if err != nil {
		return "", nil
	}
	var t tagged
	if json.Unmarshal(data, &t) != nil {
		return "", nil
	}
	if content = c.content(t.Digest); content == nil {
		return "", nil
	}
	return t.ETag, content
}

// keep stores content, and the ETag of its response, if there is one.
func (c cache) keep(url, etag string, content []byte) {
	if c.dir == "" {
		return
	}
	digest := digestOf(content)
	if !write(filepath.Join(c.dir, "contents", strings.TrimPrefix(digest, "sha256:")), content) || etag == "" {
		return
	}
	data, err := json.Marshal(tagged{etag, digest})
	if err == nil {
		write(c.tagFile(url), data)
	}
}

func write(path string, data []byte) bool {
	return os.MkdirAll(filepath.Dir(path), 0o700) == nil && renameio.WriteFile(path, data, 0o600, renameio.WithTempDir(filepath.Dir(path))) == nil
}
