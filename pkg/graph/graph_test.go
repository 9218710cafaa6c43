package graph_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/state"
)

var sha = "sha256:" + strings.Repeat("a", 64)

// fleet enrolls an image per name, publishing the tag latest, and external images for names that end in "!".
func fleet(t require.TestingT, deps map[string][]string) (*config.Config, *state.State) {
	var b strings.Builder
	st := state.New()
	b.WriteString("images:\n")
	for _, name := range sorted(deps) {
		if external, ok := strings.CutSuffix(name, "!"); ok {
			fmt.Fprintf(&b, "- {name: %s, registry: docker.io, repository: library/%s}\n", external, external)
			st.Images[external] = &state.Image{Name: external, BaseImages: uses(deps[name]...)}
			continue
		}
		fmt.Fprintf(&b, "- {name: %s, repository: acme/%s, tags: latest, source: {provider: github, repo: acme/x, workflow: b.yml}}\n", name, name)
		st.Images[name] = &state.Image{Name: name, BaseImages: uses(deps[name]...)}
	}
	cfg, err := config.Load(strings.NewReader(b.String()), "images.yaml")
	require.NoError(t, err)
	return cfg, st
}

func sorted(m map[string][]string) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// uses makes base image facts; a plain name is an enrolled image, "syntax " in front is a frontend.
func uses(refs ...string) []state.BaseUse {
	var out []state.BaseUse
	for i, ref := range refs {
		kind := "from"
		if r, ok := strings.CutPrefix(ref, "syntax "); ok {
			kind, ref = state.KindSyntax, r
		}
		if !strings.ContainsAny(ref, ":/@") {
			ref = "ghcr.io/acme/" + ref + ":latest"
		}
		out = append(out, state.BaseUse{Ref: ref, Uses: []state.Use{{Kind: kind, Line: i + 1}}})
	}
	return out
}

func build(t require.TestingT, deps map[string][]string) *graph.Graph {
	cfg, st := fleet(t, deps)
	return graph.Build(cfg, st)
}

func TestDependencies(t *testing.T) {
	for _, test := range []struct {
		name, ref    string
		parent, base string
		moves        bool
	}{
		{"public base", "docker.io/library/node:22", "", "node-22", true},
		{"managed image", "ghcr.io/acme/a:latest", "a", "", true},
		{"managed image's repository, a tag it does not publish", "ghcr.io/acme/a:tools", "", "acme-a-tools", true},
		{"managed image's repository in another registry", "docker.io/acme/a:latest", "", "acme-a-latest", true},
		{"external image", "docker.io/library/postgres:17", "", "postgres-17", true},
		{"pinned with a tag", "docker.io/library/node:22@" + sha, "", "node-22", false},
		{"pinned without a tag", "docker.io/library/node@" + sha, "", "", false},
		{"managed image, pinned", "ghcr.io/acme/a:latest@" + sha, "", "acme-a-latest", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := build(t, map[string][]string{"a": nil, "b": {test.ref}, "postgres!": nil})
			deps := g.Deps("b")
			require.Len(t, deps, 1)
			assert.Equal(t, test.ref, deps[0].Ref.String())
			assert.Equal(t, test.parent, deps[0].Parent)
			assert.Equal(t, test.moves, deps[0].Moves())
			assert.Equal(t, test.base, deps[0].Base)
			if base := deps[0].Base; base != "" {
				assert.Equal(t, []string{"b"}, g.Dependents(base))
				assert.Equal(t, []string{base}, g.Bases())
				assert.Equal(t, test.moves, g.Watched(base))
				assert.Equal(t, strings.TrimSuffix(test.ref, "@"+sha), g.BaseRef(base).String())
			} else {
				assert.Empty(t, g.Bases())
			}
		})
	}
}

func TestTwoTagsOfOneBase(t *testing.T) {
	g := build(t, map[string][]string{"a": {"docker.io/library/node:22", "docker.io/library/node:22-slim"}})
	assert.Equal(t, []string{"node-22", "node-22-slim"}, g.Bases())
	assert.Len(t, g.Deps("a"), 2)
}

func TestOneTagPinnedAndNot(t *testing.T) {
	g := build(t, map[string][]string{"a": {"docker.io/library/node:22@" + sha}, "b": {"docker.io/library/node:22"}})
	assert.Equal(t, []string{"a", "b"}, g.Dependents("node-22"))
	assert.True(t, g.Watched("node-22"), "one of them moves")
}

func TestTwoPublishedTagsOfOneParent(t *testing.T) {
	cfg, st := fleet(t, map[string][]string{"a": nil, "b": {"ghcr.io/acme/a:1.2", "ghcr.io/acme/a:1.2-debug"}})
	st.Images["a"].Published = []state.Published{{Tag: "1.2"}, {Tag: "1.2-debug"}}
	g := graph.Build(cfg, st)
	assert.Equal(t, []string{"a"}, g.Parents("b"), "one edge")
	assert.Equal(t, []string{"b"}, g.Children("a"))
	assert.Len(t, g.Deps("b"), 2)
	assert.Equal(t, []string{"a", "b"}, g.Order())
}

