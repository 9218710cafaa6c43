package pins_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/dockerfile"
	"github.com/imagefactory/imagefactory/pkg/pins"
	"github.com/imagefactory/imagefactory/pkg/state"
)

var (
	a = strings.Repeat("a", 64)
	b = strings.Repeat("b", 64)
	c = strings.Repeat("c", 64)
	d = strings.Repeat("d", 64)
)

// lockOf moves node:22 from a to b, debian:12 from a to c, and the internal acme/base:1.2.3 from a to 1.3.0 at d.
func lockOf(r state.Ref) state.Ref {
	if r.Digest != "sha256:"+a {
		return r
	}
	switch r.Repository + ":" + r.Tag {
	case "library/node:22":
		r.Digest = "sha256:" + b
	case "library/debian:12":
		r.Digest = "sha256:" + c
	case "acme/base:1.2.3":
		r.Tag, r.Digest = "1.3.0", "sha256:"+d
	}
	return r
}

var fromA = regexp.MustCompile(`[0-9a-f]{64}`)

// expand replaces A, B, C and D in braces by digests.
func expand(text string) string {
	return strings.NewReplacer("{A}", a, "{B}", b, "{C}", c, "{D}", d).Replace(text)
}

func TestDockerfile(t *testing.T) {
	for name, tt := range map[string]struct{ src, want, problem string }{
		"FROM": {
			src:  "FROM node:22@sha256:{A} AS build\nFROM --platform=$BUILDPLATFORM docker.io/library/debian:12@sha256:{A}\nCOPY --from=build /a /a\n",
			want: "FROM node:22@sha256:{B} AS build\nFROM --platform=$BUILDPLATFORM docker.io/library/debian:12@sha256:{C}\nCOPY --from=build /a /a\n",
		},
		"COPY and RUN": {
			src: "FROM scratch\nCOPY --link --from=node:22@sha256:{A} /a /b\n" +
				"RUN --network=none --mount=type=bind,from=debian:12@sha256:{A},target=/x \\\n  # node:22@sha256:{A}\n  --mount=from=node:22@sha256:{A},target=/y echo node:22@sha256:{A} --from=node:22@sha256:{A}\n",
			want: "FROM scratch\nCOPY --link --from=node:22@sha256:{B} /a /b\n" +
				"RUN --network=none --mount=type=bind,from=debian:12@sha256:{C},target=/x \\\n  # node:22@sha256:{A}\n  --mount=from=node:22@sha256:{B},target=/y echo node:22@sha256:{A} --from=node:22@sha256:{A}\n",
		},
		"CRLF, BOM, no final newline": {
			src:  "\xef\xbb\xbfFROM node:22@sha256:{A}\r\n# node:22@sha256:{A}\r\nRUN a \\\r\n\r\n  b",
			want: "\xef\xbb\xbfFROM node:22@sha256:{B}\r\n# node:22@sha256:{A}\r\nRUN a \\\r\n\r\n  b",
		},
		"ARG": {
			problem: "belongs to debian:12@sha256:aaaaaaaaaaaa and to node:22@sha256:aaaaaaaaaaaa",
			src: "ARG NODE=\"node:22@sha256:{A}\" OTHER=x\nARG TAG=12\nARG DIGEST=sha256:{A}\nARG HEX={A}\n" +
				"FROM ${NODE}\nFROM debian:${TAG}@${DIGEST}\n",
			want: "ARG NODE=\"node:22@sha256:{B}\" OTHER=x\nARG TAG=12\nARG DIGEST=sha256:{A}\nARG HEX={A}\n" +
				"FROM ${NODE}\nFROM debian:${TAG}@${DIGEST}\n",
		},
		"digest in an ARG": {
			src:  "ARG TAG=12\nARG DIGEST=sha256:{A}\nFROM debian:${TAG}@${DIGEST}\nCOPY --from=debian:12@sha256:{A} /a /a\n",
			want: "ARG TAG=12\nARG DIGEST=sha256:{C}\nFROM debian:${TAG}@${DIGEST}\nCOPY --from=debian:12@sha256:{C} /a /a\n",
		},
		"hexadecimal digest in an ARG": {
			src:  "ARG HEX={A}\nFROM debian:12@sha256:${HEX}\n",
			want: "ARG HEX={C}\nFROM debian:12@sha256:${HEX}\n",
		},
		"variable in the tag": {
			src:  "ARG TAG=12\nFROM debian:${TAG}@sha256:{A}\n",
			want: "ARG TAG=12\nFROM debian:${TAG}@sha256:{C}\n",
		},
		"variable in front of the name": {
			src:  "ARG P=docker.io/library/\nARG R=example.com\nFROM ${P}node:22@sha256:{A}\nFROM $R/node:22@sha256:{B}\nFROM ${R}/debian:12@sha256:{B}\n",
			want: "ARG P=docker.io/library/\nARG R=example.com\nFROM ${P}node:22@sha256:{B}\nFROM $R/node:22@sha256:{B}\nFROM ${R}/debian:12@sha256:{B}\n",
		},
		"parent behind a variable": {
			src:  "ARG P=ghcr.io/acme/\nFROM ${P}base:1.2.3@sha256:{A}\n",
			want: "ARG P=ghcr.io/acme/\nFROM ${P}base:1.3.0@sha256:{D}\n",
		},
		"variable in front of the name of another repository": {
			src:     "ARG P=example.com/\nFROM ${P}node:22@sha256:{A} AS x\nFROM node:22@sha256:{A}\nCOPY --from=x / /\n",
			want:    "ARG P=example.com/\nFROM ${P}node:22@sha256:{A} AS x\nFROM node:22@sha256:{B}\nCOPY --from=x / /\n",
			problem: "line 2: sha256:aaaaaaaaaaaa belongs to node:22@sha256:aaaaaaaaaaaa and to example.com/node:22@sha256:aaaaaaaaaaaa, whose digests differ by now",
		},
		"heredocs": {
			src:  "FROM node:22@sha256:{A}\nRUN --mount=from=debian:12@sha256:{A},target=/x <<EOF\nFROM node:22@sha256:{A}\nEOF\nCOPY <<-A <<B /x/\n\tFROM node:22@sha256:{A}\n\tA\nnode:22@sha256:{A}\nB\nFROM debian:12@sha256:{A}\n",
			want: "FROM node:22@sha256:{B}\nRUN --mount=from=debian:12@sha256:{C},target=/x <<EOF\nFROM node:22@sha256:{A}\nEOF\nCOPY <<-A <<B /x/\n\tFROM node:22@sha256:{A}\n\tA\nnode:22@sha256:{A}\nB\nFROM debian:12@sha256:{C}\n",
		},
		"escape": {
			src:  "# escape=`\nFROM `\n  node:22@sha256:{A} `\n  AS x\n",
			want: "# escape=`\nFROM `\n  node:22@sha256:{B} `\n  AS x\n",
		},
		"ONBUILD": {
			src:  "FROM scratch AS p\nONBUILD COPY --from=node:22@sha256:{A} /a /a\nFROM p\n",
			want: "FROM scratch AS p\nONBUILD COPY --from=node:22@sha256:{B} /a /a\nFROM p\n",
		},
		"parent": {
			src:  "FROM ghcr.io/acme/base:1.2.3@sha256:{A}\n",
			want: "FROM ghcr.io/acme/base:1.3.0@sha256:{D}\n",
		},
		"tag of a parent elsewhere": {
			src:     "ARG V=1.2.3\nFROM ghcr.io/acme/base:${V}@sha256:{A}\n",
			want:    "ARG V=1.2.3\nFROM ghcr.io/acme/base:${V}@sha256:{A}\n",
			problem: "line 2: the tag of ghcr.io/acme/base:1.2.3@sha256:aaaaaaaaaaaa moves to 1.3.0, and is not written beside the digest",
		},
		"one digest of two references": {
			src:     "ARG E=sha256:{A}\nFROM node:22@${E} AS x\nFROM debian:12@${E}\nCOPY --from=x / /\n",
			want:    "ARG E=sha256:{A}\nFROM node:22@${E} AS x\nFROM debian:12@${E}\nCOPY --from=x / /\n",
			problem: "line 1: sha256:aaaaaaaaaaaa belongs to debian:12@sha256:aaaaaaaaaaaa and to node:22@sha256:aaaaaaaaaaaa, whose digests differ by now (write each reference in one piece)",
		},
		"in two lines": {
			src:  "FROM node:22@sha256:\\\n{A}\n",
			want: "FROM node:22@sha256:\\\n{B}\n",
		},
		"within the digest": {
			src:     "FROM node:22@sha256:\\\naaaaaaaa\\\naaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
			want:    "FROM node:22@sha256:\\\naaaaaaaa\\\naaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
			problem: "node:22@sha256:aaaaaaaaaaaa is not written in the Dockerfile in one piece (it may come from a build argument or a base image)",
		},
		"no tag, other digest, other repository": {
			src:  "FROM node@sha256:{A} AS x\nFROM node:22@sha256:{B} AS y\nFROM example.com/node:22@sha256:{A}\nCOPY --from=x / /\nCOPY --from=y / /\n",
			want: "FROM node@sha256:{A} AS x\nFROM node:22@sha256:{B} AS y\nFROM example.com/node:22@sha256:{A}\nCOPY --from=x / /\nCOPY --from=y / /\n",
		},
		"markers": {
			src:  "FROM scratch\n# imagefactory: node:22\nENV NODE=sha256:{A} \\\n  OTHER={A}\n",
			want: "FROM scratch\n# imagefactory: node:22\nENV NODE=sha256:{B} \\\n  OTHER={A}\n",
		},
		"syntax": {
			src:  "# syntax=debian:12@sha256:{A}\nFROM node:22@sha256:{A}\n",
			want: "# syntax=debian:12@sha256:{C}\nFROM node:22@sha256:{B}\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			src := []byte(expand(tt.src))
			got, err := pins.Dockerfile(t.Context(), src, []dockerfile.Options{{AllStages: true}}, lockOf)
			require.NoError(t, err)
			assert.Equal(t, expand(tt.want), string(got.Content))
			assertOnlyPinsDiffer(t, src, got)
			if tt.problem == "" {
				assert.Empty(t, got.Problems)
				return
			}
			require.NotEmpty(t, got.Problems)
			assert.Contains(t, got.Problems[0].String(), tt.problem)
		})
	}
}

