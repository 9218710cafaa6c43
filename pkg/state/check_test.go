package state_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/imagefactory/imagefactory/pkg/internal/hostname"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// oddStrings are texts that a parser of YAML may take for something else, or refuse.
var oddStrings = []string{
	"", " ", "a: b", "- a", "#", "null", "~", "true", "0x1f", "1e3", "2026-01-01", "<<", "*a", "&a", "!t", "%", "@", "`", "'", `"`, "|", ">", "?", "---", "...",
	"\x00", "\x1b[31m", "\x7f", "\u0085", "\u00a0", "\u2028", "\u2029", "\ufeff", "\ufffd", "\ufffe", "\U0001f600", "\r\n", "\n", "\ta\n b\n", "a\n\n", " a",
	"docker.io/library/node:22", strings.Repeat("x ", 3000), strings.Repeat("y", 5000), "docker.io/library/node:22@sha512:" + strings.Repeat("a", 128), "A B", "node", "::",
	"sha256:" + strings.Repeat("a", 64), "sha256:" + strings.Repeat("A", 64), "sha512:" + strings.Repeat("a", 128), "linux/amd64", "r-1", "requested", "assumed",
}

func anyText() *rapid.Generator[string] {
	return rapid.OneOf(rapid.SampledFrom(oddStrings), rapid.String(), rapid.Custom(func(t *rapid.T) string {
		if rapid.IntRange(0, 30).Draw(t, "bytes") < 30 { // no text in another encoding can be written
			return rapid.StringN(0, 40, -1).Draw(t, "text")
		}
		return string(rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "bytes"))
	}))
}

func anyTime() *rapid.Generator[state.Time] {
	return rapid.Map(rapid.Int64Range(-1<<40, 1<<40), func(s int64) state.Time { return state.At(time.Unix(s, 0)) })
}

// either draws from the first most of the time, so that most of what is drawn can be written.
func either[T any](most, few *rapid.Generator[T]) *rapid.Generator[T] {
	return rapid.Custom(func(t *rapid.T) T {
		if rapid.IntRange(0, 30).Draw(t, "odd") == 30 {
			return few.Draw(t, "few")
		}
		return most.Draw(t, "most")
	})
}

func anyDigest() *rapid.Generator[string] {
	return either(rapid.Map(rapid.Byte(), func(b byte) string { return fmt.Sprintf("sha256:%064x", b) }), anyText())
}

func anyRef() *rapid.Generator[string] {
	return either(rapid.StringMatching(`docker\.io/library/[a-z]{1,3}:[a-zA-Z0-9]{1,3}`), anyText())
}

func anySnapshot(t *rapid.T) state.Snapshot {
	s := state.Snapshot{Digest: anyDigest().Draw(t, "digest")}
	if rapid.Bool().Draw(t, "platforms") {
		s.Platforms = rapid.MapOfN(either(rapid.SampledFrom([]string{"linux/amd64", "linux/arm64/v8", "windows/amd64:10.0"}), anyText()), anyDigest(), 0, 3).Draw(t, "platforms")
	}
	return s
}

func anyExtra(t *rapid.T) state.Extra {
	if rapid.IntRange(0, 4).Draw(t, "extra") > 0 {
		return nil
	}
	value := rapid.OneOf(rapid.Map(anyText(), func(s string) any { return s }), rapid.Just[any](map[string]any{"a": []any{1, nil, 1.5}}))
	return rapid.MapOfN(rapid.Map(anyText(), func(s string) string { return "x" + s }), value, 1, 2).Draw(t, "extra")
}

func anyCandidate(t *rapid.T) state.Candidate {
	return state.Candidate{
		Snapshot: anySnapshot(t), FirstSeen: anyTime().Draw(t, "firstSeen"), Withdrawn: anyTime().Draw(t, "withdrawn"),
		Returned: anyTime().Draw(t, "returned"), Reason: anyText().Draw(t, "reason"), Extra: anyExtra(t),
	}
}

