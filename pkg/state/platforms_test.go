package state_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/imagefactory/imagefactory/pkg/state"
)

func TestEffective(t *testing.T) {
	linux := state.Snapshot{Digest: "index", Platforms: state.Platforms{"linux/amd64": "a", "linux/arm64": "b", "linux/arm/v7": "c"}}
	windows := state.Snapshot{Digest: "index", Platforms: state.Platforms{
		"linux/amd64": "a", "windows(10.0.17763.7000)/amd64": "w1", "windows(10.0.20348.3000)/amd64": "w2", "windows(10.0.26100.1+win32k)/amd64": "w3",
	}}
	before := state.Snapshot{Digest: "index", Platforms: state.Platforms{"linux/amd64": "a", "windows/amd64": "w1"}} // as earlier versions wrote it
	for _, c := range []struct {
		s              state.Snapshot
		platform, want string
	}{
		{linux, "linux/amd64", "a"},
		{linux, "linux/arm64", "b"},
		{linux, "linux/arm64/v8", "b"},
		{linux, "linux/arm", "c"},
		{linux, "linux/s390x", "index"},
		{linux, "", "index"},
		{linux, "no platform", "index"},
		{state.Snapshot{Digest: "index"}, "linux/amd64", "index"},
		{windows, "linux/amd64", "a"},
		{windows, "windows/amd64", "w1 w2 w3"},
		{windows, "windows(10.0.17763)/amd64", "w1"},
		{windows, "windows(10.0.17763.1)/amd64", "w1"}, // the build decides
		{windows, "windows(10.0.20348)/amd64", "w2"},
		{windows, "windows(10.0.26100)/amd64", "w2 w3"}, // runs both
		{windows, "windows(10.0.14393)/amd64", "index"},
		{windows, "windows/arm64", "index"},
		{before, "windows/amd64", "w1"},
		{before, "windows(10.0.20348)/amd64", "w1"}, // its version is not known
	} {
		assert.Equal(t, c.want, c.s.Effective(c.platform), "%v for %s", c.s.Platforms, c.platform)
	}
}

func TestSamePlatform(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"linux/amd64", "linux/amd64", true},
		{"linux/amd64", "linux/arm64", false},
		{"linux/arm64", "linux/arm64/v8", true},
		{"linux/arm/v6", "linux/arm/v7", false},
		{"windows/amd64", "windows(10.0.20348.3000)/amd64", true},
		{"windows(10.0.17763.1)/amd64", "windows(10.0.17763.7000)/amd64", true},
		{"windows(10.0.17763.1)/amd64", "windows(10.0.20348.3000)/amd64", false},
		{"no platform", "linux/amd64", false},
		{"linux/amd64", "", false},
	} {
		assert.Equal(t, c.want, state.SamePlatform(c.a, c.b), "%s %s", c.a, c.b)
		assert.Equal(t, c.want, state.SamePlatform(c.b, c.a), "%s %s", c.b, c.a)
	}
}

func FuzzEffective(f *testing.F) {
	f.Add("windows(10.0.20348.3000)/amd64", "windows/amd64")
	f.Add("linux/arm64", "linux/arm64/v8")
	f.Add("(", "*")
	f.Fuzz(func(t *testing.T, key, platform string) {
		s := state.Snapshot{Digest: "index", Platforms: state.Platforms{key: "one", "linux/amd64": "two"}}
		for _, digest := range strings.Fields(s.Effective(platform)) {
			assert.Contains(t, []string{"index", "one", "two"}, digest)
		}
		if key == platform {
			assert.Contains(t, []string{"one", "two", "index"}, s.Effective(platform))
		}
	})
}

func TestLacks(t *testing.T) {
	for _, test := range []struct {
		has, want string
		lacks     bool
	}{
		{"linux/amd64", "linux/amd64", false},
		{"linux/amd64", "linux/arm64", true},
		{"linux/386", "linux/amd64", true},                                     // another architecture, though it could run
		{"linux/arm/v7", "linux/arm64", true},                                  // so is this
		{"linux/arm/v6", "linux/arm/v7", false},                                // an older variant
		{"linux/arm/v7", "linux/arm/v6", true},                                 // a newer one
		{"linux/arm64", "linux/arm64/v8", false},                               // another spelling
		{"windows(10.0.20348.3000)/amd64", "windows/amd64", false},             // a version that the image does not name
		{"windows(10.0.20348.3000)/amd64", "windows(10.0.20348)/amd64", false}, // any build of it
		{"windows(10.0.20348.3000)/amd64", "windows(10.0.26100)/amd64", false}, // an older version, which it can run
		{"windows(10.0.26100.1)/amd64", "windows(10.0.17763)/amd64", true},
		{"", "linux/amd64", false},            // not known yet
		{"linux/amd64", "no platform", false}, // edited by hand
	} {
		s := state.Snapshot{Digest: "sha256:index"}
		if test.has != "" {
			s.Platforms = state.Platforms{test.has: "sha256:manifest"}
		}
		assert.Equal(t, test.lacks, s.Lacks(test.want), "%s, for %s", test.has, test.want)
	}
}
