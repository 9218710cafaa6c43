package kargo

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/distribution/reference"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// partly generates a fleet of which something is left out.
func partly(t require.TestingT, f fleet) ([]Object, []Omission) {
	cfg, st := load(t, f.Images), f.state()
	g := graph.Build(cfg, st)
	objects, omitted, err := Objects(cfg, st, g, testOptions())
	require.NoError(t, err)
	assert.Equal(t, omitted, Omissions(cfg, st, g))
	return objects, omitted
}

const healthy = "- {name: fine, repository: acme/fine, tags: {strategy: SemVer}, source: {provider: github, repo: acme/fine, workflow: w.yml}}\n"

// TestOneFailureStopsNoOther breaks one image at a time beside a healthy one, whose objects must not change by a byte.
func TestOneFailureStopsNoOther(t *testing.T) {
	const other = "- {name: odd, repository: acme/odd, tags: {strategy: SemVer}, source: {provider: github, repo: acme/odd, workflow: w.yml}}\n"
	const node = "docker.io/library/node:22"
	tests := map[string]struct {
		odd     string // entry
		uses    []string
		tags    *state.Tags
		left    []string // Warehouses and Stages that the odd image has
		omitted []string
	}{
		"base with two dashes": {
			other, []string{"r.example.com/odd/a--b:1", node}, nil,
			[]string{"image-odd", "observe-image-odd", "rebuild-odd"},
			[]string{"r.example.com/odd/a--b:1: Kargo does not support repository names with two dashes in a row"},
		},
		"no base that can be watched": {
			other, []string{"[::1]:5000/x:1"}, nil,
			[]string{"image-odd", "observe-image-odd"},
			[]string{"[::1]:5000/x:1: Kargo does not support IPv6 addresses as registry hosts", "odd Stage: Kargo can watch none of its base images"},
		},
		"internationalised host": {
			other, []string{"xn--bcher-kva.example/x:1", node}, nil,
			[]string{"image-odd", "observe-image-odd", "rebuild-odd"},
			[]string{"xn--bcher-kva.example/x:1: Kargo does not support repository names with two dashes in a row"},
		},
		"own repository": {
			strings.Replace(other, "acme/odd,", "acme/o--d,", 1), []string{node}, nil,
			[]string{"rebuild-odd"},
			[]string{"odd ghcr.io/acme/o--d: Kargo does not support repository names with two dashes in a row"},
		},
		"version range in state": {
			strings.Replace(other, " tags: {strategy: SemVer},", "", 1), []string{node}, &state.Tags{Strategy: "SemVer", Constraint: "newest"},
			[]string{"rebuild-odd"},
			[]string{`odd ghcr.io/acme/odd: invalid version range "newest"`},
		},
		"strategy in state": {
			strings.Replace(other, " tags: {strategy: SemVer},", "", 1), []string{node}, &state.Tags{Strategy: "Oldest"},
			[]string{"rebuild-odd"},
			[]string{`odd ghcr.io/acme/odd: unknown tag strategy "Oldest"`},
		},
		"no tag in state": {
			strings.Replace(other, " tags: {strategy: SemVer},", "", 1), []string{node}, &state.Tags{Strategy: "Digest"},
			[]string{"rebuild-odd"},
			[]string{"odd ghcr.io/acme/odd: the strategy Digest needs a tag"},
		},
		"the lock, which is not known before a Promotion": {
			strings.Replace(other, "w.yml}", "w.yml, inputs: {a: 'x {{ lock }}'}}", 1), []string{node}, nil,
			[]string{"image-odd", "observe-image-odd"},
			[]string{"odd Stage: Kargo cannot pass {{lock}} to a build"},
		},
		"inputs beyond what a server stores": {
			strings.Replace(other, "w.yml}", "w.yml, inputs: {a: '"+strings.Repeat("{", maxTexts/5)+"'}}", 1), []string{node}, nil,
			[]string{"image-odd", "observe-image-odd"},
			[]string{"odd Stage: its inputs or variables are larger than 512 KiB"},
		},
		"regular expressions beyond what a server stores": {
			strings.Replace(other, "{strategy: SemVer}", "{strategy: SemVer, allow: ['"+strings.Repeat("a", maxTexts+1)+"']}", 1), []string{node}, nil,
			[]string{"rebuild-odd"},
			[]string{"odd ghcr.io/acme/odd: its regular expressions are larger than 512 KiB"},
		},
	}
	base := map[string][]string{"fine": {"docker.io/library/debian:12"}}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			want := map[string]string{}
			for _, o := range (fleet{Images: healthy, Uses: base}).objects(t) {
				want[o.Kind()+"/"+o.Name()] = string(encode(t, []Object{o}))
			}
			f := fleet{Images: healthy + tt.odd, Uses: map[string][]string{"fine": base["fine"], "odd": tt.uses}, Tags: map[string]state.Tags{}}
			if tt.tags != nil {
				f.Tags["odd"] = *tt.tags
			}
			objects, omitted := partly(t, f)
			var left []string
			for _, o := range objects {
				switch text := string(encode(t, []Object{o})); {
				case o.Kind() == "Role":
					assert.Contains(t, text, "rebuild-fine")
					delete(want, "Role/"+o.Name())
				case want[o.Kind()+"/"+o.Name()] != "":
					assert.Equal(t, want[o.Kind()+"/"+o.Name()], text)
					delete(want, o.Kind()+"/"+o.Name())
				case !strings.Contains(o.Name(), "base-"):
					left = append(left, o.Name())
				}
			}
			assert.Empty(t, want, "what the healthy image needs")
			assert.Equal(t, tt.left, left)
			var texts []string
			for _, o := range omitted {
				texts = append(texts, strings.TrimSpace(o.Image+map[bool]string{true: " Stage"}[o.Stage]+" "+o.Ref)+": "+o.Reason)
			}
			assert.Equal(t, tt.omitted, texts)
			requireNoDangling(t, objects)
		})
	}
}