func anyBase(t *rapid.T) *state.Base {
	r, err := state.ParseRef(rapid.StringMatching(`[a-z]{1,8}:[a-zA-Z0-9._-]{1,8}`).Draw(t, "ref"))
	if err != nil {
		r = state.Ref{Registry: anyText().Draw(t, "registry"), Repository: anyText().Draw(t, "repository"), Tag: anyText().Draw(t, "tag")}
	}
	b := &state.Base{Name: state.BaseName(r), Registry: r.Registry, Repository: r.Repository, Tag: r.Tag, Extra: anyExtra(t), Archived: anyText().Draw(t, "archived")}
	b.CurrentDigest, b.LastUpdated = anyDigest().Draw(t, "current"), anyTime().Draw(t, "updated")
	for range rapid.IntRange(0, 3).Draw(t, "candidates") {
		b.Candidates = append(b.Candidates, anyCandidate(t))
	}
	if rapid.Bool().Draw(t, "baseline") {
		c := anyCandidate(t)
		b.Baseline = &c
	}
	return b
}

// respelled returns a repository as images.yaml gives it: with its host normalised.
func respelled(repository string) string {
	if host, path, ok := strings.Cut(repository, "/"); ok {
		host, path = hostname.Repository(host, path)
		return host + "/" + path
	}
	return repository
}

func anyImage(t *rapid.T) *state.Image {
	text := func(what string) string { return anyText().Draw(t, what) }
	i := &state.Image{
		Name: either(rapid.StringMatching(`[a-z][a-z0-9-]{0,5}[a-z0-9]`), anyText()).Draw(t, "name"), Repository: respelled(text("repository")), Extra: anyExtra(t),
		CurrentVersion: text("version"), CurrentDigest: anyDigest().Draw(t, "current"), LastBuilt: anyTime().Draw(t, "built"),
	}
	if rapid.Bool().Draw(t, "dockerfile") {
		i.Dockerfile = &state.Dockerfile{Repo: text("repo"), Path: text("path"), Commit: text("commit"), Digest: text("content"), Extra: anyExtra(t)}
	}
	for range rapid.IntRange(0, 3).Draw(t, "bases") {
		i.BaseImages = append(i.BaseImages, state.BaseUse{Ref: anyRef().Draw(t, "ref"), Extra: anyExtra(t), Uses: []state.Use{{
			Kind: text("kind"), Stage: text("stage"), Line: either(rapid.IntRange(0, 9), rapid.Int()).Draw(t, "line"), Platform: text("platform"),
		}}})
		i.BuiltOn = append(i.BuiltOn, state.BuiltOn{Ref: text("on"), Snapshot: anySnapshot(t), Evidence: either(rapid.Just(state.Assumed), rapid.Map(anyText(), func(s string) state.Evidence { return state.Evidence(s) })).Draw(t, "evidence")})
		i.Published = append(i.Published, state.Published{Tag: text("published"), Snapshot: anySnapshot(t), Since: anyTime().Draw(t, "since")})
		i.Unresolved = append(i.Unresolved, state.Missing{Text: text("missing"), Line: 1, Variables: []string{text("variable")}})
	}
	if rapid.Bool().Draw(t, "rebuild") {
		i.Rebuild = &state.Rebuild{
			ID: text("id"), Reason: text("reason"), Status: either(rapid.Just(state.Running), rapid.Just(state.Requested)).Draw(t, "status"), Message: text("message"), Run: text("run"),
			RunURL: text("url"), RequestedAt: anyTime().Draw(t, "requested"), Bases: []state.Target{{Ref: text("target"), Snapshot: anySnapshot(t)}},
		}
		i.RebuildHistory = append(i.RebuildHistory, *i.Rebuild)
	}
	return i
}

// readBack writes what may be written and reads it again, as commands do. It returns how much was not to be written.
func readBack(t require.TestingT, st *state.State) (refused int) {
	after, not := st.ChangedSince(nil)
	files := fstest.MapFS{}
	for p, data := range after {
		files[p] = &fstest.MapFile{Data: data}
	}
	loaded, err := state.Load(files, "state")
	require.NoError(t, err)
	require.Equal(t, len(st.Images)+len(st.Bases), len(loaded.Images)+len(loaded.Bases)+len(not), "everything is written, or there is a reason")
	for _, i := range loaded.Images {
		require.Empty(t, i.Faults())
	}
	for _, b := range loaded.Bases {
		require.Empty(t, b.Faults())
	}
	again, refusedNow := loaded.ChangedSince(after)
	require.Empty(t, refusedNow)
	require.Empty(t, again, "the same facts give the same bytes")
	return len(not)
}

func whatIsWrittenIsReadBack(t *rapid.T) {
	all, accepted := state.New(), state.New()
	for range rapid.IntRange(1, 3).Draw(t, "items") {
		img, base := anyImage(t), anyBase(t)
		all.Images[img.Name], all.Bases[base.Name] = img, base
	}
	for name, img := range all.Images {
		if img.Writable() == nil {
			accepted.Images[name] = img
		}
	}
	for name, base := range all.Bases {
		if base.Writable() == nil {
			accepted.Bases[name] = base
		}
	}
	require.Zero(t, readBack(t, accepted), "what a change was accepted for is written")
	readBack(t, all)
}