// assertOnlyPinsDiffer asserts that without digests, and without the tag of a parent, a file is as it was.
func assertOnlyPinsDiffer(t *testing.T, src []byte, got *pins.Edit) {
	t.Helper()
	bare := func(text []byte) string {
		return strings.ReplaceAll(fromA.ReplaceAllString(string(text), "HEX"), "base:1.3.0@", "base:1.2.3@")
	}
	assert.Equal(t, bare(src), bare(got.Content))
}

func TestFile(t *testing.T) {
	for name, tt := range map[string]struct{ file, src, want string }{
		"bake": {
			file: "docker-bake.hcl",
			src: "variable \"NODE\" {\r\n  default = \"node:22@sha256:{A}\" # \"node:22@sha256:{A}\"\r\n}\n// \"node:22@sha256:{A}\"\n/* \"node:22@sha256:{A}\"\n*/\n" +
				"target \"app\" {\n  contexts = { base = \"docker-image://debian:12@sha256:{A}\" }\n  dockerfile-inline = <<EOT\nFROM \"node:22@sha256:{A}\"\n  EOT\n  args = { X = \"see node:22@sha256:{A}\", Y = \"node:22@sha256:{A}\" }\n}",
			want: "variable \"NODE\" {\r\n  default = \"node:22@sha256:{B}\" # \"node:22@sha256:{A}\"\r\n}\n// \"node:22@sha256:{A}\"\n/* \"node:22@sha256:{A}\"\n*/\n" +
				"target \"app\" {\n  contexts = { base = \"docker-image://debian:12@sha256:{C}\" }\n  dockerfile-inline = <<EOT\nFROM \"node:22@sha256:{A}\"\n  EOT\n  args = { X = \"see node:22@sha256:{A}\", Y = \"node:22@sha256:{B}\" }\n}",
		},
		"bake JSON": {
			file: "docker-bake.json",
			src:  `{"target":{"app":{"contexts":{"base":"docker-image://ghcr.io/acme/base:1.2.3@sha256:{A}"},"args":{"D":"sha256:{A}"}}}}`,
			want: `{"target":{"app":{"contexts":{"base":"docker-image://ghcr.io/acme/base:1.3.0@sha256:{D}"},"args":{"D":"sha256:{A}"}}}}`,
		},
		"compose": {
			file: "compose.yaml",
			src: "services: # node:22@sha256:{A}\n  ä: {image: 'node:22@sha256:{A}'} # node:22@sha256:{A}\n  app:\n    build:\n      additional_contexts:\n        - base=docker-image://debian:12@sha256:{A}\n" +
				"        - docker-image://debian:12@sha256:{A}\n  db:\n    image: &db node:22@sha256:{A}\n    command: |\n      node:22@sha256:{A}\n---\nimage: \"debian:12@sha256:{A}\"",
			want: "services: # node:22@sha256:{A}\n  ä: {image: 'node:22@sha256:{B}'} # node:22@sha256:{A}\n  app:\n    build:\n      additional_contexts:\n        - base=docker-image://debian:12@sha256:{C}\n" +
				"        - docker-image://debian:12@sha256:{C}\n  db:\n    image: &db node:22@sha256:{B}\n    command: |\n      node:22@sha256:{A}\n---\nimage: \"debian:12@sha256:{C}\"",
		},
		"markers": {
			file: "values.yaml",
			src:  "digest: sha256:{A} # imagefactory: node:22\n# imagefactory: docker.io/library/debian:12\nother: {A}\nthird: sha256:{A}\n",
			want: "digest: sha256:{B} # imagefactory: node:22\n# imagefactory: docker.io/library/debian:12\nother: {C}\nthird: sha256:{A}\n",
		},
		"marker in a script": {
			file: "run.sh",
			src:  "image=node@sha256:{A} # imagefactory: node:22\nimage=node:22@sha256:{A}\n<!-- imagefactory: node:22 -->\nx {A}{A} {A}",
			want: "image=node@sha256:{B} # imagefactory: node:22\nimage=node:22@sha256:{A}\n<!-- imagefactory: node:22 -->\nx {A}{A} {B}",
		},
	} {
		t.Run(name, func(t *testing.T) {
			src := []byte(expand(tt.src))
			got, err := pins.File(tt.file, src, lockOf)
			require.NoError(t, err)
			assert.Equal(t, expand(tt.want), string(got.Content))
			assert.Empty(t, got.Problems)
			assertOnlyPinsDiffer(t, src, got)
		})
	}
}

