package cli_test

import (
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/test/registrytest"
)

// answers is a fleet of one image in a folder, "app" on os/base:1 of the registry, with its registries.
type answers struct {
	t        *testing.T
	dir      string
	registry *registrytest.Registry // of the image
	bases    *registrytest.Registry
}

// newAnswers enrolls the image with additional keys in its entry.
func newAnswers(t *testing.T, keys string) *answers {
	a := &answers{t: t, dir: t.TempDir(), registry: registrytest.New(t), bases: registrytest.New(t)}
	writeFiles(t, a.dir, map[string]string{
		"images.yaml": fmt.Sprintf("factory: {state: {url: https://git.example.com/acme/state.git}}\nimages:\n"+
			"- {name: app, registry: %q, repository: team/app, rebuildDelay: 0%s, source: {provider: github, repo: acme/app, workflow: b.yml}}\n", a.registry.Host, keys),
		"src/app/Dockerfile": "FROM " + a.bases.Host + "/os/base:1\nRUN x\n",
	})
	a.bases.Base("os/base:1", "1")
	return a
}

func (a *answers) run(args ...string) result {
	a.t.Helper()
	return run(a.t, a.dir, args...)
}

func (a *answers) analyze() result {
	a.t.Helper()
	return a.run("analyze", "--source-dir", filepath.Join(a.dir, "src"))
}

func (a *answers) ok(args ...string) result {
	a.t.Helper()
	got := a.run(args...)
	require.Zero(a.t, got.code, "%v: %s", args, got.err)
	return got
}

func (a *answers) app() *state.Image {
	a.t.Helper()
	text, err := os.ReadFile(filepath.Join(a.dir, "state/images/app.yaml"))
	require.NoError(a.t, err)
	var img state.Image
	require.NoError(a.t, decodeState(string(text), &img))
	return &img
}

// TestInvalidResponseStartsNothing: only a response of the registry itself makes an image count as never published.
func TestInvalidResponseStartsNothing(t *testing.T) {
	say := func(status int, contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		ping   bool // the ping gets the same response
		due    bool
	}{
		"its own word":            {say(404, "application/json", `{"errors":[{"code":"NAME_UNKNOWN"}]}`), false, true},
		"no tags":                 {say(200, "application/json", `{"name":"team/app","tags":[]}`), false, true},
		"a default backend":       {say(404, "text/plain", "default backend - 404"), false, false},
		"a default backend, all":  {say(404, "text/plain", "default backend - 404"), true, false},
		"a login page":            {say(200, "text/html", "<html>sign in</html>"), false, false},
		"a login page, all":       {say(200, "text/html", "<html>sign in</html>"), true, false},
		"a page that is missing":  {say(404, "text/html", "<html>missing</html>"), false, false},
		"JSON of something else":  {say(404, "application/json", `{"message":"no Route matched"}`), false, false},
		"the list of another one": {say(200, "application/json", `{"name":"other/app","tags":[]}`), false, false},
		"no list":                 {say(200, "application/json", `{}`), false, false},
		"denied":                  {say(403, "application/json", `{"errors":[{"code":"DENIED"}]}`), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAnswers(t, "")
			a.registry.Break(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/v2/" && !c.ping {
					return false
				}
				c.answer(w, r)
				return true
			})
			got := a.analyze()
			status, dry := a.ok("status"), a.ok("promote", "--dry-run")
			if c.due {
				assert.Zero(t, got.code, got.err)
				assert.Contains(t, status.out, "never published")
				assert.Contains(t, dry.out+dry.err, "1 rebuild would be started")
				return
			}
			assert.Equal(t, 1, got.code, got.err)
			assert.True(t, a.app().Unpublished.IsZero())
			assert.NotContains(t, status.out, "never published")
			assert.NotContains(t, status.out, "due")
			assert.Contains(t, dry.out+dry.err, "0 rebuilds would be started")
		})
	}
}

// TestWrongResponseIsNotTrustedTwice: before a rebuild is started, the registry is asked again whether the image is unpublished.
func TestWrongResponseIsNotTrustedTwice(t *testing.T) {
	s := newSite(t)
	runs := s.forge.Workflows("acme/web")
	runs.Now = func() time.Time { return s.now }
	s.registry.Base("library/node:22", "1")
	s.ok("analyze")
	require.False(t, s.image("web").Unpublished.IsZero())
	s.registry.Break(func(w http.ResponseWriter, r *http.Request) bool {
		ours := strings.HasPrefix(r.URL.Path, "/v2/acme/")
		if ours {
			http.Error(w, "default backend - 404", http.StatusNotFound)
		}
		return ours
	})
	got := s.do("promote", "--direct")
	assert.Equal(t, 1, got.code)
	assert.Contains(t, got.err, "not found (404)")
	assert.Empty(t, runs.Runs())
	s.registry.Break(nil)
	s.ok("promote", "--direct")
	assert.Len(t, runs.Runs(), 1)
}

