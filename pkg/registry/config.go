package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/platforms"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/renameio/v2"

	"github.com/imagefactory/imagefactory/pkg/state"
)

// Config returns the config of an image for a platform (linux/amd64), in the bytes of the registry. The reference must have a
// digest, of the image or of an index. Configs are cached in Options.CacheDir.
func (c *Client) Config(ctx context.Context, ref state.Ref, platform string) ([]byte, error) {
	if body := c.configs.read(ref.Digest, platform); body != nil {
		return body, nil
	}
	body, err := c.configBytes(ctx, ref, platform)
	if err != nil {
		return nil, fmt.Errorf("reading the config of %q: %w", ref, err)
	}
	c.configs.write(ref.Digest, platform, body)
	return body, nil
}

func (c *Client) configBytes(ctx context.Context, ref state.Ref, platform string) ([]byte, error) {
	src, err := c.source(ref)
	if err != nil {
		return nil, err
	}
	m, err := c.manifest(ctx, src, ref.Digest)
	if err != nil {
		return nil, err
	}
	if m.index {
		found, err := c.platformsOf(ctx, src, m)
		if err != nil {
			return nil, err
		}
		digest := manifestFor(found, platform)
		if digest == "" {
			return nil, bad(src.host(), "no image for %s", platform)
		}
		if m, err = c.manifest(ctx, src, digest); err != nil {
			return nil, err
		}
	}
	if m.index || !isImageConfig(m.Config.MediaType) {
		return nil, invalid(src.host(), "manifest %s is not an image", m.digest)
	}
	return c.blob(ctx, src, m.Config, maxConfigBytes)
}

// Holds reports whether a snapshot, whose platforms are known, has an image that a build for a platform can use.
func Holds(s state.Snapshot, platform string) bool {
	for _, digest := range s.Platforms {
		if digest == s.Digest { // not an index
			return true
		}
	}
	return len(s.Platforms) == 0 || manifestFor(s.Platforms, platform) != ""
}

// manifestFor returns the digest that a build for a platform uses: that of the platform, else of the best one that it can
// run (linux/arm/v6 for linux/arm/v7), "" for none.
func manifestFor(found state.Platforms, platform string) string {
	if digest, ok := found[platform]; ok {
		return digest
	}
	want, err := platforms.Parse(platform)
	if err != nil {
		return ""
	}
	matcher := platforms.Only(want)
	best, digest := want, ""
	for _, name := range slices.Sorted(maps.Keys(found)) {
		p, err := platforms.Parse(name)
		if err != nil || !matcher.Match(p) || digest != "" && !matcher.Less(p, best) {
			continue
		}
		best, digest = p, found[name]
	}
	return digest
}

// configCache stores image configs in a folder, by the digest of the image and the platform. Errors are cache misses.
type configCache struct{ dir string }

// file returns the path of a config, "" if it is not cached.
func (c configCache) file(digest, platform string) string {
	if _, err := v1.NewHash(digest); err != nil || c.dir == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(digest + " " + platform))
	return filepath.Join(c.dir, "configs", hex.EncodeToString(sum[:]))
}

// read returns a config, nil when there is none. The first line of a file is the digest of the rest.
func (c configCache) read(image, platform string) []byte {
	file := c.file(image, platform)
	if info, err := os.Stat(file); err != nil || info.Size() > maxConfigBytes+1024 {
		return nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	digest, body, ok := bytes.Cut(data, []byte("\n"))
	if !ok {
		return nil
	}
	if _, err := checkDigest("", body, string(digest)); err != nil { // damaged
		return nil
	}
	return body
}

func (c configCache) write(image, platform string, body []byte) {
	file := c.file(image, platform)
	digest, err := checkDigest("", body, "")
	if err != nil || file == "" || os.MkdirAll(filepath.Dir(file), 0o700) != nil {
		return
	}
	data := append([]byte(digest+"\n"), body...)
	_ = renameio.WriteFile(file, data, 0o600, renameio.WithTempDir(filepath.Dir(file))) // the next run reads it again
}
