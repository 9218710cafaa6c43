package dockerfile_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/imagefactory/imagefactory/pkg/dockerfile"
)

// generator draws a Dockerfile in which names collide: stages, images and
// variables share few of them.
type generator struct {
	*rapid.T
	out strings.Builder
}

func (g *generator) pick(label string, from ...string) string {
	return rapid.SampledFrom(from).Draw(g.T, label)
}

func (g *generator) chance(label string, percent int) bool {
	return rapid.IntRange(1, 100).Draw(g.T, label) <= percent
}

func (g *generator) times(label string, most int) int {
	return rapid.IntRange(0, most).Draw(g.T, label)
}

func (g *generator) line(format string, args ...any) {
	fmt.Fprintf(&g.out, format+g.pick("end", "\n", "\n", "\n", "\r\n", "\n# a comment\n", "\n\n"), args...)
}

func (g *generator) name() string {
	return g.pick("name", "a", "b", "c", "B", "scratch", "base", "x.y")
}

func (g *generator) source() string {
	return g.pick("source", "a", "b", "c", "A", "scratch", "0", "1", "2", "7", "busybox", "alpine:3", "ghcr.io/acme/tool", "a:1", "$V", "UP")
}

func (g *generator) word() string {
	return g.pick("word", "1", "$V", "${V}", "${W:-2}", "${V:+3}", "${V%-*}", "${V#v}", "${V/1/2}", "$TARGETARCH", "${U}", "${W:?}", "x$V-y", "")
}

func (g *generator) dockerfile() string {
	if g.chance("syntax", 10) {
		g.line("# syntax=docker/dockerfile:%s", g.pick("version", "1", "1.7-labs"))
	}
	for range g.times("args", 3) {
		switch g.times("arg", 2) {
		case 0:
			g.line("ARG %s", g.pick("variable", "V", "W"))
		default:
			g.line("ARG %s=%s", g.pick("variable", "V", "W"), g.word())
		}
	}
	for range 1 + g.times("stages", 4) {
		g.stage()
	}
	return g.out.String()
}

func (g *generator) stage() {
	from := "FROM "
	if g.chance("platform", 15) {
		from += "--platform=" + g.pick("platform", "$BUILDPLATFORM", "linux/s390x", "$P", "linux/$V") + " "
	}
	switch g.times("base", 5) {
	case 0:
		from += g.name()
	case 1, 2:
		from += "image:" + g.word()
	case 3:
		from += g.pick("image", "scratch", "alpine", "node:22@sha256:"+strings.Repeat("ab", 32), "localhost:5000/x", "0", "$V")
	default:
		from += g.pick("stage", "a", "b", "c")
	}
	if g.chance("named", 75) {
		from += " AS " + g.name()
	}
	g.line("%s", from)
	for range g.times("commands", 4) {
		prefix := ""
		if g.chance("onbuild", 25) {
			prefix = "ONBUILD "
		}
		g.line("%s%s", prefix, g.command())
	}
}

func (g *generator) command() string {
	switch g.times("command", 7) {
	case 0, 1, 2:
		return "COPY --from=" + g.source() + " /a /b"
	case 3, 4:
		mount := "RUN --mount=type=" + g.pick("type", "bind", "cache", "tmpfs", "secret") + ",target=/t"
		if g.chance("from", 80) {
			mount += ",from=" + g.source()
		}
		return mount + " true"
	case 5:
		return "RUN <<EOF\nFROM nothing\nCOPY --from=nothing / /\nEOF"
	case 6:
		return "ARG " + g.pick("variable", "V", "W") + "=" + g.word()
	}
	return g.pick("other", "ENV A=$B", "VOLUME $A", "WORKDIR /x", "USER ${U:?}", "STOPSIGNAL $S", "EXPOSE 80", "ADD https://example.com/x /x")
}