func TestChangesAreListedInTheOrderOfTheFile(t *testing.T) {
	got, err := pins.Dockerfile(t.Context(), []byte(expand("FROM node:22@sha256:{A} AS x\nFROM debian:12@sha256:{A}\n# imagefactory: node:22\nENV N={A}\nCOPY --from=x / /\n")),
		[]dockerfile.Options{{}}, lockOf)
	require.NoError(t, err)
	var lines []int
	for _, change := range got.Changes {
		lines = append(lines, change.Line)
	}
	assert.Equal(t, []int{1, 2, 4}, lines)
	assert.Equal(t, "docker.io/library/node:22@sha256:"+a, got.Changes[0].From.String())
	assert.Equal(t, "docker.io/library/node:22@sha256:"+b, got.Changes[0].To.String())
}

func TestPinFromBuildArgumentIsAProblem(t *testing.T) {
	build := dockerfile.Options{BuildArgs: map[string]string{"DIGEST": "sha256:" + a}}
	got, err := pins.Dockerfile(t.Context(), []byte("ARG DIGEST=sha256:"+c+"\nFROM node:22@${DIGEST}\n"), []dockerfile.Options{build}, lockOf)
	require.NoError(t, err)
	assert.Empty(t, got.Changes)
	require.Len(t, got.Problems, 1)
	assert.Contains(t, got.Problems[0].String(), "it may come from a build argument")
}

