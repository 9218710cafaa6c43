package dockerfile_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/dockerfile"
)

func repeat(n int, format string) string {
	var b strings.Builder
	for i := range n {
		if strings.Contains(format, "%") {
			fmt.Fprintf(&b, format, i)
		} else {
			b.WriteString(format)
		}
	}
	return b.String()
}

// folded breaks a line that is too long for the parser.
func folded(s string) string {
	const most = 60000
	var b strings.Builder
	for len(s) > most {
		b.WriteString(s[:most] + "\\\n")
		s = s[most:]
	}
	return b.String() + s
}

// Without the limits, each of these takes gigabytes or minutes.
func TestLimits(t *testing.T) {
	const large = "is too large once its variables are expanded"
	for name, tt := range map[string]struct{ src, want string }{
		"doubling":           {"FROM a\nENV A=xxxx\n" + repeat(60, "ENV A=$A$A\n"), large},
		"doubling by name":   {"FROM a\nENV K=B\n" + repeat(60, "ENV $K=x$B$B\n"), large},
		"doubling trigger":   {"FROM a AS p\nONBUILD ENV A=xx\n" + repeat(60, "ONBUILD ENV A=$A$A\n") + "FROM p\n", large},
		"replacing":          {"FROM a\nENV A=xxxxxxxx\n" + repeat(60, "ENV A=${A//x/$A}\n"), large},
		"replacing nothing":  {"FROM a\nENV A=xxxxxxxx\n" + repeat(60, "ENV A=${A///$A}\n"), large},
		"arguments of runs":  {"FROM a\nARG A=" + strings.Repeat("x", 60000) + "\n" + repeat(4900, "RUN a\n"), large},
		"expanded heredoc":   {"FROM a\nENV A=" + strings.Repeat("x", 50000) + "\nCOPY <<E /x\n" + repeat(10000, "$A\n") + "E\n", large},
		"variables in scope": {"FROM a\nENV " + folded(repeat(60000, "A%d=1 ")) + "\n" + repeat(4900, "USER $x\n"), large},
		"global arguments":   {repeat(4900, "ARG A%d=$B\n") + "FROM a\n", large},
		"long names":         {"ARG " + folded(strings.Repeat("B", 400000)) + "\nFROM a:$" + folded(strings.Repeat("C", 400000)) + "\n", large},
		"pattern":            {"FROM a:${A#" + folded(strings.Repeat("?*", 400000)) + "}\n", large},
		"pattern on value":   {"FROM a\nENV A=" + strings.Repeat("x", 60000) + "\nUSER ${A#" + strings.Repeat("?*", 25000) + "}\n", large},
		"sources":            {"FROM a\nCOPY " + folded(repeat(400000, "a ")) + " /\n", large},
		"labels":             {"FROM a\nLABEL " + folded(repeat(80000, "a%d=b ")) + "\n", large},
		"ports":              {"FROM a\n" + repeat(4000, "EXPOSE 1-65535\n"), large},
		"variable ports":     {"FROM a\nENV P=1-65535\n" + repeat(4000, "EXPOSE $P\n"), large},
		"mounts":             {"FROM a\nRUN " + folded(repeat(40000, "--mount=from=b,target=/x ")) + " x\n", "uses more than 5000 stages and sources"},
		"triggers":           {"FROM a AS p\n" + repeat(4000, "ONBUILD RUN x\n") + "FROM p\nFROM p\nFROM p\n", "runs more than 5000 ONBUILD triggers"},
		"images":             {"FROM a\n" + repeat(1500, "COPY --from=quay.io/"+strings.Repeat("x", 160)+"/n%d /a /b\n"), "uses more images than fit in 256 KiB"},
		"stages on stages":   {"FROM a AS s\n" + repeat(490, "FROM s AS s\nENV A%d=b\nRUN x\nRUN y\n"), large},
		"nesting":            {"FROM a\nUSER " + repeat(60, "${A:-") + repeat(60, "}") + "\n", "nests variables deeper than 50"},
	} {
		t.Run(name, func(t *testing.T) {
			require.LessOrEqual(t, len(tt.src), dockerfile.MaxSize)
			_, err := dockerfile.Resolve(t.Context(), []byte(tt.src), dockerfile.Options{AllStages: true})
			var refused *dockerfile.Error
			require.ErrorAs(t, err, &refused)
			require.Equal(t, "the Dockerfile "+tt.want, refused.Msg)
			require.Positive(t, refused.Line)
		})
	}
}

// BuildKit's error repeats a word that is expanded to 16 MiB.
func TestErrorsAreShort(t *testing.T) {
	for _, from := range []string{"FROM $A", "FROM --platform=$A a"} {
		src := "ARG A=\x01\x02\x03\x04\n" + repeat(22, "ARG A=$A$A\n") + from + "\n"
		_, err := dockerfile.Resolve(t.Context(), []byte(src), dockerfile.Options{})
		require.ErrorContains(t, err, `"\x01\x02\x03\x04\x01`)
		require.Less(t, len(err.Error()), 3000)
	}
}

// What people write is far from the limits.
func TestLimitsAreGenerous(t *testing.T) {
	script := "RUN set -ex; for f in *; do echo \"${f%.*} ${f##*/} ${VERSION//./_}\"; done " + strings.Repeat("&& make all ", 100) + "\n"
	for name, src := range map[string]string{
		"stages":  repeat(500, "FROM a:%d\nRUN x\nEXPOSE 8080\n"),
		"chain":   "FROM a AS s\n" + repeat(400, "FROM s AS s\nENV PATH=$PATH:/opt/%d/bin\n"),
		"images":  "FROM a\n" + repeat(1000, "COPY --from=registry.example.com/team/project/image:%d /a /b\n"),
		"layers":  "FROM a AS s\n" + repeat(40, "FROM s AS s\nENV A%[1]d=a B%[1]d=b C%[1]d=c\nRUN a\nRUN b\nRUN c\n"),
		"scripts": "ARG VERSION=1.2.3\nFROM a\nARG VERSION\n" + strings.Repeat(script, 200),
		"paths":   "FROM a\n" + repeat(300, "ENV PATH=$PATH:/opt/tool-%d/bin\n") + repeat(300, "RUN make step-%d\n"),
		"globals": repeat(300, "ARG A%d=$TARGETARCH\n") + "FROM a\n",
		"heredoc": "FROM a\nCOPY <<EOF /x\n" + repeat(20000, "line %d of a long file with $HOME\n") + "EOF\n",
		"ports":   "FROM a\nENV PORT=8080\nEXPOSE 30000-30100 ${PORT} 9000-9010/udp\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := dockerfile.Resolve(t.Context(), []byte(src), dockerfile.Options{})
			require.NoError(t, err)
		})
	}
}
