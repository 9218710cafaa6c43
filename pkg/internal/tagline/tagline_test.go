package tagline

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestNewerThan(t *testing.T) {
	for _, tt := range []struct{ tag, list, release, line string }{
		// node
		{"22-bookworm-slim", "latest lts 18-bookworm-slim 20-bookworm-slim 22-bookworm-slim 24-bookworm-slim 24-bookworm 24-slim 24-trixie-slim 25-alpine", "", "24-bookworm-slim"},
		{"22-slim", "8-slim 9-slim 22-slim 22.11-slim 22.11.0-slim", "", ""},
		{"22.11.0-slim", "22-slim 22.11-slim 22.11.0-slim 22.12.0-slim 23.1.0-slim 22.11.1-slim", "22.11.1-slim", "23.1.0-slim"},
		{"22", "22 iron jod krypton 24 current", "", "24"},
		{"lts-slim", "lts-slim 24-slim", "", ""},
		{"jod-slim", "jod-slim krypton-slim", "", ""},
		// python
		{"3.13-slim", "3.9-slim 3.10-slim 3.13-slim 3.14-slim 3.14-slim-bookworm 3.15-rc-slim 3.15.0a1-slim 3.15.0rc1-slim", "", "3.14-slim"},
		{"3.13.1-slim-bookworm", "3.13.1-slim-bookworm 3.13.10-slim-bookworm 3.13.9-slim-bookworm 3-slim-bookworm", "3.13.10-slim-bookworm", ""},
		{"3.15-rc-slim", "3.15-rc-slim 3.16-rc-slim", "", ""},
		// golang
		{"1.26-bookworm", "1.25-bookworm 1.26-bookworm 1.27-bookworm 1.27rc1-bookworm 1.27-alpine3.22", "", "1.27-bookworm"},
		{"1.26-alpine3.22", "1.26-alpine3.21 1.26-alpine3.22 1.26-alpine3.23 1.27-alpine3.22", "", "1.27-alpine3.22"},
		{"1.26.0", "1.26.0 1.26.1 1.26.2-alpine 1.26rc2", "1.26.1", ""},
		// eclipse-temurin
		{"21-jre", "8-jre 17-jre 21-jre 25-jre 25-jre-alpine 26-ea-jre", "", "25-jre"},
		{"8u422-jre", "8-jre 8u402-jre 8u422-jre 8u432-jre 8u422-b05-jre 11-jre", "", "8u432-jre"},
		{"8u422-b05-jre", "8u422-b05-jre 8u432-b06-jre", "", ""},
		{"21.0.5_11-jre", "21.0.4_7-jre 21.0.5_11-jre 21.0.6_7-jre 21.1.0_1-jre 25.0.1_8-jre", "21.0.6_7-jre", "25.0.1_8-jre"},
		// debian, ubuntu, alpine, nginx, postgres
		{"bookworm-20260101", "bookworm-20260101 bookworm-20260202 trixie-20260303 bookworm-20260202-slim bookworm bookworm-slim", "bookworm-20260202", ""},
		{"bookworm-slim", "bookworm-slim trixie-slim 13-slim", "", ""},
		{"12-slim", "11-slim 12-slim 12.9-slim 13-slim testing-20260101-slim", "", "13-slim"},
		{"24.04", "22.04 24.04 24.10 26.04 noble-20260101 rolling", "", "26.04"},
		{"noble-20260101", "noble-20260101 noble-20251212", "", ""},
		{"3.22", "3.22 3.22.1 3.23 20260127 edge", "", "3.23"},
		{"1.29.1-alpine-slim", "1.29.1-alpine-slim 1.29.2-alpine-slim 1.29.3-alpine-otel", "1.29.2-alpine-slim", ""},
		{"17.2-bookworm", "17-bookworm 17.2-bookworm 17.3-bookworm 18.0-bookworm 18beta1-bookworm", "", "18.0-bookworm"},
		// ubi, dotnet, others
		{"9.5-1734495538", "9.4-1 9.5-1734495538 9.5-1734495600 9.5 latest 9.5-1734495600-source", "9.5-1734495600", ""},
		{"8.0-noble-chiseled", "8.0-noble-chiseled 9.0-noble-chiseled 10.0-preview-noble-chiseled", "", "9.0-noble-chiseled"},
		{"v1.2.3", "v1.2.3 v1.2.4 1.2.9 v1.2.5-rc1", "v1.2.4", ""},
		{"v1.2.3", "v1.2.3 V1.2.4", "", ""},
		{"jdk-21.0.1", "jdk-21.0.1 jdk-21.0.2 jre-21.0.9", "jdk-21.0.2", ""},
		{"2026.01.02", "2025.12.31 2026.01.02 2026.01.10 1.2.3 2026.1.11", "2026.1.11", ""},
		{"2026-01-02", "2026-01-02 2026-01-10 2026-02-01-arm64", "2026-01-10", ""},
		{"20260102", "20260101 20260102 20260110 24 22", "20260110", ""},
		{"1.2.3-4", "1.2.3-4 1.2.3-12 1.2.4-1", "1.2.4-1", ""},
		{"1.2.3.4", "1.2.3.4 1.2.3.10 1.3.0.0", "1.2.3.10", "1.3.0.0"},
		{"007", "007 8", "", "8"},
		// what names no release
		{"latest", "latest 1 2", "", ""},
		{"stable", "stable 1.0", "", ""},
		{"3f2a1b9", "3f2a1b9 4f2a1b9 22", "", ""},
		{"sha-3f2a1b9", "sha-3f2a1b9 sha-4f2a1b9", "", ""},
		{"48213", "48213 48999", "", ""},
		{"main-1234", "main-1234 main-1235", "", ""},
		{"22-rc1", "22-rc1 22-rc2 23-rc1", "", ""},
		{"", "1 2", "", ""},
		{"22", "", "", ""},
		{"22", "20240101 2024.01 1234567 99999999999999999999", "", ""},
		{"99999999999999999999.1", "99999999999999999999.2", "", ""},
	} {
		t.Run(tt.tag, func(t *testing.T) {
			assert.Equal(t, Newer{tt.release, tt.line}, NewerThan(tt.tag, strings.Fields(tt.list)))
		})
	}
}

