package state

import (
	"maps"
	"slices"
	"strings"

	"github.com/containerd/platforms"
)

// Platforms maps each platform to the digest of its manifest, its effective digest. Platforms are formatted as in BuildKit,
// with os.version and os.features if there are any: linux/amd64, windows(10.0.20348.3000)/amd64.
type Platforms map[string]string

// Effective returns the digest that a build for the platform uses: that of the platform's manifest, or s.Digest if no
// manifest for it is known. If several manifests match, because the platform does not name the os.version in which they
// differ, it returns all their digests, separated by spaces: the builder decides which one a build uses.
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
	if len(s.Platforms) == 0 {
		return nil
	}
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

// Lacks reports whether an index has no manifest that a build for the platform could use: neither for the platform itself nor
// for an older variant of its architecture. It is false while the platforms of the digest are not known.
func (s Snapshot) Lacks(platform string) bool {
	if _, ok := s.Platforms[platform]; ok || len(s.Platforms) == 0 {
		return false
	}
	wanted, err := platforms.Parse(platform)
	if err != nil || len(s.Manifests(platform)) > 0 {
		return false
	}
	matcher := platforms.Only(wanted)
	for key := range s.Platforms {
		if p, err := platforms.Parse(key); err == nil && p.Architecture == wanted.Architecture && matcher.Match(p) {
			return false
		}
	}
	return true
}

// versioned reports whether any platform has an os.version or os.features.
func (p Platforms) versioned() bool {
	for key := range p {
		if strings.IndexByte(key, '(') >= 0 {
			return true
		}
	}
	return false
}

// SamePlatform reports whether a build for one of two platforms may use a manifest for the other: they are equal, or one of
// them does not name the os.version.
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
