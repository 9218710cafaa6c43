package state_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/imagefactory/imagefactory/pkg/state"
)

var (
	label  = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	hashed = regexp.MustCompile(`-[a-z2-7]{13}$`)
	sha    = "sha256:" + strings.Repeat("a", 64)
)

func TestParseRef(t *testing.T) {
	for _, test := range []struct {
		in, normal, tag, digest string
	}{
		{"node", "docker.io/library/node:latest", "latest", ""},
		{"node:22-slim", "docker.io/library/node:22-slim", "22-slim", ""},
		{"grafana/grafana", "docker.io/grafana/grafana:latest", "latest", ""},
		{"index.docker.io/library/node:1", "docker.io/library/node:1", "1", ""},
		{"localhost:5000/a:1", "localhost:5000/a:1", "1", ""},
		{"localhost/a", "localhost/a:latest", "latest", ""},
		{"ghcr.io/acme/web@" + sha, "ghcr.io/acme/web@" + sha, "", sha},
		{"ghcr.io/acme/web:1.2@" + sha, "ghcr.io/acme/web:1.2@" + sha, "1.2", sha},
	} {
		t.Run(test.in, func(t *testing.T) {
			r, err := state.ParseRef(test.in)
			require.NoError(t, err)
			assert.Equal(t, test.normal, r.String())
			assert.Equal(t, test.tag, r.Tag)
			assert.Equal(t, test.digest, r.Digest)
			assert.Equal(t, test.digest != "", r.Pinned())
			again, err := state.ParseRef(r.String())
			require.NoError(t, err)
			assert.Equal(t, r, again)
			tagged, ok := r.WithoutDigest()
			assert.Equal(t, test.tag != "", ok)
			assert.False(t, tagged.Pinned())
		})
	}
	for _, bad := range []string{"", ":", "Node:22", "a b", "node:", "node@sha256:12", strings.Repeat("a", 64), "../x", "node:22\n", "my_host.example.com/a", "0_0.0/0"} {
		_, err := state.ParseRef(bad)
		assert.Error(t, err, "%q", bad)
	}
}

func TestBaseName(t *testing.T) {
	for ref, want := range map[string]string{
		"node:22-bookworm-slim":                 "node-22-bookworm-slim",
		"python:3.12-slim":                      "python-3-12-slim",
		"ubuntu:24.04":                          "ubuntu-24-04",
		"alpine":                                "alpine-latest",
		"golang:1.26.1-alpine3.22":              "", // 3.22 is read back as 3.22, but alpine3.22 stays one word
		"node:22.bookworm":                      "",
		"node:22_slim":                          "",
		"node:22-Slim":                          "",
		"node:22-7":                             "", // would be read back as 22.7
		"node:22.7":                             "node-22-7",
		"quay.io/library/node:22-bookworm-slim": "",
		"grafana/grafana:11.1.0":                "",
		"library/node/x:22":                     "",
		"node:22-abcdefghijklm":                 "",
		"node:22-" + strings.Repeat("very-long-", 12):    "",
		"node:22-bookworm-slim-and-more-than-40-charact": "",
	} {
		r, err := state.ParseRef(ref)
		require.NoError(t, err, ref)
		name := state.BaseName(r)
		assert.Regexp(t, label, name)
		assert.LessOrEqual(t, len(name), 40)
		if want != "" {
			assert.Equal(t, want, name)
		} else if ref != "golang:1.26.1-alpine3.22" {
			assert.Regexp(t, hashed, name, ref)
		}
	}
}

// alike draws references that differ in little: separators, case, where one part ends and the next begins.
func alike(t *rapid.T, name string) state.Ref {
	word := rapid.SampledFrom([]string{"a", "b", "1", "2", "22", "node", "slim", "library", "abcdefghijklm", "2a", "a2"})
	sep := rapid.SampledFrom([]string{"-", ".", "_", "--", ".-"})
	join := func(label string, upper bool) string {
		s := word.Draw(t, label)
		for range rapid.IntRange(0, 3).Draw(t, label+" words") {
			s = sep.Draw(t, label+" separator") + word.Draw(t, label) + s
		}
		if upper && rapid.Bool().Draw(t, label+" case") {
			s = strings.ToUpper(s)
		}
		return s
	}
	repository := join(name+" repository", false)
	if rapid.Bool().Draw(t, name+" nested") {
		repository += "/" + join(name+" repository 2", false)
	}
	registry := rapid.SampledFrom([]string{"docker.io", "ghcr.io", "localhost:5000", "quay.io"}).Draw(t, name+" registry")
	if registry == "docker.io" && rapid.IntRange(0, 3).Draw(t, name+" official") > 0 {
		repository = "library/" + repository
	}
	return state.Ref{Registry: registry, Repository: repository, Tag: join(name+" tag", true)}
}

func TestBaseNamesNeverCollide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := alike(t, "a"), alike(t, "b")
		if rapid.Bool().Draw(t, "same registry and repository") {
			b.Registry, b.Repository = a.Registry, a.Repository
		}
		x, y := state.BaseName(a), state.BaseName(b)
		if !label.MatchString(x) || len(x) > 40 {
			t.Fatalf("%s: bad name %q", a, x)
		}
		if x != state.BaseName(a) {
			t.Fatalf("%s: not deterministic", a)
		}
		if a != b && x == y {
			t.Fatalf("%s and %s are both %q", a, b, x)
		}
	})
}

