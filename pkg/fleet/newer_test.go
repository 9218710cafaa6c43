package fleet

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEndOf(t *testing.T) {
	cycles, err := parseCycles("eol.yaml", []byte(`
docker.io/library/x:
- {cycle: "3", eol: 2026-01-01}
- {cycle: 3.1, eol: 2012-04-09}
- {cycle: 3.13, eol: 2029-10-31}
- {cycle: 4, eol: 2026-05-30}
- {cycle: 5, eol: 2026-05-31}
- {cycle: 6, eol: true}
- {cycle: 7, eol: false}
- {cycle: 8, eol: someday}
- {cycle: 9, codename: Trixie, eol: 2026-03-01}
- {cycle: odd, eol: true}
- {cycle: 11, eol: True}
`))
	require.NoError(t, err)
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for tag, want := range map[string]string{
		"3-slim": "3 is at its end of life since 2026-01-01", "3.2.1": "3 is at its end of life since 2026-01-01",
		"3.1": "3.1 is at its end of life since 2012-04-09", "3.1.9-slim": "3.1 is at its end of life since 2012-04-09",
		"3.13-slim": " ", "3.130": "3 is at its end of life since 2026-01-01",
		"4": "4 reaches its end of life on 2026-05-30", "5": " ", "6.1": "6 is at its end of life", "7": " ", "8": " ",
		"trixie-slim": "9 is at its end of life since 2026-03-01", "trixie-20260202": "9 is at its end of life since 2026-03-01",
		"trixies": " ", "odd": " ", "latest": " ", "10": " ", "11": "11 is at its end of life",
	} {
		cycle, ends := endOf(tag, cycles["docker.io/library/x"], now)
		assert.Equal(t, want, cycle+" "+ends, tag)
	}
}

func FuzzCycles(f *testing.F) {
	f.Add([]byte("node: [{cycle: 22, eol: 2027-04-30}]"), "22-slim")
	f.Add([]byte(`{"node": [{"cycle": "22", "codename": "Jod", "eol": false}]}`), "jod")
	f.Add([]byte("a: &a [*a]"), "1")
	f.Fuzz(func(_ *testing.T, data []byte, tag string) {
		cycles, err := parseCycles("eol.yaml", data)
		if err != nil {
			return
		}
		for _, list := range cycles { // does not panic
			endOf(tag, list, time.Unix(0, 0))
		}
	})
}
