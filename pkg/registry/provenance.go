package registry

import (
	"encoding/json"
	"net/url"
	"strings"

	"github.com/containerd/platforms"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/imagefactory/imagefactory/pkg/state"
)

const (
	inTotoMediaType = "application/vnd.in-toto+json"
	slsaPrefix      = "https://slsa.dev/provenance/"
	maxPURL         = 2048
)

// material is an image that a build used.
type material struct {
	ref      state.Ref // without digest
	platform string    // empty if unknown
	digest   string
}

// resource is an entry of `materials` in SLSA v0.2 and of `resolvedDependencies` in v1.
type resource struct {
	URI    string            `json:"uri"`
	Digest map[string]string `json:"digest"`
}

type statement struct {
	PredicateType string     `json:"predicateType"`
	Subject       []resource `json:"subject"`
	Predicate     struct {
		Materials       []resource `json:"materials"`
		BuildDefinition struct {
			ResolvedDependencies []resource `json:"resolvedDependencies"`
		} `json:"buildDefinition"`
	} `json:"predicate"`
}

// parseProvenance returns the images in an in-toto statement with SLSA provenance, as BuildKit writes it. Statements of
// another kind or subject have none, and entries without a digest or of another type are skipped.
func parseProvenance(data []byte, subject string) ([]material, error) {
	var s statement
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, jsonProblem(err)
	}
	if !strings.HasPrefix(s.PredicateType, slsaPrefix) || !s.about(subject) {
		return nil, nil
	}
	var out []material
	for _, list := range [][]resource{s.Predicate.Materials, s.Predicate.BuildDefinition.ResolvedDependencies} {
		for _, r := range list {
			if m, ok := r.material(); ok {
				out = append(out, m)
			}
		}
	}
	return out, nil
}

// about reports whether the digest is a subject of the statement. Without subject digests it is about its attachment.
func (s *statement) about(digest string) bool {
	named := false
	for _, r := range s.Subject {
		if d := r.digest(); d != "" {
			named = true
			if d == digest {
				return true
			}
		}
	}
	return !named
}

func (r *resource) digest() string {
	for _, algorithm := range []string{"sha256", "sha512"} {
		if h, err := v1.NewHash(algorithm + ":" + r.Digest[algorithm]); err == nil {
			return h.String()
		}
	}
	return ""
}

// material decodes an entry. An entry with contradictory digests is no evidence.
func (r *resource) material() (material, bool) {
	m, ok := parsePURL(r.URI)
	if !ok {
		return material{}, false
	}
	if d := r.digest(); m.digest == "" {
		m.digest = d
	} else if d != "" && d != m.digest {
		return material{}, false
	}
	return m, isSupported(m.digest)
}

// parsePURL decodes the package URL of an image, pkg:docker/NAMESPACE/NAME@TAG?digest=sha256:…&platform=os/arch, as
// BuildKit writes it: the namespace starts with the registry unless that is Docker Hub, and the version can be a digest.
// ok is false for other types, blobs and malformed URLs.
func parsePURL(s string) (m material, ok bool) {
	const scheme = "pkg:docker/"
	if len(s) > maxPURL || len(s) < len(scheme) || !strings.EqualFold(s[:len(scheme)], scheme) {
		return material{}, false
	}
	s, _, _ = strings.Cut(s[len(scheme):], "#")
	s, query, _ := strings.Cut(s, "?")
	name, version := s, ""
	if at := strings.LastIndexByte(s, '@'); at > strings.LastIndexByte(s, '/') {
		name, version = s[:at], s[at+1:]
	}
	name, err := url.PathUnescape(name)
	if err != nil {
		return material{}, false
	}
	if version, err = url.PathUnescape(version); err != nil {
		return material{}, false
	}
	if strings.Contains(version, ":") {
		m.digest, version = version, ""
	}
	if !m.qualify(query) {
		return material{}, false
	}
	text := name
	if version != "" {
		text += ":" + version
	}
	if m.digest != "" {
		text += "@" + m.digest
	}
	if m.ref, err = state.ParseRef(text); err != nil {
		return material{}, false
	}
	m.digest, m.ref.Digest = m.ref.Digest, ""
	return m, true
}

// qualify reads the qualifiers of a package URL.
func (m *material) qualify(query string) bool {
	for pair := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(pair, "=")
		value, err := url.PathUnescape(value)
		if err != nil {
			return false
		}
		switch strings.ToLower(key) {
		case "ref_type": // a blob or a git bundle that is kept in a registry
			return false
		case "digest":
			if m.digest != "" && m.digest != value {
				return false
			}
			m.digest = value
		case "platform":
			m.platform = parsePlatform(value)
		}
	}
	return true
}

func parsePlatform(s string) string {
	p, err := platforms.Parse(s)
	if err != nil || !strings.Contains(s, "/") {
		return ""
	}
	return platformName(p)
}