func TestSyntaxIsIgnored(t *testing.T) {
	cfg, st := fleet(t, map[string][]string{"a": nil, "b": {"syntax docker.io/docker/dockerfile:1", "syntax a"}})
	st.Images["b"].BaseImages = append(st.Images["b"].BaseImages, state.BaseUse{Ref: "docker.io/library/node:22", Uses: []state.Use{
		{Kind: state.KindSyntax, Line: 1}, {Kind: "copy", Line: 7},
	}})
	g := graph.Build(cfg, st)
	assert.Empty(t, g.Parents("b"))
	assert.Equal(t, []string{"node-22"}, g.Bases())
	assert.Equal(t, []state.Use{{Kind: "copy", Line: 7}}, g.Deps("b")[0].Uses)
	assert.Len(t, st.Images["b"].BaseImages[2].Uses, 2, "facts stay as they are")
}

func TestInvalidReferencesAreLeftOut(t *testing.T) {
	g := build(t, map[string][]string{"a": {"docker.io/library/node:22", "no reference:"}})
	assert.Len(t, g.Deps("a"), 1)
}

func TestExternalImagesHaveNoDependencies(t *testing.T) {
	g := build(t, map[string][]string{"postgres!": {"docker.io/library/debian:12"}, "a": {"docker.io/library/postgres:17"}})
	assert.Empty(t, g.Deps("postgres"))
	assert.Empty(t, g.Parents("a"), "an external image is a base image")
	assert.Equal(t, []string{"postgres-17"}, g.Bases())
	assert.Equal(t, []string{"a", "postgres"}, g.Order())
}

func TestCycles(t *testing.T) {
	for _, test := range []struct {
		name   string
		deps   map[string][]string
		cycles [][]string
		order  []string
	}{
		{"none", map[string][]string{"a": {"b"}, "b": nil}, nil, []string{"b", "a"}},
		{"itself", map[string][]string{"a": {"a"}, "b": nil}, [][]string{{"a"}}, []string{"b", "a"}},
		{"two", map[string][]string{"a": {"b"}, "b": {"a"}, "c": nil}, [][]string{{"a", "b"}}, []string{"c", "a", "b"}},
		{"three, and one behind", map[string][]string{"a": {"b"}, "b": {"c"}, "c": {"a"}, "z": {"a"}}, [][]string{{"a", "b", "c"}}, []string{"a", "b", "c", "z"}},
		{"two apart", map[string][]string{"a": {"b"}, "b": {"a"}, "c": {"d"}, "d": {"c"}}, [][]string{{"a", "b"}, {"c", "d"}}, []string{"a", "b", "c", "d"}},
		{"the shortest of two through one", map[string][]string{"a": {"b", "c"}, "b": {"a"}, "c": {"d"}, "d": {"a"}}, [][]string{{"a", "b"}}, []string{"a", "b", "c", "d"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := build(t, test.deps)
			assert.Equal(t, test.cycles, g.Cycles())
			assert.Equal(t, test.order, g.Order())
		})
	}
	assert.Equal(t, "a → b → a", graph.PathString([]string{"a", "b"}))
}

func TestDiamond(t *testing.T) {
	g := build(t, map[string][]string{"a": {"docker.io/library/node:22"}, "b": {"a"}, "c": {"a"}, "d": {"b", "c", "a", "docker.io/library/node:22"}, "e": nil})
	assert.Equal(t, []string{"a", "e", "b", "c", "d"}, g.Order())
	assert.Equal(t, []string{"a", "b", "c"}, g.Ancestors("d"))
	assert.Equal(t, []string{"b", "c", "d"}, g.Descendants("a"))
	assert.Equal(t, []string{"a", "b", "c"}, g.Parents("d"))
	assert.Equal(t, []string{"b", "c"}, g.ReducedParents("d"), "a is behind b")
	assert.Equal(t, []string{"a"}, g.ReducedParents("b"))
	assert.Equal(t, []string{"b", "c", "d"}, g.Children("a"))
	assert.Empty(t, g.Ancestors("e"))
	assert.Empty(t, g.Descendants("d"))
}

