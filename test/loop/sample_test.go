package loop_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/imagefactory/imagefactory/test/loop/content"
)

// repository is the top of the repository, where the sample fleet is.
const repository = "../.."

// unbuildable are the images of the sample that nobody can build, and why.
var unbuildable = map[string]string{
	"erp-adapter": "its last FROM has a variable that nothing gives a value",
	"fraud-model": "its digests are made up",
}

// versions are the published versions of the images whose tags must have a form.
var versions = map[string]string{"label-gateway": "2.3.1", "carrier-bridge": "main-0a1b2c3d", "warehouse-scanner": "2026.01.31"}

// entry is an entry of the sample's images.yaml.
type entry struct {
	Name       string `json:"name"`
	Registry   string `json:"registry"`
	Repository string `json:"repository"`
	Tags       any    `json:"tags"`
	Delay      any    `json:"rebuildDelay"`
	Source     *struct {
		Repo          string            `json:"repo"`
		Dockerfile    string            `json:"dockerfile"`
		Target        string            `json:"target"`
		BuildArgs     map[string]string `json:"buildArgs"`
		BuildContexts map[string]string `json:"buildContexts"`
		Platforms     []string          `json:"platforms"`
	} `json:"source"`
}

// ref returns the reference that an image is published as.
func (e *entry) ref() string {
	tag := "1.0.0"
	if s, ok := e.Tags.(string); ok {
		tag = s
	} else if versions[e.Name] != "" {
		tag = versions[e.Name]
	}
	registry := e.Registry
	if registry == "" {
		registry = "ghcr.io"
	}
	return registry + "/" + e.Repository + ":" + tag
}

// sample is the sample fleet.
type sample struct {
	*factory
	entries []entry
	uses    map[string][]string // the references of each image, from want.json
	held    map[string]string   // digest that each upstream tag holds
	stubs   map[string]content.File
	builds  int
}

