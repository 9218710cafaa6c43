package discover

import (
	"bytes"
	"cmp"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/buildfile"
	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/yamlenc"
)

// action returns a workflow with a step of docker/bake-action. The inputs are in YAML's flow style.
func action(inputs string) string {
	return "on: workflow_dispatch\nenv: {NODE: \"22\"}\njobs: {b: {strategy: {matrix: {arch: [amd64, arm64]}}, steps: [{id: meta, uses: docker/metadata-action@v5}, {uses: docker/bake-action@v7, with: {push: true" + inputs + "}}]}}\n"
}

const (
	bakeSeed = `
variable "NODE" { default = "22" }
variable "COMMIT" {}
group "default" { targets = ["web"] }
target "docker-metadata-action" {}
target "base" {
  context = "base"
  args = { DEBIAN = "12" }
}
target "web" {
  inherits = ["docker-metadata-action"]
  dockerfile = "web/Dockerfile"
  target = "run"
  args = { NODE = NODE, COMMIT = COMMIT }
  contexts = { base = "target:base" }
  platforms = ["linux/arm64", "linux/amd64"]
  tags = ["ghcr.io/acme/web:1"]
}
`
	composeSeed = `
services:
  web:
    image: ghcr.io/acme/web
    build: {context: ., dockerfile: web/Dockerfile, target: run, args: {NODE: "${NODE:-22}", COMMIT: }, additional_contexts: {base: "service:base"}}
  base:
    build: {context: base, args: [DEBIAN=12]}
`
)