func TestInvalidMarkerIsAProblem(t *testing.T) {
	for _, ref := range []string{"Node:22", "node@sha256:" + a} {
		got, err := pins.File("x", []byte("# imagefactory: "+ref+"\nx "+a), lockOf)
		require.NoError(t, err)
		require.Len(t, got.Problems, 1)
		assert.Contains(t, got.Problems[0].String(), "line 1: invalid marker")
		assert.Empty(t, got.Changes)
	}
}

func TestInvalidYAMLIsAnError(t *testing.T) {
	_, err := pins.File("a/compose.yaml", []byte("a: [\n"), lockOf)
	require.ErrorContains(t, err, "parsing compose.yaml: ")
}

func TestOtherRepositoryIsNeverWritten(t *testing.T) {
	got, err := pins.File("x.json", []byte(`"node:22@sha256:`+a+`"`), func(r state.Ref) state.Ref {
		r.Repository = "evil/node"
		return r
	})
	require.NoError(t, err)
	assert.Empty(t, got.Changes)
	assert.Len(t, got.Problems, 1)
}

// lockAll moves every digest to d, so that whatever is changed shows.
func lockAll(r state.Ref) state.Ref {
	r.Digest = "sha256:" + d
	return r
}

func FuzzDockerfile(f *testing.F) {
	f.Add([]byte(expand("# syntax=x:1@sha256:{A}\nARG A=node:22@sha256:{A}\nFROM $A AS x\r\nRUN --mount=from=debian:12@sha256:{A},target=/x <<E\n{A}\nE\n# imagefactory: node:22\nENV {A}")))
	f.Add([]byte("\xef\xbb\xbf# escape=`\nFROM `\n a:1@sha256:" + a))
	f.Fuzz(func(t *testing.T, src []byte) {
		got, err := pins.Dockerfile(t.Context(), src, []dockerfile.Options{{AllStages: true}}, lockAll)
		if err == nil {
			checkEdit(t, src, got)
		}
	})
}