// TestNoTagMatchesTheRule: if no tag passes `tags`, that is a finding and not a reason to build.
func TestNoTagMatchesTheRule(t *testing.T) {
	a := newAnswers(t, `, tags: {strategy: SemVer, constraint: "^1", allow: ["-alpine$"]}`)
	base := a.bases.Base("os/base:1", "1")
	require.Zero(t, a.analyze().code, "nothing is there yet")
	require.False(t, a.app().Unpublished.IsZero())

	a.registry.Publish("team/app:1.2.3-alpine", registrytest.Built{Version: "1", From: &base})
	a.registry.Publish("team/app:1.3.0-alpine", registrytest.Built{Version: "2", From: &base})
	got := a.analyze()
	assert.Equal(t, 1, got.code)
	assert.Contains(t, got.err, "published: 1.3.0-alpine, 1.2.3-alpine")
	assert.True(t, a.app().Unpublished.IsZero(), "it is known better now")
	status := a.ok("status")
	assert.Contains(t, status.out, "unknown")
	assert.Contains(t, status.out, "no published tag counts (1.3.0-alpine, 1.2.3-alpine)")
	dry := a.ok("promote", "--dry-run")
	assert.Contains(t, dry.out+dry.err, "0 rebuilds would be started")
	checked := a.ok("validate")
	assert.Contains(t, checked.out+checked.err, "IF024")

	text, err := os.ReadFile(filepath.Join(a.dir, "images.yaml"))
	require.NoError(t, err)
	writeFiles(t, a.dir, map[string]string{"images.yaml": strings.Replace(string(text), `"^1"`, `">=1.0.0-0"`, 1)})
	got = a.analyze()
	require.Zero(t, got.code, got.err)
	assert.Equal(t, "1.3.0-alpine", a.app().CurrentVersion)
	assert.Empty(t, a.app().Uncounted)
}

// TestChartIsNotAnImage: a chart does not count as a version and does not end a rebuild.
func TestChartIsNotAnImage(t *testing.T) {
	s := newSite(t)
	runs := s.forge.Workflows("acme/web")
	runs.Now = func() time.Time { return s.now }
	node := s.registry.Base("library/node:22", "1")
	s.registry.Publish("acme/web:1.0.0", registrytest.Built{Version: "1", From: &node, Provenance: true})
	s.registry.Artifact("acme/web:1.1.0", "application/vnd.cncf.helm.config.v1+json")
	got := s.ok("analyze")
	assert.Contains(t, got.err, "acme/web:1.1.0")
	assert.Contains(t, got.err, "helm")
	before := s.image("web")
	assert.Equal(t, "1.0.0", before.CurrentVersion)

	s.registry.Base("library/node:22", "2")
	s.ok("analyze")
	s.now = s.now.Add(week + time.Hour)
	s.ok("promote", "--direct")
	require.Equal(t, state.Running, s.image("web").Rebuild.Status)
	s.registry.Artifact("acme/web:1.2.0", "application/vnd.oci.empty.v1+json")
	s.ok("promote", "--direct")
	after := s.image("web")
	assert.Equal(t, state.Running, after.Rebuild.Status)
	assert.Equal(t, before.CurrentDigest, after.CurrentDigest)
}

// TestDatesWithLeadingZeros: dates with leading zeros are not taken for semantic versions.
func TestDatesWithLeadingZeros(t *testing.T) {
	a := newAnswers(t, "")
	for _, day := range []string{"2025.12.30", "2025.12.31", "2026.01.15", "2026.02.03"} {
		at, err := time.Parse("2006.01.02", day)
		require.NoError(t, err)
		a.registry.Dated("team/app:"+day, at)
	}
	got := a.analyze()
	require.Zero(t, got.code, got.err)
	assert.Equal(t, "2026.02.03", a.app().CurrentVersion)
	assert.Equal(t, "Lexical", a.app().Tags.Strategy)
	a.registry.Dated("team/app:main", time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC))
	got = a.analyze()
	require.Zero(t, got.code, got.err)
	assert.NotEqual(t, "Lexical", a.app().Tags.Strategy, "the alphabet has no order for it")
}

// TestEvidenceAgainstATagRuleIsReported: analyze and validate report the tags that speak against the rule.
func TestEvidenceAgainstATagRuleIsReported(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
	for name, c := range map[string]struct {
		tags       []string // built on consecutive days
		want, says string
	}{
		"builds":   {[]string{"1.0.0", "build-9", "build-10"}, "build-10", "strategy NewestBuild chooses the published tag build-10 and passes over 1.0.0"},
		"releases": {[]string{"1.0.0", "1.0.1", "1.1.0", "nightly"}, "1.1.0", "strategy SemVer chooses the published tag 1.1.0 and passes over nightly, whose image was built later"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAnswers(t, "")
			for i, tag := range c.tags {
				a.registry.Dated("team/app:"+tag, day(i+1))
			}
			for range 2 { // decided once, reported each time
				got := a.analyze()
				require.Zero(t, got.code, got.err)
				assert.Contains(t, got.err, c.says)
				assert.Equal(t, c.want, a.app().CurrentVersion)
				checked := a.ok("validate")
				assert.Contains(t, checked.out+checked.err, "IF023")
				assert.Contains(t, checked.out+checked.err, c.says)
			}
		})
	}
}