func newSample(t *testing.T) *sample {
	s := &sample{factory: newFactory(t), held: map[string]string{}}
	data, err := os.ReadFile(filepath.Join(repository, "images.yaml"))
	require.NoError(t, err)
	var file struct {
		Images []entry `json:"images"`
	}
	require.NoError(t, yaml.Unmarshal(data, &file))
	for _, e := range file.Images {
		if e.Source != nil && unbuildable[e.Name] == "" {
			s.entries = append(s.entries, e)
		}
	}
	lists := map[string][]string{}
	for host, mirror := range servers.Mirrored() {
		lists[host] = []string{mirror}
	}
	mirrors, err := json.Marshal(lists)
	require.NoError(t, err)
	s.write("images.yaml", strings.Replace(string(data), "\nfactory:\n", "\nfactory:\n  mirrors: "+string(mirrors)+"\n", 1))
	want, err := os.ReadFile(filepath.Join(repository, "testdata/fleet/want.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(want, &s.uses))
	s.stubs = content.Shell(shell, true)
	s.stubs["etc/passwd"], s.stubs["etc/group"] = accounts()
	for _, e := range s.entries {
		for _, stage := range s.stages(&e) {
			for _, c := range stage.Commands {
				if c, ok := c.(*instructions.CopyCommand); ok && c.From != "" {
					for _, path := range c.SourcePaths {
						if path = strings.Trim(path, "/"); path != "" {
							s.stubs[path+"/stub"] = content.Text(path)
						}
					}
				}
			}
		}
	}
	return s
}

// accounts returns the users and groups that the sample's Dockerfiles name.
func accounts() (passwd, group content.File) {
	var users, groups strings.Builder
	for i, name := range []string{"root", "node", "www-data", "web", "postgres", "payments", "nonroot", "nginx", "fraud", "depot", "ci", "app"} {
		fmt.Fprintf(&users, "%s:x:%d:%d::/:/bin/sh\n", name, i, i)
		fmt.Fprintf(&groups, "%s:x:%d:\n", name, i)
	}
	return content.Text(users.String()), content.Text(groups.String())
}

// checkout is the folder of an image's repository.
func (s *sample) checkout(e *entry) string {
	repo := e.Source.Repo
	return filepath.Join(repository, "testdata/fleet", repo[strings.LastIndexByte(repo, '/')+1:])
}

func (s *sample) stages(e *entry) []instructions.Stage {
	s.t.Helper()
	data, err := os.ReadFile(filepath.Join(s.checkout(e), e.dockerfile()))
	require.NoError(s.t, err)
	ast, err := parser.Parse(bytes.NewReader(data))
	require.NoError(s.t, err)
	stages, _, err := instructions.Parse(ast.AST, nil)
	require.NoError(s.t, err)
	return stages
}

func (e *entry) dockerfile() string {
	if e.Source.Dockerfile == "" {
		return "Dockerfile"
	}
	return e.Source.Dockerfile
}

// contextOf makes the build context of an image: its checkout with a stand-in for each file that its Dockerfile takes from there.
func (s *sample) contextOf(e *entry) string {
	s.t.Helper()
	dir := s.t.TempDir()
	require.NoError(s.t, os.CopyFS(dir, os.DirFS(s.checkout(e))))
	files := []string{"pyproject.toml", "uv.lock"} // of ONBUILD instructions
	for _, stage := range s.stages(e) {
		for _, c := range stage.Commands {
			files = append(files, ownFiles(c)...)
		}
	}
	for _, path := range files {
		file := filepath.Join(dir, path)
		if filepath.Ext(path) == "" {
			file = filepath.Join(file, "stub")
		}
		require.NoError(s.t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(s.t, os.WriteFile(file, []byte(fmt.Sprintln(path, s.builds)), 0o644))
	}
	return dir
}

// ownFiles returns the paths in the build context that an instruction uses.
func ownFiles(c instructions.Command) []string {
	switch c := c.(type) {
	case *instructions.CopyCommand:
		if c.From == "" {
			return slices.DeleteFunc(slices.Clone(c.SourcePaths), func(p string) bool { return p == "." })
		}
	case *instructions.RunCommand:
		var out []string
		if c.Expand(func(word string) (string, error) { return word, nil }) != nil { // it parses the mounts
			return nil
		}
		for _, m := range instructions.GetMounts(c) {
			if m.Type == instructions.MountTypeBind && m.From == "" {
				out = append(out, m.Source)
			}
		}
		return out
	}
	return nil
}

// upstream returns the references of images that others publish, sorted.
func (s *sample) upstream() []string {
	own := map[string]bool{}
	for _, e := range s.entries {
		own[e.ref()] = true
	}
	var out []string
	for _, refs := range s.uses {
		for _, ref := range refs {
			if !own[ref] && !strings.Contains(ref, "@") && !slices.Contains(out, ref) {
				out = append(out, ref)
			}
		}
	}
	slices.Sort(out)
	return append(out, "docker.io/library/redis:8.2.1") // enrolled, but no base
}

// push moves every upstream tag.
func (s *sample) push(version string) {
	s.t.Helper()
	for _, ref := range s.upstream() {
		img := content.Image{Files: map[string]content.File{}, Platforms: []string{"linux/amd64", "linux/arm64", "linux/arm/v7"}}
		for path, f := range s.stubs {
			img.Files[path] = f
		}
		if strings.HasPrefix(ref, "docker.io/docker/dockerfile:") {
			img = content.Image{Files: map[string]content.File{"bin/dockerfile-frontend": frontendProgram}, Entrypoint: []string{"/bin/dockerfile-frontend"}, Platforms: both}
		}
		img.Files["etc/version"] = content.Text(ref + " " + version + "\n")
		digest, err := content.Push(servers.Docker.Host+"/"+ref, img)
		require.NoError(s.t, err)
		s.held[ref] = digest
	}
}

// build builds an image with the settings of images.yaml, and returns the references that BuildKit says it used, with digests.
func (s *sample) build(e *entry, locked bool) map[string]string {
	s.t.Helper()
	s.builds++
	dir, published := s.contextOf(e), servers.Docker.Host+"/"+e.ref()
	args := []string{
		"build", "--progress", "plain", "--frontend", "dockerfile.v0", "--local", "context=" + dir, "--local", "dockerfile=" + dir, "--opt", "filename=" + e.dockerfile(),
		"--opt", "attest:provenance=mode=max", "--opt", "label:build=" + strconv.Itoa(s.builds), "--output", "type=image,push=true,name=" + published,
	}
	if len(e.Source.Platforms) > 0 {
		args = append(args, "--opt", "platform="+strings.Join(e.Source.Platforms, ","))
	}
	if e.Source.Target != "" {
		args = append(args, "--opt", "target="+e.Source.Target)
	}
	for _, k := range sorted(e.Source.BuildArgs) {
		args = append(args, "--opt", "build-arg:"+k+"="+e.Source.BuildArgs[k])
	}
	for _, k := range sorted(e.Source.BuildContexts) {
		value := e.Source.BuildContexts[k]
		if strings.HasPrefix(value, "https://") { // a repository with files that nobody needs here
			tokens := s.t.TempDir()
			require.NoError(s.t, os.MkdirAll(filepath.Join(tokens, "tokens"), 0o755))
			args, value = append(args, "--local", k+"="+tokens), "local:"+k
		}
		args = append(args, "--opt", "context:"+k+"="+value)
	}
	if locked {
		args = append(args, "--source-policy-file", s.write("policies/"+e.Name+".json", s.run("pin", e.Name, "-o", "source-policy")))
	}
	_, err := servers.BuildKit.Ctl(s.t.Context(), nil, args...)
	require.NoError(s.t, err)
	return materials(s.t, published)
}

// materials returns the images in the attestations of a published image: reference to digest.
func materials(t *testing.T, published string, options ...remote.Option) map[string]string {
	t.Helper()
	ref, err := name.ParseReference(published)
	require.NoError(t, err)
	idx, err := remote.Index(ref, options...)
	require.NoError(t, err)
	m, err := idx.IndexManifest()
	require.NoError(t, err)
	out := map[string]string{}
	for _, d := range m.Manifests {
		if d.Annotations["vnd.docker.reference.type"] != "attestation-manifest" {
			continue
		}
		img, err := idx.Image(d.Digest)
		require.NoError(t, err)
		layers, err := img.Layers()
		require.NoError(t, err)
		for _, layer := range layers {
			r, err := layer.Compressed()
			require.NoError(t, err)
			var statement struct {
				Predicate struct {
					BuildDefinition struct {
						ResolvedDependencies []struct {
							URI    string            `json:"uri"`
							Digest map[string]string `json:"digest"`
						} `json:"resolvedDependencies"`
					} `json:"buildDefinition"`
				} `json:"predicate"`
			}
			require.NoError(t, json.NewDecoder(r).Decode(&statement))
			for _, d := range statement.Predicate.BuildDefinition.ResolvedDependencies {
				if image, found := strings.CutPrefix(d.URI, "pkg:docker/"); found {
					out[reference(image)] = "sha256:" + d.Digest["sha256"]
				}
			}
		}
	}
	return out
}

// reference returns the full reference of the rest of a package URL, such as node@22?platform=….
func reference(image string) string {
	image, _, _ = strings.Cut(image, "?")
	ref, err := name.ParseReference(strings.Replace(image, "@", ":", 1), name.WithDefaultRegistry("docker.io"))
	if err != nil {
		return image
	}
	return strings.Replace(ref.Name(), "index.docker.io", "docker.io", 1)
}

// TestSample builds the images of the sample fleet twice: without the lock, and with it after every upstream tag has moved. Each
// time BuildKit attests the references that want.json names, and imagefactory says the same.
func TestSample(t *testing.T) {
	s := newSample(t)
	sources, err := filepath.Abs(filepath.Join(repository, "testdata/fleet"))
	require.NoError(t, err)
	var published []string
	analyze := func() { s.run(append([]string{"analyze", "--source-dir", sources}, published...)...) }
	s.push("1")
	first := clone(s.held)
	for _, locked := range []bool{false, true} {
		if locked {
			s.later(day)
			s.push("2")
			analyze()
			s.later(time.Hour)
		}
		for todo := s.entries; len(todo) > 0; analyze() {
			var later []entry
			for _, e := range todo {
				if slices.ContainsFunc(todo, func(other entry) bool { return other.Name != e.Name && slices.Contains(s.uses[e.Name], other.ref()) }) {
					later = append(later, e) // its parent comes first
					continue
				}
				s.check(&e, s.build(&e, locked), first)
				if !locked {
					published = append(published, e.Name)
				}
			}
			require.Less(t, len(later), len(todo), "a cycle")
			todo = later
		}
		s.checkEvidence(first)
	}
	require.Empty(t, s.unripe())
}

// check compares the images that BuildKit attested with want.json, and their digests with those that the tags held at first.
func (s *sample) check(e *entry, attested, first map[string]string) {
	s.t.Helper()
	got := sorted(attested)
	assert.Equal(s.t, s.uses[e.Name], got, e.Name)
	wanted := s.wanted(e, first)
	for _, ref := range got {
		if want := wanted[ref]; want != "" && !strings.Contains(ref, "docker/dockerfile") {
			assert.Equal(s.t, want, attested[ref], "%s: %s", e.Name, ref)
		}
	}
}

// wanted returns the digests that a build of an image should use: those that the tags held at first, unless it waits for nothing.
func (s *sample) wanted(e *entry, first map[string]string) map[string]string {
	if fmt.Sprint(e.Delay) == "0" {
		return s.held
	}
	return first
}

// checkEvidence checks that imagefactory knows the digest of every base from the attestation.
func (s *sample) checkEvidence(first map[string]string) {
	s.t.Helper()
	for _, e := range s.entries {
		var want, got []string
		wanted := s.wanted(&e, first)
		for _, ref := range s.uses[e.Name] {
			if !strings.Contains(ref, "docker/dockerfile") {
				want = append(want, ref)
			}
		}
		for _, b := range s.describe(e.Name).Bases {
			got = append(got, b.Ref)
			assert.Equal(s.t, "provenance", b.BuiltOn.Evidence, "%s: %s", e.Name, b.Ref)
			if digest := wanted[b.Ref]; digest != "" {
				assert.Equal(s.t, digest, b.BuiltOn.Digest, "%s: %s", e.Name, b.Ref)
			}
		}
		assert.ElementsMatch(s.t, want, got, e.Name)
	}
}
