package dockerfile_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/dockerfile"
)

func FuzzResolve(f *testing.F) {
	for _, kind := range []string{"resolved", "refused"} {
		for _, fix := range fixtures(f, kind) {
			if len(fix.src) < 4096 {
				f.Add(string(fix.src), fix.opts.Target, fix.opts.BuildArgs["V"], fix.opts.AllStages)
			}
		}
	}
	f.Fuzz(func(t *testing.T, src, target, arg string, all bool) {
		if strings.Contains(src, "SOURCE_DATE_EPOCH") || all && (strings.Contains(src, "TARGETSTAGE") || !utf8.ValidString(src)) {
			t.Skip("the date has no line; the oracle asks for each stage as a target of its own")
		}
		opts := dockerfile.Options{
			Target: target, AllStages: all,
			BuildArgs: map[string]string{"V": arg},
			Contexts:  map[string]string{"replaced": "docker-image://replacement:1", "local": "./dir"},
		}
		res, err := dockerfile.Resolve(t.Context(), []byte(src), opts)
		require.Empty(t, differs([]byte(src), opts, nil, res, err))
		checkAttributed(t, src, res, opts)
	})
}
