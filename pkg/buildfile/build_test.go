package buildfile_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/buildfile"
)

func TestBakeTarget(t *testing.T) {
	const file = `
variable "SHA" {}
variable "OLD" { default = "1" }
group "one" { targets = ["web"] }
target "web" {
  args     = { SHA = SHA, GUESS = SHA == "" ? "a" : "b", TEXT = "v-${SHA}", OLD = OLD }
  contexts = { base = "target:base", none = "" }
}
target "base" { context = "../base" }
`
	b, err := buildfile.BakeTarget("ci/docker-bake.hcl", []byte(file), "ci", "one")
	require.NoError(t, err)
	const why = "variable SHA has no default"
	unknown := buildfile.Expression{Text: "${SHA}", Line: 2, Column: 1, Why: why}
	assert.Equal(t, &buildfile.Build{
		Name: "web", Line: 5, Column: 1, Context: "ci", Dockerfile: "ci/Dockerfile", Args: map[string]string{"OLD": "1"},
		Contexts: map[string]string{"base": "target:base"}, Missing: map[string]buildfile.Expression{"SHA": unknown, "GUESS": unknown, "TEXT": unknown},
		Links: map[string]*buildfile.Build{"base": {
			Name: "base", Line: 9, Column: 1, Context: "base", Dockerfile: "base/Dockerfile", Args: map[string]string{}, Contexts: map[string]string{},
			Missing: map[string]buildfile.Expression{}, Links: map[string]*buildfile.Build{},
		}},
	}, b)
}

func TestBakeTargetErrors(t *testing.T) {
	deep := strings.Repeat("[", 60_000) + strings.Repeat("]", 60_000)
	for name, test := range map[string]struct{ file, target, want string }{
		"no such target":     {`target "a" {}`, "b", `x.hcl: no target "b" (targets: a)`},
		"group":              {"group \"g\" { targets = [\"a\", \"b\"] }\ntarget \"a\" {}\ntarget \"b\" {}", "g", `x.hcl: "g" is a group of several targets: name one of them (a, b)`},
		"syntax":             {"target \"a\" {\n  context = \n}", "a", `x.hcl:2:13: invalid HCL: Invalid expression`},
		"too deep":           {`target "a" { tags = ` + deep + ` }`, "a", `x.hcl: nested more than 100 levels deep`},
		"remote context":     {"target \"a\" {\n  context = \"https://github.com/acme/web.git#v1\"\n}", "a", `x.hcl:2:13: context of target "a" is "https://github.com/acme/web.git#v1", which is not read (enroll the image with the repository that its Dockerfile is in: source.repo and source.dockerfile)`},
		"remote by git":      {"target \"a\" {\n  context = \"git@github.com:acme/web.git\"\n}", "a", `x.hcl:2:13: context of target "a" is "git@github.com:acme/web.git", which is not read (enroll the image with the repository that its Dockerfile is in: source.repo and source.dockerfile)`},
		"standard input":     {"target \"a\" { context = \"-\" }", "a", `x.hcl:1:24: context of target "a" is read from standard input`},
		"absolute context":   {"target \"a\" { context = \"/src\" }", "a", `x.hcl:1:24: context of target "a" is an absolute path (write it relative to the repository)`},
		"outside":            {"target \"a\" { dockerfile = \"../../Dockerfile\" }", "a", `x.hcl:1:27: Dockerfile of target "a" is outside of the repository: "../../Dockerfile"`},
		"remote Dockerfile":  {"target \"a\" { dockerfile = \"https://example.com/Dockerfile\" }", "a", `x.hcl:1:27: Dockerfile of target "a" is not in the repository: "https://example.com/Dockerfile"`},
		"inline":             {"target \"a\" { dockerfile-inline = \"FROM scratch\" }", "a", `x.hcl:1:34: the Dockerfile of target "a" is in the bake file itself, which is not read (write it to a file)`},
		"unknown context":    {"variable \"DIR\" {}\ntarget \"a\" { context = \"x/${DIR}\" }", "a", `x.hcl:1:1: context of target "a" cannot be evaluated: ${DIR}: variable DIR has no default (give the variable a default, or write the value)`},
		"unknown function":   {"target \"a\" {\n  dockerfile = \"x-${timestamp()}\"\n}", "a", `x.hcl:2:16: dockerfile of target "a" cannot be evaluated: "x-${timestamp()}": There is no function named "timestamp" (give the variable a default, or write the value)`},
		"unknown variable":   {"target \"a\" {\n  target = BAKE_LOCAL_PLATFORM\n}", "a", `x.hcl:2:12: target of target "a" cannot be evaluated: BAKE_LOCAL_PLATFORM: There is no variable named "BAKE_LOCAL_PLATFORM" (give the variable a default, or write the value)`},
		"unknown condition":  {"variable \"CI\" {}\ntarget \"a\" { target = CI == \"\" ? \"dev\" : \"ci\" }", "a", `x.hcl:1:1: target of target "a" cannot be evaluated: ${CI}: variable CI has no default (give the variable a default, or write the value)`},
		"unknown image":      {"variable \"T\" {}\ntarget \"a\" { contexts = { n = \"docker-image://node:${T}\" } }", "a", `x.hcl:1:1: context "n" of target "a" cannot be evaluated: ${T}: variable T has no default (give the variable a default, or write the value)`},
		"inherits nothing":   {"target \"a\" { inherits = [\"b\"] }", "a", `x.hcl:1:1: target "a" inherits from "b", which is not a target of the file`},
		"unknown parent":     {"variable \"T\" {}\ntarget \"a\" { inherits = [T] }", "a", `x.hcl:1:1: a target that "a" inherits from cannot be evaluated: ${T}: variable T has no default (write its name)`},
		"context of itself":  {"target \"a\" { contexts = { b = \"target:a\" } }", "a", `x.hcl:1:1: context "b" of target "a": more than 50 targets are contexts of each other, or one is a context of itself`},
		"context of nothing": {"target \"a\" { contexts = { b = \"target:b\" } }", "a", `x.hcl:1:1: context of target "a": no target "b"`},
		"cycle of variables": {"variable \"A\" { default = B }\nvariable \"B\" { default = A }\ntarget \"a\" { target = A }", "a", `x.hcl:2:26: target of target "a" cannot be evaluated: A: There is no variable named "A" (give the variable a default, or write the value)`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := buildfile.BakeTarget("x.hcl", []byte(test.file), ".", test.target)
			require.EqualError(t, err, test.want)
		})
	}
}

