package action

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/imagefactory/imagefactory/pkg/cli"
	"github.com/imagefactory/imagefactory/test/gittest"
)

// expression is an expression of GitHub Actions.
var expression = regexp.MustCompile(`\$\{\{.*?\}\}`)

// asImagefactory makes the test binary behave as imagefactory.
const asImagefactory = "TEST_AS_IMAGEFACTORY"

func TestMain(m *testing.M) {
	if os.Getenv(asImagefactory) != "" {
		os.Exit(cli.Main(context.Background(), os.Args[1:], cli.System()))
	}
	os.Exit(m.Run())
}

// release serves a release whose binary is imagefactory itself, and returns the URL of the releases.
func release(t *testing.T, version string) string {
	self, err := os.Executable()
	require.NoError(t, err)
	name := "imagefactory_" + strings.TrimPrefix(version, "v") + "_linux_amd64.tar.gz"
	data := packed(t, "#!/bin/sh\n"+asImagefactory+"=1 exec '"+self+"' \"$@\"\n")
	hash := sha256.Sum256(data)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/download/" + version + "/" + name:
			_, _ = w.Write(data)
		case "/download/" + version + "/checksums.txt":
			_, _ = fmt.Fprintf(w, "%s  %s\n", hex.EncodeToString(hash[:]), name)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// packed returns the archive of a release with a script as its binary.
func packed(t *testing.T, script string) []byte {
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	w := tar.NewWriter(z)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "imagefactory", Mode: 0o755, Size: int64(len(script))}))
	_, err := w.Write([]byte(script))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.NoError(t, z.Close())
	return buf.Bytes()
}

// action is the part of an action.yml that a runner reads.
type action struct {
	Inputs map[string]struct {
		Default  string
		Required bool
	}
	Outputs map[string]struct{ Value string }
	Runs    struct {
		Steps []struct {
			ID, Name, If, Shell, Run string
			ContinueOnError          any `json:"continue-on-error"`
			Env                      map[string]string
		}
	}
}

// runner runs the steps of a composite action as a runner of GitHub does.
type runner struct {
	values map[string]string // of github.*, inputs.* and steps.*
	dir    string
}

// text replaces the expressions in a text.
func (r *runner) text(t *testing.T, s string) string {
	return expression.ReplaceAllStringFunc(s, func(e string) string {
		return r.value(t, strings.TrimSuffix(strings.TrimPrefix(e, "${{"), "}}"))
	})
}

// value evaluates an expression: names and texts, with || and ==.
func (r *runner) value(t *testing.T, text string) string {
	if left, right, found := strings.Cut(text, "=="); found {
		return strconv.FormatBool(r.value(t, left) == r.value(t, right))
	}
	for term := range strings.SplitSeq(text, "||") {
		term = strings.TrimSpace(term)
		value, known := r.values[term]
		if strings.HasPrefix(term, "'") {
			value, known = strings.Trim(term, "'"), true
		}
		require.True(t, known, "expression %q", term)
		if value != "" {
			return value
		}
	}
	return ""
}

// lines returns the name=value lines that steps have written to a file of the runner.
func (r *runner) lines(t *testing.T, file string) map[string]string {
	data, err := os.ReadFile(filepath.Join(r.dir, file))
	require.NoError(t, err)
	out := map[string]string{}
	for line := range strings.Lines(string(data)) {
		name, value, found := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		require.True(t, found, line)
		out[name] = value
	}
	return out
}