func TestPublishes(t *testing.T) {
	digestTag := func(tag string) *config.Tags { return &config.Tags{Strategy: config.Digest, Constraint: tag} }
	for _, test := range []struct {
		name  string
		tags  *config.Tags
		facts *state.Image
		tag   string
		want  bool
	}{
		{"not known yet: every tag", nil, nil, "whatever", true},
		{"decided: semantic versions", nil, &state.Image{Tags: &state.Tags{Strategy: "SemVer"}}, "1.2.3", true},
		{"decided: no semantic version", nil, &state.Image{Tags: &state.Tags{Strategy: "SemVer"}}, "tools", false},
		{"known to be published", nil, &state.Image{Tags: &state.Tags{Strategy: "SemVer"}, Published: []state.Published{{Tag: "tools"}}}, "tools", true},
		{"digest", digestTag("latest"), nil, "latest", true},
		{"digest, another tag", digestTag("latest"), nil, "1.0.0", false},
		{"images.yaml wins", digestTag("latest"), &state.Image{Tags: &state.Tags{Strategy: "SemVer"}}, "1.0.0", false},
		{"range", &config.Tags{Strategy: config.SemVer, Constraint: "^2"}, nil, "2.1.0", true},
		{"out of range", &config.Tags{Strategy: config.SemVer, Constraint: "^2"}, nil, "3.0.0", false},
		{"range that is none", &config.Tags{Strategy: config.SemVer, Constraint: "&"}, nil, "3.0.0", false},
		{"allowed", &config.Tags{Strategy: config.Lexical, Allow: []string{"^v", "^x"}}, nil, "x1", true},
		{"not allowed", &config.Tags{Strategy: config.Lexical, Allow: []string{"^v"}}, nil, "x1", false},
		{"ignored", &config.Tags{Strategy: config.NewestBuild, Ignore: []string{"-rc"}}, nil, "1-rc", false},
		{"expression that is none", &config.Tags{Strategy: config.NewestBuild, Allow: []string{"("}}, nil, "1", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.want, graph.Publishes(&config.Image{Tags: test.tags}, test.facts, test.tag))
		})
	}
}

func TestTwoImagesOfOneRepository(t *testing.T) {
	cfg, err := config.Load(strings.NewReader(`images:
- {name: a, repository: acme/x, tags: a, source: {provider: github, repo: acme/x, workflow: b.yml}}
- {name: b, repository: acme/x, tags: b, source: {provider: github, repo: acme/x, workflow: b.yml}}
`), "images.yaml")
	require.NoError(t, err)
	st := state.New()
	st.Images["b"] = &state.Image{Name: "b", BaseImages: uses("ghcr.io/acme/x:a", "ghcr.io/acme/x:c")}
	g := graph.Build(cfg, st)
	assert.Equal(t, []string{"a"}, g.Parents("b"), "built on the other's tag, not on itself")
	assert.Empty(t, g.Cycles())
	assert.Len(t, g.Bases(), 1)
}

func TestGraphAlways(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		deps := map[string][]string{}
		n := rapid.IntRange(1, 12).Draw(t, "images")
		for i := range n {
			name := fmt.Sprintf("i%02d", i)
			deps[name] = nil
			for range rapid.IntRange(0, 3).Draw(t, "parents") {
				deps[name] = append(deps[name], fmt.Sprintf("i%02d", rapid.IntRange(0, n-1).Draw(t, "parent")))
			}
		}
		g := build(t, deps)
		order := g.Order()
		if len(order) != n || len(slices.Compact(slices.Sorted(slices.Values(order)))) != n {
			t.Fatalf("order %v does not hold every image once", order)
		}
		inCycle := false
		for name := range deps {
			if slices.Contains(g.Ancestors(name), name) {
				t.Fatalf("%s is its own ancestor", name)
			}
			for _, p := range g.Parents(name) {
				if !slices.Contains(g.Children(p), name) {
					t.Fatalf("%s is no child of %s", name, p)
				}
				back := p == name || slices.Contains(g.Ancestors(p), name)
				inCycle = inCycle || back
				if len(g.Cycles()) == 0 && slices.Index(order, p) > slices.Index(order, name) {
					t.Fatalf("%s comes before its parent %s", name, p)
				}
			}
			reach := map[string]bool{}
			for _, p := range g.ReducedParents(name) {
				reach[p] = true
				for _, a := range g.Ancestors(p) {
					reach[a] = true
				}
			}
			if len(g.Cycles()) == 0 && len(reach) != len(g.Ancestors(name)) {
				t.Fatalf("the reduced parents of %s lose ancestors", name)
			}
			for _, d := range g.Descendants(name) {
				if !slices.Contains(g.Ancestors(d), name) {
					t.Fatalf("%s is a descendant, but not the other way round", d)
				}
			}
		}
		if inCycle != (len(g.Cycles()) > 0) {
			t.Fatalf("cycles: %v", g.Cycles())
		}
		for _, loop := range g.Cycles() {
			for i, name := range loop {
				if !slices.Contains(g.Parents(name), loop[(i+1)%len(loop)]) {
					t.Fatalf("%v is no cycle", loop)
				}
			}
		}
	})
}

func BenchmarkBuildGraph(b *testing.B) {
	for _, n := range []int{1000, 5000} {
		deps := make(map[string][]string, n)
		for i := range n {
			var refs []string
			for j := range 1 + i%3 {
				refs = append(refs, fmt.Sprintf("docker.io/library/base%d:1.%d-slim", (i*7+j*13)%(n/10), j))
			}
			if i%5 == 4 {
				refs[0] = fmt.Sprintf("i%d", i-1)
			}
			deps[fmt.Sprintf("i%d", i)] = refs
		}
		cfg, st := fleet(b, deps)
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				graph.Build(cfg, st)
			}
		})
	}
}
