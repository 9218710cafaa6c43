package main

import (
	"bytes"
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
	require.NoError(t, d.playFix(), out.String())
	require.NoError(t, o.end(nil))

	status := out.String()[strings.LastIndex(out.String(), "$ imagefactory status\n"):]
	for _, img := range fleet {
		assert.Regexp(t, "(?m)^"+img.name+" .*up to date", status)
	}
	assert.NotContains(t, out.String(), "127.0.0.1", "the output must not differ from run to run")
	assert.NotContains(t, out.String(), "\x1b", "colours are for terminals")
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
}