func FuzzFile(f *testing.F) {
	f.Add("docker-bake.hcl", []byte(expand("a = \"docker-image://node:22@sha256:{A}\"\n<<E\n{A}\nE\n/* \"")))
	f.Add("compose.yaml", []byte(expand("a: &x node:22@sha256:{A} # imagefactory: node:22\nb: *x")))
	f.Add("x", []byte(expand("// imagefactory: node:22\n{A}")))
	f.Fuzz(func(t *testing.T, name string, src []byte) {
		got, err := pins.File(name, src, lockAll)
		if err == nil {
			checkEdit(t, src, got)
		}
	})
}

// checkEdit: nothing but digits of digests differs, as many as there are changes, and editing again changes nothing.
func checkEdit(t *testing.T, src []byte, got *pins.Edit) {
	require.Len(t, got.Content, len(src))
	differ := 0
	for at := 0; at < len(src); at++ {
		if src[at] != got.Content[at] {
			start := at
			for start > 0 && at-start < 64 && string(got.Content[start:min(start+64, len(src))]) != d {
				start--
			}
			require.Equal(t, d, string(got.Content[start:start+64]), "at %d", at)
			require.Regexp(t, `^[0-9a-f]{64}$`, string(src[start:start+64]))
			differ++
			at = start + 63
		}
	}
	require.Len(t, got.Changes, differ)
}

// The pin of a named context is written where the context is: in a bake file, or in images.yaml.
func TestPinOfAContext(t *testing.T) {
	build := dockerfile.Options{Contexts: map[string]string{"base": "docker-image://node:22@sha256:" + a, "src": "."}}
	edit, err := pins.Dockerfile(t.Context(), []byte("FROM base\nCOPY --from=debian:12@sha256:"+a+" /a /a\n"), []dockerfile.Options{build}, lockOf)
	require.NoError(t, err)
	assert.Empty(t, edit.Problems)
	assert.Equal(t, "FROM base\nCOPY --from=debian:12@sha256:"+c+" /a /a\n", string(edit.Content))
}
