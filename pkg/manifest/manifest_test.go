package manifest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/kargo"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// objects returns those of n images, each built on one of n/10 base images (at least one) and, but for one in ten, on a
// parent.
func objects(t require.TestingT, n int) []kargo.Object {
	var images strings.Builder
	st := state.New()
	use := func(ref string) state.BaseUse {
		return state.BaseUse{Ref: ref, Uses: []state.Use{{Kind: "from", Line: 1}}}
	}
	for i := range n {
		name := fmt.Sprintf("service-%04d", i)
		fmt.Fprintf(&images, "- {name: %s, repository: acme/%s, tags: {strategy: SemVer}, source: {provider: github, repo: acme/%s, workflow: build.yml}}\n", name, name, name)
		img := &state.Image{Name: name, BaseImages: []state.BaseUse{use(fmt.Sprintf("docker.io/library/node:22.%d", i%max(n/10, 1)))}}
		if i%10 != 0 {
			img.BaseImages = append(img.BaseImages, use(fmt.Sprintf("ghcr.io/acme/service-%04d:1.0.0", i-i%10)))
		}
		st.Images[name] = img
	}
	cfg, err := config.Load(strings.NewReader(images.String()), "images.yaml")
	require.NoError(t, err)
	objs, _, err := kargo.Objects(cfg, st, graph.Build(cfg, st), kargo.Options{StateURL: "https://github.com/acme/factory.git", StatePath: "state", ConfigPath: "images.yaml"})
	require.NoError(t, err)
	return objs
}

// document is what the tests look at of a resource.
type document struct {
	Kind     string
	Metadata struct{ Name string }
}

func parse(data []byte) []document {
	var out []document
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var d document
		if dec.Decode(&d) != nil {
			return out
		}
		out = append(out, d)
	}
}

func TestRender(t *testing.T) {
	objs := objects(t, 3)
	got, err := render(objs)
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(string(got), header+"\n# The Kargo Project of all objects in dist.")) // the comment of the first object
	docs := parse(got)
	require.Len(t, docs, len(objs))
	for i, o := range objs {
		assert.Equal(t, o.Kind(), docs[i].Kind)
		assert.Equal(t, o.Name(), docs[i].Metadata.Name)
	}
	again, err := render(objects(t, 3))
	require.NoError(t, err)
	assert.Equal(t, string(got), string(again))
}

func TestRenderNothing(t *testing.T) {
	got, err := render(nil)
	require.NoError(t, err)
	assert.Equal(t, header+"\n", string(got))
}

func TestRenderSplit(t *testing.T) {
	objs := objects(t, 2)
	files, err := RenderSplit(slices.Values(objs))
	require.NoError(t, err)
	require.Len(t, files, len(objs)+1)
	for name, data := range files {
		assert.True(t, strings.HasPrefix(string(data), header+"\n"), name)
		assert.Equal(t, strings.ToLower(name), name)
	}
	docs := parse(files["stage-rebuild-service-0001.k8s.yaml"])
	require.Len(t, docs, 1)
	assert.Equal(t, "rebuild-service-0001", docs[0].Metadata.Name)
	var k struct{ Resources []string }
	require.NoError(t, yaml.Unmarshal(files[KustomizationFile], &k))
	assert.Len(t, k.Resources, len(objs))
	assert.IsNonDecreasing(t, k.Resources)
	for _, r := range k.Resources {
		assert.Contains(t, files, r)
	}
}

// odd is an object that cannot be written.
type odd struct {
	kargo.Header
	Spec string `json:"spec"`
}

func broken() kargo.Object {
	return &odd{Header: kargo.Header{ObjectKind: "Odd", Metadata: kargo.Metadata{Name: "x"}}, Spec: "\xff"}
}

func TestRenderFails(t *testing.T) {
	_, err := render([]kargo.Object{broken()})
	require.ErrorContains(t, err, `rendering Odd "x"`)
	_, err = RenderSplit(slices.Values([]kargo.Object{broken()}))
	require.ErrorContains(t, err, `rendering Odd "x"`)
	twice := objects(t, 1)
	_, err = RenderSplit(slices.Values(append(twice, twice[0])))
	require.ErrorContains(t, err, `two objects would be written to "project-image-factory-kargo.k8s.yaml"`)
}

// TestSize keeps what docs/kargo.md says about the cost of an image true.
func TestSize(t *testing.T) {
	small, large := objects(t, 100), objects(t, 1100)
	few, err := render(small)
	require.NoError(t, err)
	many, err := render(large)
	require.NoError(t, err)
	perImage := float64(len(many)-len(few)) / 1000
	assert.InDelta(t, 3.2, float64(len(large)-len(small))/1000, 0.001, "objects per image, with a tenth of a base image")
	t.Logf("%.0f bytes per image", perImage)
	assert.Less(t, perImage, 3100.0)
}