func TestWrittenFilesCanBeRead(t *testing.T) { rapid.Check(t, whatIsWrittenIsReadBack) }

func FuzzWhatIsWrittenIsReadBack(f *testing.F) { f.Fuzz(rapid.MakeFuzz(whatIsWrittenIsReadBack)) }

// FuzzLoad reads what anybody wrote into a state file: what is read can be written, and read again.
func FuzzLoad(f *testing.F) {
	for _, text := range []string{
		"name: web\nrepository: ghcr.io/acme/web\nfuture: {1: x}\n", "name: web\nfuture: 2026-01-01\n", "name: web\nfuture: !!binary /w==\n",
		"name: web\nfuture: .nan\n", "name: web\nfuture: &a [*a]\n", "name: web\n<<: {name: x, y: z}\n", "name: web\nname: web\n", "name: web\nx: 1\nx: 2\n",
		"name: web\nlastBuilt: 0000-01-01T00:00:00+14:00\n", "name: web\nlastBuilt: 9999-12-31T23:59:59-14:00\n", "name: web\n---\nname: api\n", "name: web\n? [a]\n: b\n",
		"name: web\ndigests: [{digest: sha256:" + strings.Repeat("1", 64) + ", severity: high, scanner: trivy, findings: [CVE-1 high a 1 - own - x], others: {low: 2}}]\n",
		"name: web\nbaseImages: [{ref: 'docker.io/library/node:22', uses: [{kind: from, line: 1, y: null}]}]\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		st, err := state.Load(fstest.MapFS{"images/web.yaml": {Data: text}, "base-images/node-22.yaml": {Data: text}, "image-scans/web.yaml": {Data: text}}, "state")
		if err != nil || len(st.Images) > 0 && len(st.Images["web"].Faults()) > 0 || len(st.ImageScans) > 0 && len(st.ImageScans["web"].Faults()) > 0 {
			return
		}
		before, err := st.Encode()
		require.NoError(t, err)
		for p, data := range before {
			require.NoError(t, state.Check(p, data), "%s", data)
		}
	})
}

func TestOversizedInputIsRejected(t *testing.T) {
	refs := func(n int, form string) (out []state.BaseUse) {
		for i := range n {
			out = append(out, state.BaseUse{Ref: fmt.Sprintf(form, i), Uses: []state.Use{{Kind: "from", Line: i + 1}}})
		}
		return out
	}
	platforms := func(n int, name string) state.Snapshot {
		s := state.Snapshot{Digest: digest('a'), Platforms: state.Platforms{}}
		for i := range n {
			s.Platforms[fmt.Sprintf("%s%d", name, i)] = digest('b')
		}
		return s
	}
	for name, test := range map[string]struct {
		change func(*state.Image)
		want   string
	}{
		"many references":  {func(i *state.Image) { i.BaseImages = refs(501, "quay.io/n%d/x:1") }, "uses 501 images (limit 500)"},
		"many unresolved":  {func(i *state.Image) { i.Unresolved = make([]state.Missing, 501) }, "501 in the Dockerfile cannot be resolved"},
		"a long reference": {func(i *state.Image) { i.Unresolved = []state.Missing{{Text: strings.Repeat("a", 1<<20)}} }, "state file too large: 1025 KiB (limit 1024 KiB)"},
		"an unknown algorithm": {func(i *state.Image) {
			i.BaseImages = refs(1, "docker.io/library/n%d:1@sha512:"+strings.Repeat("a", 128))
		}, "only sha256 is supported"},
		"not normalised": {func(i *state.Image) { i.BaseImages = refs(1, "node%d") }, `want "docker.io/library/node0:latest"`},
		"many platforms": {func(i *state.Image) {
			i.BuiltOn = []state.BuiltOn{{Ref: "a", Snapshot: platforms(65, "os/"), Evidence: state.Assumed}}
		}, "has 65 (limit 64)"},
		"a long platform": {func(i *state.Image) {
			i.Published = []state.Published{{Tag: "a", Snapshot: platforms(1, strings.Repeat("a", 200))}}
		}, "invalid platform"},
		"a digest": {func(i *state.Image) {
			i.Published = []state.Published{{Tag: "a", Snapshot: state.Snapshot{Digest: "sha512:" + strings.Repeat("a", 128)}}}
		}, "invalid digest"},
		"no text":        {func(i *state.Image) { i.CurrentVersion = "\xff" }, "invalid UTF-8"},
		"a name":         {func(i *state.Image) { i.Name = "../web" }, "invalid name of a state file"},
		"an unknown key": {func(i *state.Image) { i.Extra = state.Extra{"x": map[any]any{1: 2}} }, "unsupported map key"},
	} {
		t.Run(name, func(t *testing.T) {
			i := &state.Image{Name: "web", Repository: "ghcr.io/acme/web"}
			require.NoError(t, i.Writable())
			test.change(i)
			require.ErrorContains(t, i.Writable(), test.want)
		})
	}
	b := &state.Base{Name: "node-22", Registry: "docker.io", Repository: "library/node", Tag: "22"}
	b.Observe(platforms(64, "os/"), t0)
	require.NoError(t, b.Writable())
	b.Observe(platforms(65, "os/"), hour(1))
	require.NoError(t, b.Writable(), "a digest's platforms never change")
	other := platforms(65, "os/")
	other.Digest = digest('c')
	b.Observe(other, hour(1))
	require.ErrorContains(t, b.Writable(), "too many platforms")
}