func TestNames(t *testing.T) {
	for _, tt := range []struct {
		tag, cycle string
		want       bool
	}{
		{"22-slim", "22", true}, {"22.11.0", "22", true}, {"220", "22", false}, {"3.13-slim", "3.13", true}, {"3.13-slim", "3", true},
		{"3.13.1", "3.1", false}, {"3", "3.13", false}, {"24.04", "24.04", true}, {"8u422-jre", "8", true}, {"22", "bookworm", false}, {"22", "", false},
	} {
		tag, ok := Parse(tt.tag)
		assert.True(t, ok)
		assert.Equal(t, tt.want, tag.Names(tt.cycle), "%s %s", tt.tag, tt.cycle)
	}
	assert.True(t, HasWord("22-bookworm-slim", "Bookworm"))
	assert.False(t, HasWord("22-bookworm-slim", "book"))
}

// FuzzNewerThan: what is newer is in the list, is not the tag itself, and has nothing newer of its own kind than the newest.
func FuzzNewerThan(f *testing.F) {
	f.Add("22-slim", "22-slim 24-slim 24.1-slim latest")
	f.Add("8u422-jre", "8u432-jre 11-jre")
	f.Add("2026-01-02", "2026-01-10")
	f.Fuzz(func(t *testing.T, tag, tags string) {
		list := strings.Fields(tags)
		n := NewerThan(tag, list)
		for _, newer := range []string{n.Release, n.Line} {
			if newer == "" {
				continue
			}
			assert.Contains(t, list, newer)
			assert.NotEqual(t, tag, newer)
			assert.Empty(t, NewerThan(newer, []string{tag}), "the tag is older")
		}
		if n.Line != "" {
			assert.Empty(t, NewerThan(n.Line, list).Line)
		}
		if n.Release != "" {
			assert.Empty(t, NewerThan(n.Release, list).Release)
		}
	})
}
