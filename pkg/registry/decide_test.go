package registry_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/registry"
)

// TestOneOddTagDecidesNoRule gives each tag an image that was built so many days after the first.
func TestOneOddTagDecidesNoRule(t *testing.T) {
	type tag struct {
		name string
		day  int
	}
	semver, newest, alphabet := config.Tags{Strategy: config.SemVer}, config.Tags{Strategy: config.NewestBuild}, config.Tags{Strategy: config.Lexical}
	latest := config.Tags{Strategy: config.Digest, Constraint: "latest"}
	for name, c := range map[string]struct {
		have []tag
		want string
		used config.Tags
		over string
	}{
		"dates with leading zeros":        {[]tag{{"2025.12.30", 0}, {"2025.12.31", 1}, {"2026.01.15", 16}, {"2026.02.03", 35}}, "2026.02.03", alphabet, ""},
		"dates with dashes":               {[]tag{{"2025-12-31", 1}, {"2026-01-15", 16}}, "2026-01-15", alphabet, ""},
		"months":                          {[]tag{{"2025.12", 0}, {"2026.01", 30}}, "2026.01", alphabet, ""},
		"dates without signs":             {[]tag{{"20251231", 1}, {"20260115", 16}, {"20260203", 35}}, "20260203", alphabet, ""},
		"dates with a time":               {[]tag{{"20251231-0900", 1}, {"20260115-1000", 16}}, "20260115-1000", alphabet, ""},
		"dates that are versions":         {[]tag{{"2025.12.31", 0}, {"2026.1.15", 16}, {"2026.2.3", 35}}, "2026.2.3", semver, ""},
		"one date":                        {[]tag{{"2026.02.03", 0}}, "2026.02.03", newest, ""},
		"dates and latest":                {[]tag{{"2025.12.31", 0}, {"2026.01.15", 16}, {"latest", 16}}, "latest", latest, "2025.12.31"},
		"dates that go on as no versions": {[]tag{{"2025.12.30", 0}, {"2025.12.31", 0}, {"2026.01.02", 0}, {"2026.01.03", 0}, {"latest", 0}}, "latest", latest, "2025.12.31"},
		"dates and branches":              {[]tag{{"2025.12.30", 0}, {"2025.12.31", 1}, {"2025.12.29", 0}, {"2026.01.02", 3}, {"main", 2}}, "2026.01.02", newest, "2025.12.31"},
		"one old version among builds":    {[]tag{{"1.0.0", 0}, {"build-9", 9}, {"build-10", 10}, {"build-11", 11}}, "build-11", newest, "1.0.0"},
		"one old version and latest":      {[]tag{{"0.1.0", 0}, {"latest", 90}}, "latest", latest, "0.1.0"},
		"latest and builds":               {[]tag{{"0.1.0", 0}, {"latest", 90}, {"sha-aaaa", 80}}, "latest", latest, "0.1.0"},
		"releases and a branch":           {[]tag{{"1.0.0", 0}, {"1.1.0", 5}, {"1.2.0", 9}, {"main", 12}}, "1.2.0", semver, "main"},
		"releases and latest of a branch": {[]tag{{"1.0.0", 0}, {"1.1.0", 5}, {"latest", 12}}, "1.1.0", semver, "latest"},
		"releases and pull requests":      {[]tag{{"1.0.0", 0}, {"1.1.0", 5}, {"pr-7", 9}, {"pr-8", 12}, {"pr-9", 13}, {"mr-1-slug", 14}}, "1.1.0", semver, ""},
		"a release of the newest commit":  {[]tag{{"1.0.0", 12}, {"main", 12}, {"sha-aaaa", 11}}, "1.0.0", semver, ""},
		"releases with all their names":   {[]tag{{"1.0.0", 0}, {"1.2.3", 9}, {"1", 20}, {"1.2", 20}, {"v1", 20}}, "1.2.3", semver, ""},
		"variants":                        {[]tag{{"1.2.3-alpine", 9}, {"1-alpine", 20}, {"1.2-alpine", 20}}, "1.2.3-alpine", semver, ""},
		"a major version only":            {[]tag{{"v1", 0}, {"v2", 9}}, "v2", newest, ""},
		"builds that are longer numbers":  {[]tag{{"999", 0}, {"1000", 9}}, "1000", newest, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			for _, tag := range c.have {
				s.push("app:"+tag.name, newImage(t, "linux/amd64", day.Add(time.Duration(tag.day)*24*time.Hour), nil))
			}
			got, err := client(registry.Options{}).Newest(t.Context(), s.host+"/app", config.Tags{}, false, unknown)
			require.NoError(t, err)
			assert.Equal(t, c.want, got.Tag)
			assert.Equal(t, c.used, got.Used)
			assert.Equal(t, c.over, got.PassedOver)
			assert.NotEmpty(t, got.Snapshot.Digest)
		})
	}
}

