package state

import (
	"maps"
	"slices"
	"strings"

	"github.com/containerd/platforms"
)

// Platforms maps a platform to the digest of its manifest: the effective digests. The platform is written as BuildKit does,
// with os.version and os.features where there are any: linux/amd64, windows(10.0.20348.3000)/amd64.
type Platforms map[string]string

// Effective is what a build for the platform uses: the digest of the platform's manifest, or the whole digest where no
// manifest is known for it. Where several manifests are for the platform, because it does not name the os.version that
// they differ in, it is the digests of all of them, separated by spaces: which one a build takes depends on its builder.
func (s Snapshot) Effective(platform string) string {
	if d, ok := s.Platforms[platform]; ok && !s.Platforms.versioned() {
		return d
	}
	if found := s.Manifests(platform); len(found) > 0 {
		return strings.Join(found, " ")
	}
	return s.Digest
}

// Manifests returns the digests of the manifests that a build for the platform may use, in the order of their platforms.
func (s Snapshot) Manifests(platform string) []string {
	wanted, err := platforms.Parse(platform)
	if err != nil {
		return nil
	}
	matcher := platforms.NewMatcher(wanted)
	var found []string
	for _, key := range slices.Sorted(maps.Keys(s.Platforms)) {
		p, err := platforms.Parse(key)
		if err == nil && matcher.Match(p) && !slices.Contains(found, s.Platforms[key]) {
			found = append(found, s.Platforms[key])
		}
	}
	return found
}

// versioned reports whether any platform is written with its os.version or os.features.
func (p Platforms) versioned() bool {
	for key := range p {
		if strings.IndexByte(key, '(') >= 0 {
			return true
		}
	}
	return false
}

// SamePlatform reports whether a build for one of two platforms may use what is for the other: they are the same, or one of
// them leaves the os.version open.
func SamePlatform(a, b string) bool {
	if a == b {
		return true
	}
	p, err := platforms.Parse(a)
	if err != nil {
		return false
	}
	q, err := platforms.Parse(b)
	return err == nil && (platforms.NewMatcher(p).Match(q) || platforms.NewMatcher(q).Match(p))
}
