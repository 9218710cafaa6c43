package loop_test

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/require"
)

// build is one build of a subject.
type build struct {
	*subject
	*fleet
	t       *testing.T
	context string // folder with the Dockerfile
	policy  string // source policy that the build has as its lock; empty without one
}

// ref returns the reference that the build is published as.
func (b *build) ref() string { return b.host + "/" + b.published() }

// publisher builds an image and publishes it.
type publisher struct {
	name string
	run  func(b *build)
}

// ctl runs buildctl build with arguments in addition to those of the subject.
func (b *build) ctl(platforms []string, args ...string) {
	b.t.Helper()
	_, err := servers.BuildKit.Ctl(b.t.Context(), nil, append(b.arguments(platforms), args...)...)
	require.NoError(b.t, err)
}

// arguments returns the arguments of buildctl for the subject.
func (b *build) arguments(platforms []string) []string {
	all := []string{
		"build", "--progress", "plain", "--frontend", "dockerfile.v0", "--local", "context=" + b.context, "--local", "dockerfile=" + b.context,
		"--opt", "platform=" + strings.Join(platforms, ","),
	}
	if b.file != "" {
		all = append(all, "--opt", "filename="+b.file)
	}
	if b.target != "" {
		all = append(all, "--opt", "target="+b.target)
	}
	for _, k := range sorted(b.args) {
		all = append(all, "--opt", "build-arg:"+k+"="+b.expand(b.args[k]))
	}
	for _, k := range sorted(b.contexts) {
		all = append(all, "--opt", "context:"+k+"="+b.expand(b.contexts[k]))
	}
	if b.policy != "" {
		all = append(all, "--source-policy-file", b.policy)
	}
	return all
}

// pushed builds with buildctl, whose image exporter pushes. attest are the parameters of the provenance; without them there is
// none.
func pushed(attest, attributes string) publisher {
	label := "`type=image"
	if attributes != "" {
		label += "," + strings.NewReplacer("BASE", "…", "DIGEST", "…").Replace(attributes)
	}
	return publisher{provenanceLabel(attest) + label + "`", func(b *build) {
		output := "type=image,push=true,name=" + b.ref()
		if attributes != "" {
			output += "," + b.annotate(attributes)
		}
		b.ctl(b.platforms, append(attested(attest), "--output", output)...)
	}}
}

func provenanceLabel(attest string) string {
	if attest == "" {
		return "no provenance, "
	}
	return "`provenance=" + attest + "`, "
}

func attested(attest string) []string {
	if attest == "" {
		return nil
	}
	return []string{"--opt", "attest:provenance=" + attest}
}

// annotate replaces BASE by the reference of the final base, and DIGEST by the digest that the build uses.
func (b *build) annotate(text string) string {
	return strings.NewReplacer("BASE", b.host+"/"+b.bases[0], "DIGEST", b.used(b.bases[0])).Replace(text)
}

// used returns the digest of a base that the build uses: that of the lock, else that of the tag.
func (b *build) used(base string) string {
	if b.policy == "" {
		return b.held[base]
	}
	data, err := os.ReadFile(b.policy)
	require.NoError(b.t, err)
	var policy struct {
		Rules []struct {
			Updates struct {
				Identifier string `json:"identifier"`
			} `json:"updates"`
		} `json:"rules"`
	}
	require.NoError(b.t, json.Unmarshal(data, &policy))
	for _, r := range policy.Rules {
		if _, digest, found := strings.Cut(r.Updates.Identifier, "/"+base+"@"); found {
			return digest
		}
	}
	require.FailNow(b.t, "the lock has no digest", "%s in %s", base, data)
	return ""
}