// requireNoDangling requires that Stages take Freight of Warehouses that are there, and call PromotionTasks that are there.
func requireNoDangling(t require.TestingT, objects []Object) {
	there := map[string]bool{}
	for _, o := range objects {
		there[o.Kind()+"/"+o.Name()] = true
	}
	for _, o := range objects {
		stage, ok := o.(*Stage)
		if !ok {
			continue
		}
		require.NotEmpty(t, stage.Spec.RequestedFreight)
		for _, r := range stage.Spec.RequestedFreight {
			require.True(t, there["Warehouse/"+r.Origin.Name], "%s takes Freight of %s", o.Name(), r.Origin.Name)
		}
		for _, step := range stage.Spec.PromotionTemplate.Spec.Steps {
			require.True(t, step.Task == nil || there["PromotionTask/"+step.Task.Name], o.Name())
		}
	}
}

// TestChildOfAnImageThatCannotBeWatched: the parent comes after its child by name, and before it in the build.
func TestChildOfAnImageThatCannotBeWatched(t *testing.T) {
	f := fleet{
		Images: "- {name: z-parent, repository: acme/z--parent, tags: '1', source: {provider: github, repo: acme/z, workflow: w.yml}}\n" +
			"- {name: child, repository: acme/child, tags: '1', source: {provider: github, repo: acme/c, workflow: w.yml}}\n",
		Uses: map[string][]string{"z-parent": {"docker.io/library/node:22"}, "child": {"ghcr.io/acme/z--parent:1", "docker.io/library/debian:12"}},
	}
	objects, omitted := partly(t, f)
	require.Len(t, omitted, 1)
	assert.Equal(t, "z-parent", omitted[0].Image)
	assert.Equal(t, []FreightRequest{from("base-debian-12")}, find[*Stage](t, objects, "rebuild-child").Spec.RequestedFreight)
	assert.Equal(t, []FreightRequest{from("base-node-22")}, find[*Stage](t, objects, "rebuild-z-parent").Spec.RequestedFreight)
	requireNoDangling(t, objects)
}