func TestPlatformsThatAreNotKnown(t *testing.T) {
	for text, want := range map[string]string{
		`["local"]`:            `x.hcl:2:26: platform "local" of target "a" does not say what is built (set source.platforms)`,
		`["linux/amd64", P]`:   `x.hcl:1:1: platforms of target "a" cannot be evaluated: ${P}: variable P has no default (set source.platforms)`,
		`["a/b/c/d", "amd64"]`: `x.hcl:2:26: platform "a/b/c/d" of target "a" does not say what is built (set source.platforms)`,
	} {
		b, err := buildfile.BakeTarget("x.hcl", []byte("variable \"P\" {}\ntarget \"a\" { platforms = "+text+" }"), ".", "a")
		require.NoError(t, err)
		require.EqualError(t, b.Platform, want)
	}
}

// A target with the name of a group is built if the group has it as a member.
func TestGroupWithTheNameOfATarget(t *testing.T) {
	const file = `
group "default" { targets = ["default", "b"] }
group "a" { targets = ["a"] }
group "b" { targets = ["c"] }
target "default" { target = "default" }
target "a" { target = "a" }
target "b" { target = "b" }
target "c" { target = "c" }
`
	_, err := buildfile.BakeTarget("x.hcl", []byte(file), ".", "default")
	require.EqualError(t, err, `x.hcl: "default" is a group of several targets: name one of them (default, c)`)
	for name, want := range map[string]string{"a": "a", "b": "c"} {
		b, err := buildfile.BakeTarget("x.hcl", []byte(file), ".", name)
		require.NoError(t, err)
		assert.Equal(t, want, b.Target, name)
	}
}

// What a file costs grows with its size only.
func TestHostileBake(t *testing.T) {
	var doubling, inherits, contexts, values strings.Builder
	for i := range 40 {
		fmt.Fprintf(&doubling, "function \"f%d\" {\n  params = [x]\n  result = \"${f%d(x)}${f%d(x)}\"\n}\n", i, i+1, i+1)
		fmt.Fprintf(&values, "variable \"V%d\" { default = \"${V%d}${V%d}\" }\n", i, i+1, i+1)
		for k := range 8 {
			fmt.Fprintf(&inherits, "target \"t%d-%d\" { inherits = [for n in [0,1,2,3,4,5,6,7] : \"t%d-${n}\"] }\n", i, k, i+1)
		}
	}
	doubling.WriteString("function \"f40\" {\n  params = [x]\n  result = x\n}\ntarget \"t0-0\" { target = f0(\"a\") }\n")
	values.WriteString("variable \"V40\" { default = \"0123456789\" }\ntarget \"t0-0\" { target = V0 }\n")
	for k := range 8 {
		fmt.Fprintf(&inherits, "target \"t40-%d\" {}\n", k)
	}
	contexts.WriteString("target \"t0-0\" { contexts = { a = \"target:t0-0\", b = \"target:t0-0\", c = \"target:t0-0\" } }\n")
	for name, test := range map[string]struct{ file, want string }{
		"functions": {doubling.String(), "too large to be evaluated"},
		"variables": {values.String(), "too large to be evaluated"},
		"inherits":  {inherits.String(), ""},
		"contexts":  {contexts.String(), "more than 50 targets"},
		"number":    {`target "t0-0" { target = 1e99999999 }`, "too large to be evaluated"},
		"template":  {`target "t0-0" { target = "${1e-99999999}" }`, "too large to be evaluated"},
		"argument":  {`target "t0-0" { target = upper(1e99999999) }`, "too large to be evaluated"},
		"product":   {"variable \"V\" { default = 1e300 }\ntarget \"t0-0\" { target = \"${V" + strings.Repeat("*V", 4000) + "}\" }\n", "too large to be evaluated"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := buildfile.BakeTarget("x.hcl", []byte(test.file), ".", "t0-0")
			if test.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.want)
			}
		})
	}
}