func TestDescribedBuilds(t *testing.T) {
	const ci, bakeFile = ".github/workflows/ci.yml", "docker-bake.hcl"
	for name, test := range map[string]struct {
		files memory
		want  string // FILE TARGET WORKDIR, or the note that says why values are copied
	}{
		"the action":             {memory{ci: action("")}, "docker-bake.hcl web "},
		"a target":               {memory{ci: action(", targets: web, files: docker-bake.hcl")}, "docker-bake.hcl web "},
		"tags of metadata":       {memory{ci: action(`, files: "docker-bake.hcl\n${{ steps.meta.outputs.bake-file }}"`)}, "docker-bake.hcl web "},
		"tags by command":        {memory{ci: action(`, set: "*.tags=ghcr.io/acme/web:2"`)}, "docker-bake.hcl web "},
		"an argument of no base": {memory{ci: action(`, set: "web.args.COMMIT=1"`)}, "docker-bake.hcl web "},
		"a machine per platform": {memory{ci: action(`, set: "*.platform=linux/${{ matrix.arch }}"`)}, "docker-bake.hcl web "},
		"the same value":         {memory{ci: action(", vars: NODE=22")}, "docker-bake.hcl web "},
		"a folder":               {memory{ci: action(", source: sub"), "sub/docker-bake.hcl": bakeSeed, "sub/web/Dockerfile": "FROM base AS run\n", "sub/base/Dockerfile": "FROM a\n"}, "sub/docker-bake.hcl web sub"},
		"a file of a folder":     {memory{ci: action(", files: sub/a.hcl"), "sub/a.hcl": bakeSeed}, "sub/a.hcl web "},
		"JSON":                   {memory{ci: action(", files: a.json"), "a.json": `{"target": {"default": {"dockerfile": "web/Dockerfile", "tags": ["ghcr.io/acme/web"]}}}`}, "a.json default "},
		"a command":              {memory{ci: workflow("docker buildx bake --push web")}, "docker-bake.hcl web "},
		"--set in a folder":      {memory{ci: workflow("cd web; docker buildx bake --push -f ../docker-bake.hcl base --set base.context=../base --set base.tags=ghcr.io/acme/base")}, "base is built with another context than the file says"},

		"--set platform":    {memory{ci: action(`, set: "*.platform=linux/arm64"`)}, "web is built for other platforms than the file says"},
		"--set argument":    {memory{ci: action(`, set: "web.args.NODE=20"`)}, "web is built with another value of NODE than the file says"},
		"--set context":     {memory{ci: action(`, set: "web.contexts.base=docker-image://debian:12"`)}, "web is built with other contexts than the file says"},
		"--set parent":      {memory{ci: action(`, set: "base.args.DEBIAN=13"`)}, "base is built with another value of DEBIAN than the file says"},
		"--set target":      {memory{ci: action(`, set: "web.target=other"`)}, "web is built with another target than the file says"},
		"--set Dockerfile":  {memory{ci: action(`, set: "web.dockerfile=other/Dockerfile"`), "other/Dockerfile": "FROM a AS run\n"}, "web is built with another Dockerfile than the file says"},
		"variable":          {memory{ci: action(", vars: NODE=20")}, "web is built with another value of NODE than the file says"},
		"variable of shell": {memory{ci: workflow("NODE=20 docker buildx bake --push web")}, "web is built with another value of NODE than the file says"},
		"exported variable": {memory{ci: workflow("(export NODE=20; docker buildx bake --push web)")}, "web is built with another value of NODE than the file says"},
		"--var":             {memory{ci: workflow("docker buildx bake --push --var NODE=20 web")}, "web is built with another value of NODE than the file says"},
		"unknown variable":  {memory{ci: workflow("NODE=$(x) docker buildx bake --push web")}, "web is built with another value of NODE than the file says"},
		"of the runner":     {memory{ci: action(""), bakeFile: strings.ReplaceAll(bakeSeed, "NODE", "RUNNER_OS"), "web/Dockerfile": "ARG RUNNER_OS\nFROM node:${RUNNER_OS} AS run\nCOPY --from=base / /\n"}, "web is built with another value of RUNNER_OS than the file says"},
		"several files":     {memory{ci: action(""), "docker-bake.override.hcl": "target \"web\" {}"}, "several files are used: docker-bake.hcl, docker-bake.override.hcl"},
		"standard input":    {memory{ci: workflow("x | docker buildx bake --push -f docker-bake.hcl -f - web")}, "- is used too, and is not in the repository"},
		"file of a step":    {memory{ci: action(`, files: "docker-bake.hcl\n${{ steps.x.outputs.file }}"`)}, "${{ steps.x.outputs.file }} is used too, and is not in the repository"},
		"remote":            {memory{ci: workflow("docker buildx bake --push https://example.com/a.git web")}, "the file is read from https://example.com/a.git"},
		"remote source":     {memory{ci: action(`, source: "https://example.com/a.git"`)}, "the file is read from https://example.com/a.git"},
		"no Dockerfile":     {memory{ci: action(""), bakeFile: strings.ReplaceAll(bakeSeed, `"base"`+"\n", `"gone"`+"\n")}, "gone/Dockerfile is not in the repository"},
		"function of time":  {memory{ci: action(""), bakeFile: strings.ReplaceAll(bakeSeed, `"target:base"`, `"docker-image://a:${timestamp()}"`)}, `docker-bake.hcl:15:23: context "base" of target "web" cannot be evaluated: "docker-image://a:${timestamp()}": There is no function named "timestamp" (give the variable a default, or write the value)`},
		"no default":        {memory{ci: action(""), bakeFile: strings.ReplaceAll(bakeSeed, `{ default = "22" }`, "{}")}, "web is built with another value of NODE than the file says"},
		"no extension":      {memory{ci: action(", files: bake"), "bake": bakeSeed}, "the name of the file ends in neither .hcl nor .json"},
		"another build too": {memory{ci: workflow("docker buildx bake --push web", "if [ $X ]; then docker build -f web/Dockerfile --target run -t ghcr.io/acme/web:1 --push .; fi")}, "it is also built at .github/workflows/ci.yml:8"},
	} {
		t.Run("bake "+name, func(t *testing.T) { describedBuild(t, test.files, bakeFile, bakeSeed, test.want) })
	}
	const compose = "compose.yaml"
	for name, test := range map[string]struct {
		files memory
		want  string
	}{
		"a command":      {memory{ci: workflow("docker compose build --push web")}, "compose.yaml web "},
		"build, push":    {memory{ci: workflow("docker compose -f compose.yaml build", "docker compose push web")}, "compose.yaml web "},
		"bake":           {memory{ci: action(", targets: web")}, "compose.yaml web "},
		"file .env":      {memory{ci: workflow("docker compose build --push web"), ".env": "NODE=20\n"}, "compose.yaml web "},
		"a folder":       {memory{ci: workflow("docker compose -f sub/c.yml build --push web"), "sub/c.yml": composeSeed, "sub/web/Dockerfile": "FROM base AS run\n", "sub/base/Dockerfile": "FROM a\n"}, "sub/c.yml web "},
		"bake elsewhere": {memory{ci: action(", targets: web, files: sub/c.yml"), "sub/c.yml": composeSeed}, "web is built with another context than the file says"},
		"directory":      {memory{ci: workflow("docker compose -f sub/c.yml --project-directory . build --push web"), "sub/c.yml": composeSeed}, "web is built with another context than the file says"},
		"--env-file":     {memory{ci: workflow("docker compose --env-file x build --push web")}, "variables are read from x"},
		"--build-arg":    {memory{ci: workflow("docker compose build --build-arg NODE=20 --push web")}, "web is built with another value of NODE than the file says"},
		"--set":          {memory{ci: action(`, targets: web, set: "*.platform=linux/arm64"`)}, "web is built for other platforms than the file says"},
		"environment":    {memory{ci: workflow("NODE=20 docker compose build --push web")}, "web is built with another value of NODE than the file says"},
		"override":       {memory{ci: workflow("docker compose build --push web"), "compose.override.yaml": "services: {}"}, "several files are used: compose.yaml, compose.override.yaml"},
		"missing file":   {memory{ci: workflow("docker compose -f compose.yaml -f gone.yaml build --push web")}, "gone.yaml is used too, and is not in the repository"},
		"extends":        {memory{ci: workflow("docker compose build --push web"), compose: strings.Replace(composeSeed, "    build", "    extends: {service: base}\n    build", 1)}, `compose.yaml:5:14: service "web" extends another one, which is not read (write its build out, or share it with a YAML anchor)`},
	} {
		t.Run("compose "+name, func(t *testing.T) { describedBuild(t, test.files, compose, composeSeed, test.want) })
	}
}