// exported builds with the OCI exporter; go-containerregistry pushes all that it wrote, or only the image of a platform.
func exported(attest string, alone bool) publisher {
	label := provenanceLabel(attest) + "`type=oci`, the index pushed by go-containerregistry"
	if alone {
		label = provenanceLabel(attest) + "`type=oci`, one image pushed by go-containerregistry"
	}
	return publisher{label, func(b *build) {
		dir := filepath.Join(b.t.TempDir(), "layout")
		b.ctl(b.platforms, append(attested(attest), "--output", "type=oci,tar=false,dest="+dir)...)
		root, err := layout.ImageIndexFromPath(dir)
		require.NoError(b.t, err)
		idx, img := only(b.t, root)
		ref, err := name.ParseReference(b.ref())
		require.NoError(b.t, err)
		if alone && idx != nil {
			_, img = only(b.t, idx)
			idx = nil
		}
		if idx != nil {
			require.NoError(b.t, remote.WriteIndex(ref, idx))
			return
		}
		require.NoError(b.t, remote.Write(ref, img))
	}}
}

// only returns the first entry of an index: another index or an image.
func only(t *testing.T, idx v1.ImageIndex) (v1.ImageIndex, v1.Image) {
	t.Helper()
	m, err := idx.IndexManifest()
	require.NoError(t, err)
	require.NotEmpty(t, m.Manifests)
	d := m.Manifests[0]
	if d.MediaType.IsIndex() {
		child, err := idx.ImageIndex(d.Digest)
		require.NoError(t, err)
		return child, nil
	}
	img, err := idx.Image(d.Digest)
	require.NoError(t, err)
	return nil, img
}

// saved builds with the Docker exporter; go-containerregistry pushes its archive, as a CI job does that builds and pushes apart.
func saved() publisher {
	return publisher{"no provenance, `type=docker`, the archive pushed by go-containerregistry", func(b *build) {
		file := filepath.Join(b.t.TempDir(), "image.tar")
		b.ctl(b.platforms, "--output", "type=docker,name="+b.ref()+",dest="+file)
		img, err := tarball.ImageFromPath(file, nil)
		require.NoError(b.t, err)
		ref, err := name.ParseReference(b.ref())
		require.NoError(b.t, err)
		require.NoError(b.t, remote.Write(ref, img))
	}}
}

// squashed builds an image and publishes it with all layers in one. keep is whether it keeps annotations of the base.
func squashed(keep bool) publisher {
	label := "`provenance=mode=max`, layers squashed"
	if keep {
		label += ", base annotations kept"
	}
	return publisher{label, func(b *build) {
		full := b.host + "/" + b.repository() + ":full"
		b.ctl(b.platforms, "--opt", "attest:provenance=mode=max", "--output", "type=image,push=true,name="+full)
		from, err := name.ParseReference(full)
		require.NoError(b.t, err)
		img, err := remote.Image(from)
		require.NoError(b.t, err)
		cfg, err := img.ConfigFile()
		require.NoError(b.t, err)
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return mutate.Extract(img), nil })
		require.NoError(b.t, err)
		flat, err := mutate.AppendLayers(empty.Image, layer)
		require.NoError(b.t, err)
		cfg = cfg.DeepCopy()
		flatConfig, err := flat.ConfigFile()
		require.NoError(b.t, err)
		cfg.RootFS, cfg.History = flatConfig.RootFS, nil
		flat, err = mutate.ConfigFile(flat, cfg)
		require.NoError(b.t, err)
		if keep {
			annotated, ok := mutate.Annotations(flat, map[string]string{
				"org.opencontainers.image.base.name": b.annotate("BASE"), "org.opencontainers.image.base.digest": b.annotate("DIGEST"),
			}).(v1.Image)
			require.True(b.t, ok)
			flat = annotated
		}
		to, err := name.ParseReference(b.ref())
		require.NoError(b.t, err)
		require.NoError(b.t, remote.Write(to, flat))
	}}
}

