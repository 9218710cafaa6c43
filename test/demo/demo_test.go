package main

import (
	"bytes"
	"encoding/xml"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDemoEndsUpToDate(t *testing.T) {
	o := &outcome{}
	var out bytes.Buffer
	d, err := newDemo(o, "../../testdata/fleet", t.TempDir(), &out)
	require.NoError(t, err)
	require.NoError(t, d.play(), out.String())
	recorded := d.scenes
	require.NoError(t, d.playFix(), out.String())
	require.NoError(t, o.end(nil))

	last := d.scenes[len(d.scenes)-1]
	status := last.steps[len(last.steps)-1].output
	for _, img := range fleet {
		assert.Regexp(t, "(?m)^"+img.name+" .*up to date", status)
	}
	assert.NotContains(t, out.String(), "127.0.0.1", "the output must not differ from run to run")
	assert.NotContains(t, out.String(), "\x1b", "colours are for terminals")
	assert.Contains(t, status, "\x1b[32mcurrent", "and for the recording")
	assert.Contains(t, out.String(), "newer digest of debian:trixie-slim fixes CVE-2026-1234 (critical, openssl)")
	for _, repo := range d.repos {
		started := map[string]int{}
		for _, run := range repo.Runs() {
			started[run.Values["image"]]++
		}
		for image, n := range started {
			assert.Equal(t, 2, n, "%s was rebuilt more or less than once for each move", image)
		}
	}

	svg := xml.NewDecoder(bytes.NewReader(record(recorded)))
	for err == nil {
		_, err = svg.Token()
	}
	assert.ErrorIs(t, err, io.EOF, "the recording is not well-formed")
}

func TestSpansCutLongLinesAndKeepColours(t *testing.T) {
	assert.Equal(t, `<tspan>a </tspan><tspan fill="#7ee787" class="b">&lt;b&gt;</tspan><tspan> c</tspan>`, spans("a \x1b[1;32m<b>\x1b[0m c"))
	assert.Equal(t, "<tspan>"+strings.Repeat("x", columns-1)+"…</tspan>", spans(strings.Repeat("x", columns+1)))
}
