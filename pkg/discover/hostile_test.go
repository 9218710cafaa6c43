package discover

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
)

// workflow returns a workflow with a step for each command.
func workflow(commands ...string) string {
	var b strings.Builder
	b.WriteString("on: {workflow_dispatch: {}}\njobs:\n  b:\n    steps:\n")
	for _, c := range commands {
		b.WriteString("    - run: |\n        " + c + "\n")
	}
	return b.String()
}

func TestDockerfileThatCannotBeBuilt(t *testing.T) {
	for name, test := range map[string]struct{ dockerfile, flags, note string }{
		"unknown target":   {"FROM alpine:3 AS build\n", "--target nope", `not known: the images that it uses: target stage "nope" could not be found`},
		"not a Dockerfile": {"FROM\n", "", "not known: the images that it uses: FROM requires either one or three arguments"},
		"empty":            {"", "", "not known: the images that it uses: the Dockerfile cannot be empty"},
		"too large":        {"FROM alpine:3\n" + strings.Repeat("#", maxFileBytes), "", "not known: the images that it uses: Dockerfile could not be read"},
	} {
		t.Run(name, func(t *testing.T) {
			r := discovered(t, config.GitHub, memory{
				"Dockerfile":               test.dockerfile,
				".github/workflows/ci.yml": workflow("docker build " + test.flags + " -t ghcr.io/acme/web --push ."),
			})
			require.Len(t, r.Items, 1)
			require.Equal(t, Incomplete, r.Items[0].Status)
			require.Equal(t, Low, r.Items[0].Confidence)
			require.Contains(t, r.Items[0].Notes, test.note)
			check(t, r)
		})
	}
}

func TestRegistryOfTheRunner(t *testing.T) {
	r := discovered(t, config.GitHub, memory{
		"Dockerfile":               "FROM alpine:3\n",
		".github/workflows/ci.yml": workflow("docker build -t localhost:5000/web --push ."),
	})
	require.Len(t, r.Items, 1)
	require.Equal(t, Incomplete, r.Items[0].Status)
	require.Contains(t, r.Items[0].Notes, "not known: the registry: localhost:5000 is the machine that builds")
}

// The parser of HCL is recursive, and a Go program whose stack overflows dies.
func TestDeepBakeFile(t *testing.T) {
	for _, deep := range []string{
		strings.Repeat("[", 60_000) + strings.Repeat("]", 60_000), strings.Repeat("!", 120_000) + "true", strings.Repeat("{a=", 30_000) + strings.Repeat("}", 30_000),
		strings.Repeat("lower(", 18_000) + strings.Repeat(")", 18_000), strings.Repeat(`"${`, 20_000) + strings.Repeat(`}"`, 20_000),
	} {
		r := discovered(t, config.GitHub, memory{"Dockerfile": "FROM alpine:3\n", "docker-bake.hcl": "target \"default\" {\n  tags = " + deep + "\n}\n"})
		require.Len(t, r.Problems, 1)
		require.Equal(t, "nested more than 100 levels deep", r.Problems[0].Message)
	}
}

func TestDeepSubstitution(t *testing.T) {
	const levels = 6000
	r := discovered(t, config.GitHub, memory{
		"Dockerfile":               "FROM alpine:3\n",
		".github/workflows/ci.yml": workflow("docker build -t ghcr.io/acme/" + strings.Repeat(`"$(echo `, levels) + "web" + strings.Repeat(`)"`, levels) + " --push ."),
	})
	require.Len(t, r.Items, 1)
	require.Equal(t, []string{"$(...)"}, r.Items[0].Unresolved)
}

// An expression may hold the one before twice.
func TestNestedExpressions(t *testing.T) {
	m := &marks{}
	text := "x"
	for range 20 {
		text = m.add("$(" + text + text + ")")
	}
	require.Less(t, len(m.show(text+text)), 3*maxWord)
}

// Make replaces the first % of a prerequisite only.
func TestPrerequisiteWithTwoPercentSigns(t *testing.T) {
	r := discovered(t, config.GitHub, memory{
		"Dockerfile": "FROM alpine:3\n",
		"Makefile": "push-%: image-%/%\nimage-web/%:\n\tdocker build -t ghcr.io/acme/right --push .\n" +
			"image-web/web:\n\tdocker build -t ghcr.io/acme/wrong --push .\n",
		".github/workflows/ci.yml": workflow("make push-web"),
	})
	require.Len(t, r.Items, 1)
	require.Equal(t, "right", r.Items[0].Name)
}

func TestTokenInABuildArgument(t *testing.T) {
	const token = "ghp_abcdefghijklmnopqrstuvwxyz0123456789"
	r := discovered(t, config.GitHub, memory{
		"Dockerfile":               "ARG B\nFROM alpine:$B\n",
		".github/workflows/ci.yml": workflow("docker build --build-arg B=" + token + " -t ghcr.io/acme/web --push ."),
	})
	require.Len(t, r.Items, 1)
	require.Equal(t, Incomplete, r.Items[0].Status)
	require.Nil(t, r.Items[0].Entry)
	text, err := json.Marshal(r)
	require.NoError(t, err)
	require.NotContains(t, string(text), token)
}