// One file that must not be written does not keep the others from it.
func TestForbiddenFileIsLeftOut(t *testing.T) {
	st := sample(t0)
	before, err := st.Encode()
	require.NoError(t, err)
	st.Images["web"].CurrentDigest = "sha512:0"
	st.Bases["node-22-slim"].Observe(snap('e'), hour(5))
	after, refused := st.ChangedSince(before)
	assert.Contains(t, refused, "images/web.yaml")
	assert.Len(t, refused, 1)
	assert.Contains(t, after, "base-images/node-22-slim.yaml")
	assert.Len(t, after, 1, "what is refused is not removed either")
	delete(st.Images, "web")
	after, refused = st.ChangedSince(before)
	assert.Empty(t, refused)
	require.Contains(t, after, "images/web.yaml")
	assert.Nil(t, after["images/web.yaml"], "what is gone is")
}

func TestOldRebuildsAreDroppedFirst(t *testing.T) {
	i := &state.Image{Name: "web"}
	for n := range 10 {
		r := state.Rebuild{ID: fmt.Sprintf("r-%d", n), Status: state.Succeeded}
		for k := range 300 {
			r.Bases = append(r.Bases, state.Target{Ref: fmt.Sprintf("quay.io/n%d/%s:1", k, strings.Repeat("x", 200)), Snapshot: snap('a')})
		}
		i.RebuildHistory = append(i.RebuildHistory, r)
	}
	require.NoError(t, i.Writable())
	st := state.New()
	st.Images["web"] = i
	files, err := st.Encode()
	require.NoError(t, err)
	assert.LessOrEqual(t, len(files["images/web.yaml"]), 1<<20)
	assert.Contains(t, string(files["images/web.yaml"]), "r-9", "the newest stay")
	readBack(t, st)
}

func TestTextsAreBounded(t *testing.T) {
	long := strings.Repeat("é\n", 1<<20)
	got := state.Text(long)
	assert.Equal(t, strings.Repeat("é ", state.MaxText/2)+"...", got)
	assert.Equal(t, got, state.Text(got))
	assert.Equal(t, "a\ufffd", state.Text("a\xff"))
	assert.Equal(t, "as it is", state.Text("as it is"))

	var c state.Candidate
	c.Hold(long, t0)
	assert.Equal(t, got, c.Reason)
	c.Release(long, t0)
	assert.Equal(t, got, c.Reason)
	var i state.Image
	i.Request(state.Rebuild{Reason: long})
	assert.Equal(t, got, i.Rebuild.Reason)
	i.Rebuild.Finish(state.Failed, long, t0)
	assert.Equal(t, got, i.Rebuild.Message)
	i.Reset(long)
	assert.LessOrEqual(t, len([]rune(i.Rebuild.Message)), state.MaxText+len("..."))
}

// Publishers can give an image any date.
func TestTimesThatCannotBeWritten(t *testing.T) {
	for _, text := range []string{"0000-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"} {
		at, err := time.Parse(time.RFC3339, text)
		require.NoError(t, err)
		assert.True(t, state.At(at).IsZero(), text)
	}
	assert.False(t, state.At(time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)).IsZero())
}
