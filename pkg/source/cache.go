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

// cache keeps contents by their digest, and which of them an ETag stands for. It only saves requests: what cannot be read
// or written is as if it were not there.
type cache struct{ dir string }

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// content returns the content that has a digest, or nil.
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
	if err != nil || digestOf(data) != digest { // damaged, or somebody wrote to it
		return nil
	}
	return data
}

// tagged says which content an ETag stands for.
type tagged struct {
	ETag   string `json:"etag"`
	Digest string `json:"digest"`
}

func (c cache) tagFile(url string) string {
	return filepath.Join(c.dir, "etags", strings.TrimPrefix(digestOf([]byte(url)), "sha256:"))
}

// answer returns the ETag of the last answer of a URL and its content, or nothing.
func (c cache) answer(url string) (etag string, content []byte) {
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

// keep keeps a content, and the ETag of the answer that it came with, if it had one.
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