// use runs an action with inputs. It returns the outputs, the variables and the path for later steps, and what was printed.
func use(t *testing.T, file string, github, inputs map[string]string, env ...string) (outputs, later map[string]string, printed string, err error) {
	data, err := os.ReadFile(filepath.Join(root, file))
	require.NoError(t, err)
	var a action
	require.NoError(t, yaml.Unmarshal(data, &a))
	r := &runner{values: map[string]string{"github.action_ref": "", "github.token": ""}, dir: t.TempDir()}
	for name, value := range github {
		r.values["github."+name] = value
	}
	for name, input := range a.Inputs {
		r.values["inputs."+name] = input.Default
	}
	for name, value := range inputs {
		require.Contains(t, a.Inputs, name)
		r.values["inputs."+name] = value
	}
	here, err := filepath.Abs(filepath.Join(root, filepath.Dir(file)))
	require.NoError(t, err)
	for _, name := range []string{"env", "output", "path"} {
		require.NoError(t, os.WriteFile(filepath.Join(r.dir, name), nil, 0o600))
	}
	var out strings.Builder
	for _, step := range a.Runs.Steps {
		require.Equal(t, "bash", step.Shell)
		if step.If != "" && r.value(t, step.If) != "true" {
			continue
		}
		added, _ := os.ReadFile(filepath.Join(r.dir, "path"))
		cmd := exec.CommandContext(t.Context(), "bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step.Run)
		cmd.Dir = r.dir
		cmd.Env = append([]string{
			"PATH=" + strings.TrimSpace(string(added)) + ":" + os.Getenv("PATH"), "HOME=" + r.dir, "GITHUB_ACTION_PATH=" + here, "RUNNER_OS=Linux", "RUNNER_ARCH=X64", "RUNNER_TEMP=" + r.dir,
			"GITHUB_ENV=" + filepath.Join(r.dir, "env"), "GITHUB_OUTPUT=" + filepath.Join(r.dir, "output"), "GITHUB_PATH=" + filepath.Join(r.dir, "path"),
			"GITHUB_SERVER_URL=" + github["server_url"],
		}, env...)
		for name, value := range step.Env {
			cmd.Env = append(cmd.Env, name+"="+r.text(t, value))
		}
		text, failed := cmd.CombinedOutput()
		out.Write(text)
		if failed != nil && r.text(t, fmt.Sprint(step.ContinueOnError)) != "true" {
			return nil, r.lines(t, "env"), out.String(), failed
		}
		for name, value := range r.lines(t, "output") {
			r.values["steps."+step.ID+".outputs."+name] = value
		}
	}
	outputs = map[string]string{}
	for name, output := range a.Outputs {
		outputs[name] = r.text(t, output.Value)
	}
	return outputs, r.lines(t, "env"), out.String(), nil
}

const (
	fleetImages = "factory: {state: {url: https://git.example.com/fleet}}\nimages:\n- {name: web, repository: acme/web, source: {provider: github, repo: acme/web, workflow: build.yml}}\n" +
		"- {name: new, repository: acme/new, source: {provider: github, repo: acme/new, workflow: build.yml}}\n"
	ripe      = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	unripe    = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
	fleetBase = `name: node-22
registry: docker.io
repository: library/node
tag: "22"
currentDigest: "` + unripe + `"
baseline: {digest: "` + ripe + `", firstSeen: "2020-01-01T00:00:00Z"}
`
	fleetImage = `name: web
repository: ghcr.io/acme/web
dockerfile: {path: Dockerfile, commit: 0123456789012345678901234567890123456789, digest: "` + ripe + `"}
baseImages:
- {ref: "docker.io/library/node:22", uses: [{kind: from, stage: "0", line: 1}]}
`
)

// TestPinReadsARepository runs the steps of the action pin as a runner does: a release is installed, it reads the lock from a
// repository that needs a token, and later steps get it.
func TestPinReadsARepository(t *testing.T) {
	const secret = "canary-token-0123456789"
	git := gittest.NewServer(t, gittest.Options{User: "x-access-token", Password: secret})
	url := git.Init("fleet", map[string]string{"images.yaml": fleetImages, "state/base-images/node-22.yaml": fleetBase, "state/images/web.yaml": fleetImage})
	releases := "RELEASES=" + release(t, "v1.2.3")
	github := map[string]string{"server_url": "https://github.example.com", "repository": "acme/web", "action_ref": "v1.2.3"}
	inputs := func(more ...string) map[string]string {
		out := map[string]string{"image": "web", "repository": url, "token": secret}
		for i := 0; i < len(more); i += 2 {
			out[more[i]] = more[i+1]
		}
		return out
	}
	outputs, later, printed, err := use(t, "pin/action.yml", github, inputs(), releases)
	require.NoError(t, err, printed)
	require.NotEmpty(t, outputs["policy"])
	assert.Equal(t, map[string]string{policyVariable: outputs["policy"]}, later)
	policy, err := os.ReadFile(outputs["policy"])
	require.NoError(t, err)
	assert.Contains(t, string(policy), `"docker-image://docker.io/library/node:22@`+ripe+`"`)
	assert.NotContains(t, string(policy), unripe)
	assert.NotContains(t, printed, secret)

	// The workflow's own token reads its own server, whose URL ends with a slash at Gitea.
	for _, server := range []string{strings.TrimSuffix(url, "/fleet.git"), strings.TrimSuffix(url, "fleet.git")} {
		own := map[string]string{"server_url": server, "repository": "fleet.git", "action_ref": "v1.2.3", "token": secret}
		_, later, printed, err = use(t, "pin/action.yml", own, map[string]string{"image": "web"}, releases)
		require.NoError(t, err, printed)
		assert.NotEmpty(t, later[policyVariable])
	}

	for name, tt := range map[string]struct {
		inputs map[string]string
		want   string
	}{
		"an image that is not enrolled": {inputs("image", "other"), `no lock for other, so nothing is built`},
		"no digest is known yet":        {inputs("image", "new"), `no lock for new, so nothing is built`},
		"no such branch":                {inputs("ref", "$(id)"), `no lock for web, so nothing is built`},
		"another token":                 {inputs("token", "other"), `no lock for web, so nothing is built`},
		"no such release":               {inputs("version", "v1.2.4"), `downloading checksums.txt of v1.2.4`},
	} {
		t.Run(name, func(t *testing.T) {
			_, later, printed, err := use(t, "pin/action.yml", github, tt.inputs, releases)
			require.Error(t, err)
			assert.Contains(t, printed, "::error::imagefactory: "+tt.want)
			assert.Empty(t, later, "later steps have no lock")
			tt.inputs["on-missing"] = "warn"
			_, later, printed, err = use(t, "pin/action.yml", github, tt.inputs, releases)
			require.NoError(t, err, printed)
			assert.Equal(t, map[string]string{policyVariable: ""}, later)
			assert.Contains(t, printed, "::warning::imagefactory: no lock for ")
		})
	}
}