// describedBuild tests the proposal for the image web of a repository with a file that describes it.
func describedBuild(t *testing.T, files memory, file, seed, want string) {
	t.Helper()
	all := memory{file: seed, "web/Dockerfile": "ARG NODE\nFROM node:${NODE} AS run\nARG COMMIT\nCOPY --from=base / /\nFROM scratch AS other\n", "base/Dockerfile": "ARG DEBIAN\nFROM debian:${DEBIAN}\n"}
	for name, text := range files {
		all[name] = text
	}
	r := discovered(t, config.GitHub, all)
	check(t, r)
	require.NotEmpty(t, r.Items, r.Problems)
	require.NotNil(t, r.Items[0].Entry, r.Items[0].Notes)
	s := r.Items[0].Entry.Source
	last := ""
	if notes := r.Items[0].Notes; len(notes) > 0 {
		last = notes[len(notes)-1]
	}
	switch {
	case s.Bake != nil:
		assert.Equal(t, want, strings.Join([]string{cmp.Or(s.Bake.File, file), s.Bake.Target, s.Bake.Workdir}, " "))
	case s.Compose != nil:
		assert.Equal(t, want, cmp.Or(s.Compose.File, file)+" "+s.Compose.Service+" ")
	default:
		_, why, _ := strings.Cut(last, ": ")
		assert.Equal(t, want, why, r.Items[0].Notes)
		return
	}
	assert.NotContains(t, last, "copied from")
	readAsFound(t, all, r)
}

// readAsFound holds, for every entry that names a target or a service, that it is read as it was found, and that nothing is said twice.
func readAsFound(t *testing.T, files memory, r *Report) {
	t.Helper()
	repo := Repository{Provider: config.GitHub, Host: "github.com", Name: "acme/web", Branch: "main", remote: true}
	found, err := scan(t.Context(), repo, files, "")
	require.NoError(t, err)
	groups := groupBuilds(found)
	require.GreaterOrEqual(t, len(groups), len(r.Items))
	for i := range r.Items {
		item := &r.Items[i]
		if item.Entry == nil || item.Entry.Source.Bake == nil && item.Entry.Source.Compose == nil {
			continue
		}
		list, err := yamlenc.Marshal([]config.Entry{*item.Entry})
		require.NoError(t, err)
		cfg, err := config.Load(bytes.NewReader(list), "images.yaml")
		require.NoError(t, err)
		s := cfg.Images[0].Source
		require.Empty(t, s.Dockerfile+s.Target)
		require.Empty(t, s.BuildArgs)
		require.Empty(t, s.BuildContexts)
		require.False(t, s.OwnPlatforms())
		says := readEntry(t, files, s)
		g := groups[slices.IndexFunc(groups, func(g *group) bool {
			d := g.builds[0].described
			file, name := s.BuildFile()
			return g.ref == item.Image && d != nil && d.file == file && d.name == name
		})]
		b := g.builds[0]
		require.Nil(t, says.Platform)
		require.Equal(t, b.context, says.Context)
		require.Equal(t, b.dockerfile, says.Dockerfile)
		require.Equal(t, b.target, says.Target)
		for name, v := range b.contexts {
			require.Equal(t, v, says.Contexts[name])
		}
		for name := range fromArgs([]byte(files[b.dockerfile])) {
			require.NotContains(t, says.Missing, name)
			require.Equal(t, b.args[name], says.Args[name])
		}
		var platforms []string
		for _, other := range g.builds {
			platforms = append(platforms, other.platforms...)
		}
		for _, p := range platforms {
			normal, _ := buildfile.Platform(p)
			require.Contains(t, says.Platforms, normal)
		}
		require.Equal(t, len(platforms) == 0, len(says.Platforms) == 0)
	}
}

// readEntry reads the target or service that an entry names as analyze does.
func readEntry(t *testing.T, files memory, s *config.Source) *buildfile.Build {
	t.Helper()
	file, name := s.BuildFile()
	if s.Bake != nil {
		b, err := buildfile.BakeTarget(file, []byte(files[file]), path.Clean(s.Bake.Workdir), name)
		require.NoError(t, err)
		return b
	}
	b, _, err := buildfile.ComposeService(file, []byte(files[file]), name, []byte(files[path.Join(path.Dir(file), ".env")]))
	require.NoError(t, err)
	return b
}
