package dockerfile_test

import (
	"encoding/json"
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

// FuzzTriggers gives a base image any ONBUILD trigger and any variable.
func FuzzTriggers(f *testing.F) {
	for _, trigger := range []string{
		"COPY --from=tool /t /t", "RUN --mount=type=bind,from=x:1,target=/m --mount=type=cache,target=/c true", "COPY --from=a / /",
		"RUN <<EOF\nCOPY --from=b / /\nEOF", "FROM x", "ONBUILD RUN x", "EXPOSE $V", "COPY --from=$V / /", "# escape=`\nRUN a", "ENV V=1", "",
	} {
		f.Add(trigger, "V=1")
	}
	f.Fuzz(func(t *testing.T, trigger, env string) {
		if strings.HasPrefix(strings.ToUpper(strings.TrimSpace(trigger)), "ONBUILD") || mayRace([]byte(trigger)) {
			t.Skip("BuildKit's own result depends on the order of a map, or it runs into a data race")
		}
		if !utf8.ValidString(trigger) || !utf8.ValidString(env) {
			t.Skip("JSON cannot hold it")
		}
		src := []byte("FROM tools:1 AS a\nFROM base:1\nCOPY --from=other:1 / /\n")
		config, err := json.Marshal(map[string]any{"config": map[string]any{"OnBuild": []string{trigger}, "Env": []string{env}}})
		require.NoError(t, err)
		configs := map[string]string{"docker.io/library/base:1": string(config)}
		for _, partial := range []bool{false, true} {
			opts := dockerfile.Options{Base: baseFunc(configs, partial)}
			res, err := dockerfile.Resolve(t.Context(), src, opts)
			require.Empty(t, differs(src, opts, configs, res, err), "partial: %v", partial)
			checkAttributed(t, string(src), res, opts)
		}
	})
}