// cached builds with a cache in the registry, after all that BuildKit keeps itself is gone.
func cached(kind string) publisher {
	return publisher{"`provenance=mode=min`, cache from and to the registry (`type=" + kind + "`)", func(b *build) {
		_, err := servers.BuildKit.Ctl(b.t.Context(), nil, "prune", "--all")
		require.NoError(b.t, err)
		from, to := "type=registry,ref="+b.host+"/"+b.repository()+":cache", "type=registry,mode=max,ref="+b.host+"/"+b.repository()+":cache"
		if kind == "inline" {
			from, to = "type=registry,ref="+b.ref(), "type=inline"
		}
		b.ctl(b.platforms, "--opt", "attest:provenance=mode=min", "--import-cache", from, "--export-cache", to, "--output", "type=image,push=true,name="+b.ref())
	}}
}

// merged builds each platform alone and pushes it by digest; buildx makes an index of them.
func merged() publisher {
	return publisher{"`provenance=mode=max`, each platform pushed by digest, `buildx imagetools create`", func(b *build) {
		args := []string{"imagetools", "create", "--builder", builder, "-t", b.ref()}
		for _, platform := range b.platforms {
			file := filepath.Join(b.t.TempDir(), "metadata.json")
			b.ctl([]string{platform}, "--opt", "attest:provenance=mode=max", "--metadata-file", file,
				"--output", "type=image,push=true,push-by-digest=true,name="+b.host+"/"+b.repository())
			data, err := os.ReadFile(file)
			require.NoError(b.t, err)
			var meta struct {
				Digest string `json:"containerimage.digest"`
			}
			require.NoError(b.t, json.Unmarshal(data, &meta))
			args = append(args, b.host+"/"+b.repository()+"@"+meta.Digest)
		}
		b.x(args...)
	}}
}

// builder is the name of BuildKit in buildx.
const builder = "loop"

// x runs buildx as in a workflow that builds with the lock.
func (b *build) x(args ...string) {
	b.t.Helper()
	env := []string{"BUILDX_CONFIG=" + filepath.Join(servers.Dir, "buildx")}
	if b.policy != "" {
		env = append(env, "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY="+b.policy)
	}
	_, err := servers.BuildKit.X(b.t.Context(), env, args...)
	require.NoError(b.t, err)
}

// buildx builds with buildx and its defaults.
func buildx() publisher {
	return publisher{"`docker buildx build --push`", func(b *build) {
		args := []string{"build", "--builder", builder, "--push", "-t", b.ref(), "--platform", strings.Join(b.platforms, ",")}
		for _, k := range sorted(b.args) {
			args = append(args, "--build-arg", k+"="+b.expand(b.args[k]))
		}
		for _, k := range sorted(b.contexts) {
			args = append(args, "--build-context", k+"="+b.expand(b.contexts[k]))
		}
		b.x(append(args, b.context)...)
	}}
}

// bake builds with a bake file, which says the same as images.yaml.
func bake() publisher {
	return publisher{"`docker buildx bake --push`", func(b *build) {
		var hcl strings.Builder
		fmt.Fprintf(&hcl, "target \"app\" {\n  context = %q\n  tags = [%q]\n  platforms = %s\n", b.context, b.ref(), list(b.platforms))
		for _, m := range []struct {
			key    string
			values map[string]string
		}{{"args", b.args}, {"contexts", b.contexts}} {
			fmt.Fprintf(&hcl, "  %s = {\n", m.key)
			for _, k := range sorted(m.values) {
				fmt.Fprintf(&hcl, "    %q = %q\n", k, b.expand(m.values[k]))
			}
			hcl.WriteString("  }\n")
		}
		hcl.WriteString("}\n")
		file := filepath.Join(b.t.TempDir(), "docker-bake.hcl")
		require.NoError(b.t, os.WriteFile(file, []byte(hcl.String()), 0o644))
		b.x("bake", "--builder", builder, "--push", "--allow", "fs.read="+b.context, "-f", file, "app")
	}}
}

func list(items []string) string {
	data, _ := json.Marshal(items) // of strings
	return string(data)
}

func sorted(m map[string]string) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