func BenchmarkRender(b *testing.B) {
	objs := objects(b, 1000)
	b.ReportAllocs()
	for b.Loop() {
		data, err := render(objs)
		require.NoError(b, err)
		b.SetBytes(int64(len(data)))
	}
}

func BenchmarkCompare(b *testing.B) {
	dir := b.TempDir()
	data, err := render(objects(b, 1000))
	require.NoError(b, err)
	require.NoError(b, put(dir, map[string][]byte{DefaultFile: data}))
	for name, want := range map[string][]byte{
		"equal":   data,
		"few":     bytes.Replace(data, []byte("6h0m0s"), []byte("12h0m0s"), 3),
		"all":     bytes.ReplaceAll(data, []byte("6h0m0s"), []byte("12h0m0s")),
		"reverse": reversed(data),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				_, err := Compare(dir, map[string][]byte{DefaultFile: want})
				require.NoError(b, err)
			}
		})
	}
}

func reversed(data []byte) []byte {
	docs := bytes.Split(data, []byte("---\n"))
	for i, j := 0, len(docs)-1; i < j; i, j = i+1, j-1 {
		docs[i], docs[j] = docs[j], docs[i]
	}
	return bytes.Join(docs, []byte("---\n"))
}

// commented is an object with any comment.
type commented struct {
	kargo.Header
	comment string
}

func (c *commented) Comment() string { return c.comment }

func TestCommentsStayComments(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOf(rapid.SampledFrom([]string{"\n", "\r", "\u0085", "\u2028", "---", "kind: Evil", "x", " ", "\x00", "\ufeff", "#", "%YAML 1.2"})).Draw(t, "comment"), "")
		o := &commented{Header: kargo.Header{ObjectKind: "Odd", Metadata: kargo.Metadata{Name: "x"}}, comment: text}
		plain, err := render([]kargo.Object{&o.Header})
		require.NoError(t, err)
		one, err := render([]kargo.Object{o, o})
		require.NoError(t, err)
		split, err := RenderSplit(slices.Values([]kargo.Object{o}))
		require.NoError(t, err)
		require.Len(t, parse(one), 2)
		file := string(split["odd-x.k8s.yaml"])
		require.Equal(t, parse(plain), parse([]byte(file)))
		require.LessOrEqual(t, strings.Count(file, "\n"), strings.Count(string(plain), "\n")+1)
	})
}

func TestOneCommentForTheObjectsOfAnImage(t *testing.T) {
	objs := objects(t, 2)
	got, err := render(objs)
	require.NoError(t, err)
	comment := "\n---\n# service-0001: ghcr.io/acme/service-0001, built on node:22.0 and service-0000\napiVersion: "
	assert.Equal(t, 1, strings.Count(string(got), comment), string(got))
	files, err := RenderSplit(slices.Values(objs))
	require.NoError(t, err)
	for _, name := range []string{"warehouse-image-service-0001.k8s.yaml", "stage-rebuild-service-0001.k8s.yaml"} {
		assert.Contains(t, string(files[name]), header+strings.TrimPrefix(comment, "\n---"), name)
	}
	assert.Contains(t, string(files["warehouse-base-node-22-0.k8s.yaml"]), "\n# node-22-0: node:22.0, used by service-0000 and service-0001\n")
}

func TestCompareResources(t *testing.T) {
	before, after := objects(t, 30), objects(t, 40)
	have, err := render(before)
	require.NoError(t, err)
	one, err := render(after)
	require.NoError(t, err)
	split, err := RenderSplit(slices.Values(after))
	require.NoError(t, err)

	dir := t.TempDir()
	_, err = Write(dir, map[string][]byte{DefaultFile: have})
	require.NoError(t, err)
	for name, want := range map[string]map[string][]byte{"one file": {DefaultFile: one}, "split": split} {
		changes, err := Compare(dir, want)
		require.NoError(t, err)
		got := CompareResources(changes, want)
		assert.Equal(t, len(after), got.Total, name)
		assert.Len(t, got.Added, len(after)-len(before), name)
		assert.Empty(t, got.Removed, name)
		assert.NotEmpty(t, got.Changed, name)
		assert.False(t, got.Same(), name)
		assert.Contains(t, got.String(), " resources (+2 node-22-3, +3 service-0030, ", name)
		assert.Contains(t, got.String(), " more, ~", name)
	}

	changes, err := Compare(dir, map[string][]byte{DefaultFile: []byte(header + "\n# other\n" + strings.Join(strings.SplitAfter(string(have), "\n")[1:], ""))})
	require.NoError(t, err)
	require.Len(t, changes, 1)
	same := CompareResources(changes, map[string][]byte{DefaultFile: have})
	assert.True(t, same.Same(), "comments are no change")
}

func render(objs []kargo.Object) ([]byte, error) { return Render(slices.Values(objs), len(objs)) }