// TestUnwatchableMirror is an error: as an omission it would take all Warehouses of its registry out of dist.
func TestUnwatchableMirror(t *testing.T) {
	cfg, st := load(t, "factory: {mirrors: {docker.io: [xn--bcher-kva.example/hub], quay.io: [a--b.example]}}\nimages:\n- {name: a, repository: library/redis, tags: '8'}\n"), state.New()
	_, _, err := Objects(cfg, st, graph.Build(cfg, st), testOptions())
	require.EqualError(t, err, `factory.mirrors.docker.io[0]: "xn--bcher-kva.example/hub": Kargo does not support repository names with two dashes in a row (put a mirror first that Kargo can watch)`)

	cfg = load(t, "factory: {mirrors: {docker.io: [mirror.example.com/hub, xn--bcher-kva.example/hub]}}\nimages:\n- {name: a, repository: library/redis, tags: '8'}\n")
	_, omitted, err := Objects(cfg, st, graph.Build(cfg, st), testOptions())
	require.NoError(t, err)
	assert.Empty(t, omitted)
}

// TestEveryReference: whatever Docker accepts as a reference either has a Warehouse or is named.
func TestEveryReference(t *testing.T) {
	part := rapid.StringMatching(`[a-z0-9]{1,3}(([.]|_|__|-{1,3})[a-z0-9]{1,3}){0,3}`)
	host := rapid.OneOf(rapid.StringMatching(`[A-Za-z0-9]{1,3}(-{1,2}[A-Za-z0-9]{1,2})?\.[a-z]{2,3}(:[0-9]{1,4})?`), rapid.SampledFrom([]string{
		"localhost:5000", "[::1]:5000", "[2001:db8::1]", "127.0.0.1:5000", "docker.io", "REG.example.com",
	}))
	references := rapid.Custom(func(t *rapid.T) string {
		return host.Draw(t, "host") + "/" + strings.Join(rapid.SliceOfN(part, 1, 3).Draw(t, "path"), "/") + ":" + rapid.StringMatching(`[\w][\w.-]{0,10}`).Draw(t, "tag")
	}).Filter(func(text string) bool {
		_, docker := reference.ParseNormalizedNamed(text)
		_, ours := state.ParseRef(text) // else it does not get into state
		return docker == nil && ours == nil
	})
	rapid.Check(t, func(t *rapid.T) {
		ref, err := state.ParseRef(references.Draw(t, "reference"))
		require.NoError(t, err)
		f := fleet{Images: healthy, Uses: map[string][]string{"fine": {ref.String(), "docker.io/library/debian:12"}}}
		objects, omitted := partly(t, f)
		requireNoDangling(t, objects)
		watched := map[string]bool{}
		for _, o := range objects {
			if w, ok := o.(*Warehouse); ok {
				url := w.Spec.Subscriptions[0].Image.RepoURL
				require.Regexp(t, repoForm(), url)
				watched[url] = true
			}
		}
		require.NotEqual(t, watched[ref.Registry+"/"+ref.Repository], len(omitted) == 1, "%s: %v", ref, omitted)
		require.Equal(t, watched[ref.Registry+"/"+ref.Repository], Watchable(load(t, healthy), ref.Registry, ref.Repository))
	})
}

func TestStagesFitIntoAServer(t *testing.T) {
	img := strings.Replace(healthy, "w.yml}", "w.yml, inputs: {a: '"+strings.Repeat("{", maxTexts/7)+"'}}", 1)
	objects := fleet{Images: img, Uses: map[string][]string{"fine": {"docker.io/library/debian:12"}}}.objects(t)
	data, err := json.Marshal(find[*Stage](t, objects, "rebuild-fine"))
	require.NoError(t, err)
	assert.Less(t, len(data), 1<<20)
	assert.Equal(t, string(config.SemVer), find[*Warehouse](t, objects, "image-fine").Spec.Subscriptions[0].Image.ImageSelectionStrategy)
}