func (g *generator) options() dockerfile.Options {
	opts := dockerfile.Options{BuildArgs: map[string]string{}, Contexts: map[string]string{}}
	if g.chance("arm", 30) {
		opts.Platform = "linux/arm64"
	}
	if g.chance("given", 30) {
		opts.BuildArgs[g.pick("variable", "V", "W", "TARGETARCH", "P")] = g.pick("value", "", "1", "v1.2-slim", "linux/arm64")
	}
	for range g.times("contexts", 2) {
		opts.Contexts[g.pick("context", "a", "b", "image:1", "alpine", "busybox", "alpine::linux/arm64", "scratch")] = g.pick("value", "docker-image://new:1", "other", "./dir", "docker-image://scratch")
	}
	switch g.times("target", 5) {
	case 0:
		opts.Target = g.pick("stage", "a", "B", "c", "0")
	case 1:
		opts.AllStages = true
	}
	return opts
}

// configs draws those of images that nothing but FROM uses: BuildKit looks up
// what the triggers of other images take files from, and never runs them.
func (g *generator) configs() map[string]string {
	configs := map[string]string{}
	for _, ref := range []string{"image:1", "image:2", "alpine:latest", "node:22@sha256:" + strings.Repeat("ab", 32)} {
		if !g.chance("known", 40) {
			continue
		}
		config := map[string]any{}
		if g.chance("environment", 50) {
			config["Env"] = []string{g.pick("set", "U=1", "B=x", "A=/a", "S=9")}
		}
		var triggers []string
		for range g.times("triggers", 3) {
			triggers = append(triggers, g.trigger())
		}
		config["OnBuild"] = triggers
		data, err := json.Marshal(map[string]any{"config": config})
		if err != nil {
			g.Fatal(err)
		}
		configs["docker.io/library/"+ref] = string(data)
	}
	return configs
}

func (g *generator) trigger() string {
	if g.chance("refused", 5) {
		return g.pick("refused trigger", "FROM a", "NONSENSE", "COPY --from=$V / /", "RUN a\nRUN b", "")
	}
	from := g.pick("trigger source", "a", "b", "c", "A", "scratch", "busybox", "ghcr.io/acme/tool", "a:1", "UP")
	return g.pick("trigger", "ENV U=2", "WORKDIR x", "RUN true", "MAINTAINER me", "COPY --from="+from+" /a /b",
		"RUN --mount=type=bind,target=/t,from="+from+" true", "RUN --mount=type=cache,target=/t true")
}

func TestResolveMatchesBuildKit(t *testing.T) {
	var accepted, refused int
	rapid.Check(t, func(t *rapid.T) {
		g := &generator{T: t}
		src := g.dockerfile()
		opts, configs := g.options(), g.configs()
		opts.Base = baseFunc(configs, g.chance("partial", 50))
		res, err := dockerfile.Resolve(t.Context(), []byte(src), opts)
		if msg := differs([]byte(src), opts, configs, res, err); msg != "" {
			t.Fatalf("%s\nerror: %v\nresult: %+v\noptions: %+v\nconfigs: %v\n%s", msg, err, res, opts, configs, src)
		}
		if err != nil {
			refused++
		} else {
			accepted++
		}
		checkAttributed(t, src, res, opts)
	})
	if accepted == 0 || refused == 0 {
		t.Errorf("accepted %d files, refused %d", accepted, refused)
	}
}

// checkAttributed fails for a reference that only BuildKit knew of.
func checkAttributed(t interface{ Fatalf(string, ...any) }, src string, res *dockerfile.Resolution, opts dockerfile.Options) {
	if res == nil {
		return
	}
	if _, ok := opts.BuildArgs["SOURCE_DATE_EPOCH"]; ok {
		return
	}
	for _, img := range res.Images {
		if img.Line == 0 && img.Kind != dockerfile.KindSyntax {
			t.Fatalf("no line for %+v in %+v, options %+v\n%s", img, res, opts, src)
		}
	}
}