// A reference that spells the name of another one must not get that name.
func TestBaseNamesCannotBeForged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := alike(t, "a")
		name := state.BaseName(a)
		for i := range len(name) {
			if name[i] != '-' || i == 0 || i == len(name)-1 {
				continue
			}
			b := state.Ref{Registry: "docker.io", Repository: "library/" + name[:i], Tag: name[i+1:]}
			if b != a && state.BaseName(b) == name {
				t.Fatalf("%s and %s are both %q", a, b, name)
			}
		}
	})
}

func TestBaseNamesOfNeighbours(t *testing.T) {
	seen := map[string]string{}
	repositories := []string{"library/node", "library/node-22", "library/node.22", "library/node22", "library/node-22-slim", "node/22", "node-22/slim"}
	tags := []string{"22", "22-slim", "22.slim", "22_slim", "22-SLIM", "slim", "22-7", "22.7", "22-7-1", "22.7-1", "22-7.1", "22.7.1", "slim-22.7", "slim-22-7", "-22", "_", "22-slim-abcdefghijklm"}
	for _, registry := range []string{"docker.io", "ghcr.io", "ghcr.io:443"} {
		for _, repository := range repositories {
			for _, tag := range tags {
				r := state.Ref{Registry: registry, Repository: repository, Tag: tag}
				name := state.BaseName(r)
				require.Empty(t, seen[name], "%s has the name of it", r)
				seen[name] = r.String()
			}
		}
	}
}

func FuzzBaseName(f *testing.F) {
	for _, s := range []string{"node:22-bookworm-slim", "python:3.12-slim", "quay.io/a/b_c:V1", "localhost:5000/x@" + sha, "a:1@" + sha} {
		f.Add(s, "node:22")
	}
	f.Fuzz(func(t *testing.T, s, other string) {
		r, err := state.ParseRef(s)
		if err != nil {
			return
		}
		again, err := state.ParseRef(r.String())
		if err != nil || again != r {
			t.Fatalf("%q: normalised to %q, which reads as %v, %v", s, r, again, err)
		}
		name := state.BaseName(r)
		if !label.MatchString(name) || len(name) > 40 {
			t.Fatalf("%q: bad name %q", s, name)
		}
		o, err := state.ParseRef(other)
		if err != nil {
			return
		}
		a, _ := r.WithoutDigest()
		b, _ := o.WithoutDigest()
		if a != b && state.BaseName(o) == name {
			t.Fatalf("%q and %q are both %q", s, other, name)
		}
	})
}

func TestBaseNames(t *testing.T) {
	part := func(_ string, of ...string) *rapid.Generator[string] { return rapid.SampledFrom(of) }
	ref := rapid.Custom(func(t *rapid.T) state.Ref {
		return state.Ref{
			Registry:   part("registry", "docker.io", "ghcr.io", "quay.io").Draw(t, "registry"),
			Repository: part("repository", "library/node", "acme/base-node", "acme/base", "acme/"+strings.Repeat("long", 12), "acme/x-abcdefghijklm").Draw(t, "repository"),
			Tag:        part("tag", "22", "22.1", "22-1", "node-22", "abcdefghijklm", "Latest").Draw(t, "tag"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		st := state.New()
		recorded := map[state.Ref]string{}
		for round := range 3 { // each adds references, and records some of those in use
			refs := rapid.SliceOfN(ref, 0, 12).Draw(t, fmt.Sprintf("refs%d", round))
			names := st.BaseNames(refs)
			shuffled := rapid.Permutation(refs).Draw(t, fmt.Sprintf("shuffled%d", round))
			require.Equal(t, names, st.BaseNames(append(shuffled, refs...)), "order and repetition make no difference")
			byName := map[string]state.Ref{}
			for r, name := range names {
				require.Regexp(t, label, name)
				require.LessOrEqual(t, len(name), 40)
				other, taken := byName[name]
				require.False(t, taken, "%v and %v are both %s", r, other, name)
				byName[name] = r
				if b := st.Bases[name]; b != nil {
					require.Equal(t, r.String(), b.Ref(), "the file of another reference")
				}
				if old, known := recorded[r]; known {
					require.Equal(t, old, name, "a recorded name stays")
				}
			}
			for _, r := range refs {
				if rapid.Bool().Draw(t, "record") && st.Recorded(r) == nil {
					name := st.BaseNames(refs)[r]
					if rapid.Bool().Draw(t, "old") && st.Bases[state.BaseName(r)] == nil { // an earlier version did
						name = state.BaseName(r)
					}
					b := &state.Base{Name: name, Registry: r.Registry, Repository: r.Repository, Tag: r.Tag}
					require.Empty(t, b.Faults())
					st.Bases[name], recorded[r] = b, name
					require.Same(t, b, st.Base(r.String()))
				}
			}
		}
	})
}

func TestBaseNamesKeepTheTag(t *testing.T) {
	parse := func(s string) state.Ref {
		r, err := state.ParseRef(s)
		require.NoError(t, err)
		return r
	}
	ours, theirs, hub := parse("ghcr.io/acme/base-node:22"), parse("quay.io/acme/base-node:22"), parse("node:22")
	assert.Equal(t, map[state.Ref]string{ours: "acme-base-node-22", hub: "node-22"}, state.New().BaseNames([]state.Ref{ours, hub}))
	both := state.New().BaseNames([]state.Ref{ours, theirs})
	assert.Regexp(t, `^acme-base-node-22-[a-z2-7]{13}$`, both[ours])
	assert.Regexp(t, `^acme-base-node-22-[a-z2-7]{13}$`, both[theirs])
	assert.NotEqual(t, both[ours], both[theirs])
	mirror := parse("public.ecr.aws/library/node:22")
	assert.Equal(t, "node-22", state.New().BaseNames([]state.Ref{mirror, hub})[hub], "Docker's official image has the plain name")
}