// TestUnseenRebuildQuestionsTheTagRule: if the image of a rebuild never appears, the tag rule is chosen again, once.
func TestUnseenRebuildQuestionsTheTagRule(t *testing.T) {
	a := newAnswers(t, "")
	a.registry.Dated("team/app:1.0.0", time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC))
	require.Zero(t, a.analyze().code)
	require.Equal(t, "SemVer", a.app().Tags.Strategy)
	path := filepath.Join(a.dir, "state/images/app.yaml")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	writeFiles(t, a.dir, map[string]string{"state/images/app.yaml": string(text) + `rebuild:
  id: r-1
  reason: newer digest
  requestedAt: "2026-02-01T00:00:00Z"
  status: failed
  message: the run succeeded, but no new image was seen within 1d
  finishedAt: "2026-02-02T00:00:00Z"
  failures: 1
`})
	a.registry.Dated("team/app:build-1", time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC))
	got := a.analyze()
	require.Zero(t, got.code, got.err)
	app := a.app()
	assert.Equal(t, "NewestBuild", app.Tags.Strategy)
	assert.Equal(t, "build-1", app.CurrentVersion)
	assert.False(t, app.Tags.DecidedAgain.IsZero())
	got = a.analyze()
	assert.Contains(t, got.err, "nothing new")
}

// TestSecondOSVersion: a change of any manifest of a platform counts as a change.
func TestSecondOSVersion(t *testing.T) {
	for platform, due := range map[string]string{"windows/amd64": "due", "windows(10.0.20348)/amd64": "due", "windows(10.0.17763)/amd64": "current"} {
		t.Run(platform, func(t *testing.T) {
			a := newAnswers(t, "")
			text, err := os.ReadFile(filepath.Join(a.dir, "images.yaml"))
			require.NoError(t, err)
			writeFiles(t, a.dir, map[string]string{"images.yaml": strings.Replace(string(text), "workflow: b.yml", `workflow: b.yml, platforms: ["`+platform+`"]`, 1)})
			a.bases.Windows("os/base:1", "10.0.17763.7000", "a", "10.0.20348.3000", "b")
			a.registry.Windows("team/app:1.0.0", "10.0.20348.3000", "app")
			status := func() string {
				got := a.analyze()
				require.Zero(t, got.code, got.err)
				return strings.Fields(strings.Split(a.ok("status").out, "\n")[1])[1]
			}
			assert.Equal(t, "current", status())
			a.bases.Windows("os/base:1", "10.0.17763.7000", "a", "10.0.20348.3000", "b with fixes")
			assert.Equal(t, due, status())
		})
	}
}

// TestAnotherDigestAlgorithm: another digest algorithm is an error of that image only, and no other command fails.
func TestAnotherDigestAlgorithm(t *testing.T) {
	for _, how := range []string{"tag", "platform", "annotation"} {
		t.Run(how, func(t *testing.T) {
			a := newAnswers(t, "")
			base := a.bases.Base("os/base:1", "1")
			a.registry.Publish("team/app:1.0.0", registrytest.Built{Version: "1", From: &base})
			if how == "annotation" {
				a.registry.Annotated("team/app:1.0.1", map[string]string{
					"org.opencontainers.image.base.name": base.Ref, "org.opencontainers.image.base.digest": "sha512:" + strings.Repeat("a", 128),
				})
			} else {
				a.bases.Break(func(w http.ResponseWriter, r *http.Request) bool { return inSHA512(w, r, how) })
			}
			got := a.analyze()
			assert.Equal(t, how != "annotation", got.code == 1, got.err)
			if how != "annotation" {
				assert.Contains(t, got.err, "unsupported digest algorithm sha512 (want sha256)")
			}
			a.ok("status")
			checked := a.ok("validate")
			assert.NotContains(t, checked.out+checked.err, "IF020")
			assert.NotContains(t, fmt.Sprint(a.app()), "sha512")
			a.bases.Break(nil)
			assert.Zero(t, a.analyze().code)
		})
	}
}

// inSHA512 responds with a manifest whose own digest, or that of a platform, uses an algorithm that state files do not hold.
func inSHA512(w http.ResponseWriter, r *http.Request, how string) bool {
	if !strings.Contains(r.URL.Path, "/manifests/") {
		return false
	}
	body := []byte(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1,` +
		`"digest":"sha512:` + strings.Repeat("b", 128) + `","platform":{"os":"linux","architecture":"amd64"}}]}`)
	w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
	if how == "tag" {
		sum := sha512.Sum512(body)
		w.Header().Set("Docker-Content-Digest", "sha512:"+hex.EncodeToString(sum[:]))
	}
	_, _ = w.Write(body)
	return true
}