func TestHugeNumbersInJSON(t *testing.T) {
	for _, value := range []string{`1e99999999`, `1e-99999999`, `"${1e99999999}"`, `"${upper( -1.5E+99999999)}"`} {
		_, err := buildfile.BakeTarget("x.json", []byte(`{"target": {"a": {"target": `+value+`}}}`), ".", "a")
		require.ErrorContains(t, err, "too large to be evaluated", value)
	}
	got, err := buildfile.BakeTarget("x.json", []byte(`{"target": {"a": {"args": {"B": "sha256:1e99999999", "C": "a 1e99999999"}}}}`), ".", "a")
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"B": "sha256:1e99999999", "C": "a 1e99999999"}, got.Args)
}

func TestDeepJSON(t *testing.T) {
	for _, deep := range []string{
		strings.Repeat("[", 60_000) + strings.Repeat("]", 60_000), `"${` + strings.Repeat("!", 60_000) + `true}"`,
		`"${` + strings.Repeat("lower(", 15_000) + strings.Repeat(")", 15_000) + `}"`,
	} {
		_, err := buildfile.BakeTarget("x.json", []byte(`{"target": {"a": {"tags": [`+deep+`]}}}`), ".", "a")
		require.EqualError(t, err, "x.json: nested more than 100 levels deep")
	}
}

func TestComposeService(t *testing.T) {
	const file = `
services:
  web:
    image: example.com/web:${TAG}
    platform: linux/arm64
    build:
      context: ../web
      args: {VERSION: "${VERSION}", TOKEN: , NAME: "${NAME-x}", A: "${A:+b}"}
      additional_contexts: {base: service:base}
  base:
    build: .
`
	b, usesEnv, err := buildfile.ComposeService("deploy/compose.yaml", []byte(file), "web", []byte("VERSION=3\nA=1\n"))
	require.NoError(t, err)
	assert.True(t, usesEnv)
	assert.Equal(t, "web/Dockerfile", b.Dockerfile)
	assert.Equal(t, []string{"linux/arm64"}, b.Platforms)
	assert.Equal(t, map[string]string{"VERSION": "3", "NAME": "x", "A": "b"}, b.Args)
	assert.Equal(t, map[string]buildfile.Expression{"TOKEN": {Text: "TOKEN", Line: 8, Column: 37, Why: "its value comes from the environment of the build"}}, b.Missing)
	assert.Equal(t, "deploy/Dockerfile", b.Links["base"].Dockerfile)
}

func TestComposeServiceErrors(t *testing.T) {
	for name, test := range map[string]struct{ file, want string }{
		"syntax":      {"services: [", "x.yaml:1: invalid YAML: did not find expected node content"},
		"empty":       {"", `x.yaml: no service "a" (services: )`},
		"none":        {"services: {b: {build: .}, c: {}}", `x.yaml: no service "a" (services: b, c)`},
		"not built":   {"services:\n  a: {image: nginx}", `x.yaml:2:3: service "a" is not built: it has no key build`},
		"extends":     {"services:\n  a:\n    extends: {service: b}\n    build: .", `x.yaml:3:14: service "a" extends another one, which is not read (write its build out, or share it with a YAML anchor)`},
		"inline":      {"services:\n  a:\n    build:\n      dockerfile_inline: FROM scratch", `x.yaml:4:26: the Dockerfile of service "a" is in the Compose file itself, which is not read (write it to a file)`},
		"remote":      {"services:\n  a:\n    build: https://github.com/acme/web.git", `x.yaml:3:12: context of service "a" is "https://github.com/acme/web.git", which is not read (enroll the image with the repository that its Dockerfile is in: source.repo and source.dockerfile)`},
		"no variable": {"services:\n  a:\n    build: ./${DIR}", `x.yaml:3:12: context of service "a" cannot be evaluated: ${DIR}: the variable has no value and no default (give the variable a default, or write the value)`},
		"no service":  {"services:\n  a:\n    build: {additional_contexts: {b: \"service:b\"}}", `x.yaml: no service "b" (services: a)`},
		"documents":   {"services: {a: {build: x}}\n---\nservices: {a: {build: {target: y}}}", `x.yaml: has several documents, which are not merged (write one)`},
		"no text":     {"services:\n  a:\n    build: \"\x01\"", `x.yaml: contains control characters`},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := buildfile.ComposeService("x.yaml", []byte(test.file), "a", nil)
			require.EqualError(t, err, test.want)
		})
	}
}

func TestDotEnv(t *testing.T) {
	vars := buildfile.DotEnv("# comment\nexport A=1\nB = \"x y\" # note\nC='$A'\nD=${A}-${Z} # note\nE=a#b\nnothing\n", func(text string) string { return "<" + text + ">" })
	assert.Equal(t, map[string]string{"A": "1", "B": "x y", "C": "$A", "D": "1-<${Z}>", "E": "a#b"}, vars)
}