// TestDecidingCostsFewRequests: nothing where the names say enough, and a few dates otherwise.
func TestDecidingCostsFewRequests(t *testing.T) {
	s := serve(t)
	img := newImage(t, "linux/amd64", day, nil)
	for _, tag := range []string{"1.2.3", "1.2", "1", "v1.2.3"} {
		s.push("app:"+tag, img)
	}
	ask := func() []string {
		_, err := client(registry.Options{}).Newest(t.Context(), s.host+"/app", config.Tags{}, false, unknown)
		require.NoError(t, err)
		return s.asked()
	}
	assert.Len(t, ask(), 4, "the list, and what the highest holds")
	s.push("app:latest", img)
	s.push("app:main", img)
	assert.Len(t, ask(), 4+4, "three digests and one date: what has the same digest was not built later")
	for i := range 200 {
		s.push("app:build-"+string(rune('a'+i%26))+string(rune('a'+i/26)), newImage(t, "linux/amd64", day, nil))
	}
	asked := ask()
	assert.Less(t, len(asked), 50)
	assert.True(t, slices.Contains(asked, "HEAD app/manifests/latest"))
}

// TestEvidenceThatIsDamaged: one tag does not keep the rule from being decided, but a registry in trouble does.
func TestEvidenceThatIsDamaged(t *testing.T) {
	s := serve(t)
	s.push("app:1.0.0", newImage(t, "linux/amd64", day, nil))
	s.push("app:main", newImage(t, "linux/amd64", day.Add(48*time.Hour), nil))
	s.push("app:nightly", notImages["chart"])
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		err    bool
	}{
		"gone":       {saysUnknown("MANIFEST_UNKNOWN"), false},
		"damaged":    {body("application/vnd.oci.image.manifest.v1+json", "{}"), false},
		"no image":   {body("application/vnd.oci.artifact.manifest.v1+json", "{}"), false},
		"web page":   {body("text/html", "<html>"), true},
		"in trouble": {status(503), true},
		"not found":  {answer(404, "default backend"), true},
		"denied":     {status(403), true},
	} {
		t.Run(name, func(t *testing.T) {
			s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
				main := r.URL.Path == "/v2/app/manifests/main"
				if main {
					c.answer(w, r)
				}
				return main
			})
			got, err := client(registry.Options{}).Newest(t.Context(), s.host+"/app", config.Tags{}, false, unknown)
			if c.err {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, "1.0.0", got.Tag)
		})
	}
}

// TestVersionsWithoutDates, as in reproducible builds.
func TestVersionsWithoutDates(t *testing.T) {
	s := serve(t)
	s.push("app:1.0.0", newImage(t, "linux/amd64", time.Time{}, nil))
	s.push("app:main", newImage(t, "linux/amd64", day, nil))
	got, err := client(registry.Options{}).Newest(t.Context(), s.host+"/app", config.Tags{}, false, unknown)
	require.NoError(t, err)
	assert.Equal(t, "1.0.0", got.Tag)
	assert.Empty(t, got.PassedOver)
}

// TestContinuedSeries: dates go on in a form that the rule does not follow, and a decided rule says so without asking more.
func TestContinuedSeries(t *testing.T) {
	for name, c := range map[string]struct {
		rule config.Tags
		have []string
		want string // the tag by that rule
		last string
	}{
		"a new year":              {rules["versions"], []string{"2025.12.31", "2026.01.02", "2026.01.03", "latest"}, "2025.12.31", "2026.01.03"},
		"versions":                {rules["versions"], []string{"2025.12.31", "2026.1.2", "2025.01.02", "main"}, "2026.1.2", ""},
		"releases":                {rules["versions"], []string{"1.2.3", "9.0.01", "latest"}, "1.2.3", ""},
		"more digits":             {rules["alphabet"], []string{"2026.01.02-8", "2026.01.02-9", "2026.01.02-10"}, "2026.01.02-9", "2026.01.02-10"},
		"of a fixed form":         {rules["alphabet"], []string{"2026.01.02", "2026.01.03"}, "2026.01.03", ""},
		"by the alphabet, a word": {rules["alphabet"], []string{"2026.01.02", "main"}, "main", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			for i, tag := range c.have {
				s.push("app:"+tag, newImage(t, "linux/amd64", day.Add(time.Duration(i)*time.Hour), nil))
			}
			got, err := client(registry.Options{}).Newest(t.Context(), s.host+"/app", c.rule, true, unknown)
			require.NoError(t, err)
			assert.Equal(t, c.want, got.Tag)
			assert.Equal(t, c.last, got.Outgrown)
		})
	}
}

// TestContinuedSeriesWithoutDates: no version is chosen in silence.
func TestContinuedSeriesWithoutDates(t *testing.T) {
	s := serve(t)
	for _, tag := range []string{"2025.12.31", "2026.01.02", "main"} {
		s.push("app:"+tag, newImage(t, "linux/amd64", time.Time{}, nil))
	}
	_, err := client(registry.Options{}).Newest(t.Context(), s.host+"/app", config.Tags{}, false, unknown)
	assert.ErrorContains(t, err, "set tags to choose another strategy")
}
