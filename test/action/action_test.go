// Package action tests the scripts of the GitHub Actions in action.yml and pin/action.yml, and of the CI/CD component for GitLab in templates/pin.yml,
// with a server of releases on this machine.
package action

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

const root = "../.."

// archive is a release whose binary prints its arguments, one on each line.
func archive(t *testing.T) []byte {
	const script = "#!/bin/sh\nprintf '%s\\n' \"$@\"\n"
	return packed(t, script)
}

// script runs one of the action's scripts, with these variables and those of a runner.
func script(t *testing.T, name string, env ...string) (string, error) {
	cmd := exec.CommandContext(t.Context(), "bash", filepath.Join(root, ".github/action", name))
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "RUNNER_OS=Linux", "RUNNER_ARCH=X64", "VERSION=", "CHECKSUM=", "ACTION_REF=main"}, env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestInstall(t *testing.T) {
	const name = "imagefactory_1.2.3_linux_amd64.tar.gz"
	data := archive(t)
	hash := sha256.Sum256(data)
	sum, wrong := hex.EncodeToString(hash[:]), strings.Repeat("0", 64)
	// The release v1.2.5 has no checksum of its archive.
	checksums := map[string]string{
		"/download/v1.2.3/checksums.txt": sum + "  " + name + "\n",
		"/download/v1.2.5/checksums.txt": wrong + "  other.tar.gz\n",
	}
	releases := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/download/v1.2.3/" + name, "/download/v1.2.5/" + strings.Replace(name, "1.2.3", "1.2.5", 1):
			_, _ = w.Write(data)
		case "/download/v1.2.3/checksums.txt", "/download/v1.2.5/checksums.txt":
			_, _ = w.Write([]byte(checksums[r.URL.Path]))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(releases.Close)
	install := func(env ...string) (path, out string, err error) {
		dir := t.TempDir()
		out, err = script(t, "install", append([]string{"RELEASES=" + releases.URL, "RUNNER_TEMP=" + dir, "GITHUB_PATH=" + filepath.Join(dir, "path")}, env...)...)
		added, _ := os.ReadFile(filepath.Join(dir, "path"))
		return strings.TrimSpace(string(added)), out, err
	}
	for _, good := range [][]string{{"VERSION=v1.2.3"}, {"ACTION_REF=v1.2.3"}, {"VERSION=v1.2.3", "CHECKSUM=" + sum}} {
		path, out, err := install(good...)
		require.NoError(t, err, out)
		assert.FileExists(t, filepath.Join(path, "imagefactory"))
	}
	for want, env := range map[string][]string{
		"no version: set the input version":                 nil,
		"no version: set the input":                         {"VERSION=v1.2.3/../../evil"},
		"downloading checksums.txt of v1.2.4":               {"VERSION=v1.2.4"},
		"downloading imagefactory_1.2.4_linux_amd64.tar.gz": {"VERSION=v1.2.4", "CHECKSUM=" + sum},
		"is " + sum + ", want " + wrong:                     {"VERSION=v1.2.3", "CHECKSUM=" + wrong},
		"no release for Windows":                            {"VERSION=v1.2.3", "RUNNER_OS=Windows"},
	} {
		path, out, err := install(env...)
		require.Error(t, err, want)
		assert.Contains(t, out, "::error::imagefactory: ")
		assert.Contains(t, out, want)
		assert.Empty(t, path)
	}
	_, out, err := install("VERSION=v1.2.5")
	require.Error(t, err)
	assert.Contains(t, out, "checksums.txt has none")
}

// TestInstallFromCache: an archive in the cache of the runner is used if it is the right one, and replaced otherwise.
func TestInstallFromCache(t *testing.T) {
	const name = "imagefactory_1.2.3_linux_amd64.tar.gz"
	data := archive(t)
	hash := sha256.Sum256(data)
	sum := hex.EncodeToString(hash[:])
	downloads := 0
	releases := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/"+name) {
			downloads++
			_, _ = w.Write(data)
			return
		}
		_, _ = w.Write([]byte(sum + "  " + name + "\n"))
	}))
	t.Cleanup(releases.Close)
	cache := t.TempDir()
	install := func() int {
		dir := t.TempDir()
		out, err := script(t, "install", "RELEASES="+releases.URL, "RUNNER_TEMP="+dir, "RUNNER_TOOL_CACHE="+cache, "GITHUB_PATH="+filepath.Join(dir, "path"), "VERSION=v1.2.3")
		require.NoError(t, err, out)
		assert.FileExists(t, filepath.Join(dir, "imagefactory-v1.2.3", "imagefactory"))
		return downloads
	}
	assert.Equal(t, 1, install())
	assert.Equal(t, 1, install())
	require.NoError(t, os.WriteFile(filepath.Join(cache, "imagefactory/v1.2.3", name), []byte("spoilt"), 0o600))
	assert.Equal(t, 2, install())
	assert.Equal(t, 2, install())
}

// TestInstallByMajorTag: a tag such as v1 stands for the release at the same commit.
func TestInstallByMajorTag(t *testing.T) {
	repo := t.TempDir()
	git := func(args ...string) {
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", repo, "-c", "user.name=x", "-c", "user.email=x"}, args...)...)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
	}
	git("init", "-q")
	for _, tag := range []string{"v0.9.0", "v1.2.3", "v1.3.0-rc.1", "v1.3.0", "v10.0.0"} {
		git("commit", "-q", "--allow-empty", "-m", tag)
		git("tag", "-a", "-m", tag, tag) // annotated
	}
	git("tag", "v1.2.9-rc.1", "v1.2.3^{}")
	git("tag", "v1", "v1.2.3^{}")
	git("tag", "v2", "v10.0.0^{}")
	for tag, want := range map[string]string{"v1": "downloading checksums.txt of v1.2.3", "v2": "no release is at the commit of the tag v2", "v3": "no release is at the commit of the tag v3"} {
		dir := t.TempDir()
		out, err := script(t, "install", "RELEASES=file://"+repo+"/releases", "RUNNER_TEMP="+dir, "GITHUB_PATH="+filepath.Join(dir, "path"), "ACTION_REF="+tag)
		require.Error(t, err)
		assert.Contains(t, out, "::error::imagefactory: "+want)
	}
}

// TestOutputs: the action passes on what imagefactory writes.
func TestOutputs(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(root, "action.yml"))
	require.NoError(t, err)
	var action struct {
		Outputs map[string]struct{ Value string } `json:"outputs"`
	}
	require.NoError(t, yaml.Unmarshal(data, &action))
	var written strings.Builder
	for _, script := range []string{"ci", "status_ci"} {
		text, err := os.ReadFile(filepath.Join(root, "pkg/cli/testdata/script", script+".txtar"))
		require.NoError(t, err)
		written.Write(text)
	}
	require.Len(t, action.Outputs, 5)
	for name, output := range action.Outputs {
		assert.Equal(t, "${{ steps.run.outputs."+name+" }}", output.Value)
		assert.Contains(t, written.String(), "\n"+name+"=")
	}
}

// TestRunTakesNothingForShell: inputs reach imagefactory as they are.
func TestRunTakesNothingForShell(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "imagefactory"), []byte("#!/bin/sh\nprintf '<%s>\\n' \"$@\"\n"), 0o755))
	out, err := script(t, "run", "PATH="+dir+":"+os.Getenv("PATH"), "COMMAND=analyze", "ARGS=--reason\n\n$(touch x) `id`; * 'a b'\n")
	require.NoError(t, err, out)
	assert.Equal(t, "<analyze>\n<--reason>\n<$(touch x) `id`; * 'a b'>\n", out)
	out, err = script(t, "run", "PATH="+dir+":"+os.Getenv("PATH"), "COMMAND=validate", "ARGS=")
	require.NoError(t, err, out)
	assert.Equal(t, "<validate>\n", out)
}

// TestNoExpressionInScripts: an expression in a script would be replaced by text of whoever opened a pull request.
func TestNoExpressionInScripts(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, ".github/workflows/*.yml"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range append(files, filepath.Join(root, "action.yml"), filepath.Join(root, "pin/action.yml")) {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		var doc any
		require.NoError(t, yaml.Unmarshal(data, &doc))
		steps := 0
		walk(doc, func(key string, value any) {
			text, _ := value.(string)
			switch {
			case key == "run":
				steps++
				assert.NotContains(t, text, "${{", file)
			case key == "uses" && !strings.HasPrefix(text, "./"):
				assert.Regexp(t, `^[-\w./]+@[0-9a-f]{40}$`, text, file)
			}
		})
		assert.Positive(t, steps, file)
	}
}

// pinned is the result of one use of the action pin.
type pinned struct {
	out, args, policy string
	env               map[string]string // for the later steps
	err               error
}

// pin runs the script of the action pin. Its imagefactory prints its arguments and its credentials, runs the given script, and exits.
func pin(t *testing.T, imagefactory string, env ...string) pinned {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	binary := "#!/bin/sh\nprintf '%s\\n' \"$@\" >" + in("args") + "\nenv | grep TOKEN >>" + in("args") + "\n" + imagefactory + "\n"
	require.NoError(t, os.WriteFile(in("imagefactory"), []byte(binary), 0o755))
	p := pinned{env: map[string]string{}}
	p.out, p.err = script(t, "pin", append([]string{
		"PATH=" + dir + ":" + os.Getenv("PATH"), "RUNNER_TEMP=" + dir, "GITHUB_ENV=" + in("env"), "GITHUB_OUTPUT=" + in("output"),
		"GITHUB_SERVER_URL=https://github.example.com", "GITHUB_TOKEN=job", "IMAGE=web", "REPOSITORY=acme/image-factory", "REF=main", "STATE=state",
		"CONFIG=images.yaml", "CONFIG_REF=", "TOKEN=", "LOCK=", "ON_MISSING=fail",
	}, env...)...)
	read := func(name string) string {
		data, _ := os.ReadFile(in(name))
		return string(data)
	}
	for line := range strings.Lines(read("env")) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		p.env[name] = value
		assert.Equal(t, "policy="+value+"\n", read("output"))
		if value != "" {
			data, err := os.ReadFile(value)
			require.NoError(t, err)
			p.policy = string(data)
		}
	}
	p.args = read("args")
	return p
}

const policyVariable = "EXPERIMENTAL_BUILDKIT_SOURCE_POLICY"

func TestPin(t *testing.T) {
	got := pin(t, "echo '{}'")
	require.NoError(t, got.err, got.out)
	assert.Equal(t, "{}\n", got.policy)
	assert.Equal(t, "pin\nweb\n--output\nsource-policy\n--state-repo=https://github.example.com/acme/image-factory\n--branch=main\n--path=state\n"+
		"--config=images.yaml\n--config-ref=\nTOKEN=\nGITHUB_TOKEN=job\n", sorted(got.args))
	assert.Len(t, got.env, 1)

	// Nothing of the inputs is read by a shell, and a token is for its host only.
	got = pin(t, "echo '{}'", "REF=$(id)`id`", "REPOSITORY=https://git.acme-corp.example:8443/x;id", "TOKEN=s3cret")
	require.NoError(t, got.err, got.out)
	assert.Contains(t, got.args, "--branch=$(id)`id`\n")
	assert.Contains(t, got.args, "--state-repo=https://git.acme-corp.example:8443/x;id\n")
	assert.Contains(t, got.args, "\nIMAGEFACTORY_GIT_TOKEN_GIT_ACME__CORP_EXAMPLE_8443=s3cret\n")
	assert.NotContains(t, got.out, "s3cret")
}

// sorted puts the credentials after the arguments in a fixed order.
func sorted(args string) string {
	lines := strings.SplitAfter(args, "\n")
	slices.SortStableFunc(lines, func(a, b string) int { return tokens(b) - tokens(a) })
	return strings.Join(lines, "")
}

func tokens(line string) int {
	switch {
	case strings.HasPrefix(line, "GITHUB_TOKEN"):
		return -2
	case strings.HasPrefix(line, "TOKEN"):
		return -1
	}
	return 0
}

func TestPinWithoutLock(t *testing.T) {
	const fails = "echo half; echo 'imagefactory: pinning \"web\": 100% unknown' >&2; echo '::stop-commands::x' >&2; exit 1"
	got := pin(t, fails)
	require.Error(t, got.err)
	assert.Contains(t, got.out, "::error::imagefactory: no lock for web, so nothing is built (to build with what the tags hold, set the input on-missing to warn): pinning \"web\": 100%25 unknown\n")
	assert.Contains(t, got.out, "\n| ::stop-commands::x\n", "no command of the runner")
	assert.Empty(t, got.env)

	got = pin(t, fails, "ON_MISSING=warn")
	require.NoError(t, got.err)
	assert.Contains(t, got.out, "::warning::imagefactory: no lock for web, so the build uses what the tags hold: ")
	assert.Contains(t, got.args, "--partial\n")
	assert.Equal(t, map[string]string{policyVariable: ""}, got.env, "the lock of an earlier step ends")

	// The state repository cannot be read: the credential is the input token.
	got = pin(t, "echo 'imagefactory: git repository https://x: not found, or the credential has no access (check the URL, and the credential for git on x)' >&2; exit 1")
	require.Error(t, got.err)
	assert.Contains(t, got.out, "the credential for git on x); in this action, the input token: one that may read the contents of the repository\n")

	got = pin(t, "echo '{}'; echo 'warning: no digest of a is known yet' >&2", "ON_MISSING=warn")
	require.NoError(t, got.err)
	assert.Contains(t, got.out, "::warning::imagefactory: warning: no digest of a is known yet\n")
	assert.Equal(t, "{}\n", got.policy)

	for want, env := range map[string]string{
		"invalid input image":      "IMAGE=../web",
		"invalid input on-missing": "ON_MISSING=ignore",
	} {
		got = pin(t, "echo '{}'", env)
		require.Error(t, got.err)
		assert.Contains(t, got.out, "::error::imagefactory: "+want)
		assert.Empty(t, got.args)
	}
}

// locks returns locks that a workflow may be started with, and texts that are none.
func locks() (good, bad []string) {
	rule := func(from, to string) string {
		return fmt.Sprintf(`{"action":"CONVERT","selector":{"identifier":%q,"match_type":"EXACT"},"updates":{"identifier":%q}}`, from, to)
	}
	lock := func(rules ...string) string { return `{"version":1,"rules":[` + strings.Join(rules, ",") + `]}` }
	digest := "@sha256:" + strings.Repeat("0a", 32)
	const node, redis = "docker-image://docker.io/library/node:22-Slim_1", "docker-image://registry.example.com:5000/x/redis:8"
	one := lock(rule(node, node+digest))
	good = []string{lock(), one, lock(rule(node, node+digest), rule(redis, redis+digest))}
	bad = []string{
		"x", "{}", lock() + lock(), lock(`{}`), lock(rule(node, node)), lock(rule(node, redis+digest)), lock(rule(node, "https://example.com/"+digest)),
		lock(rule(node, node+digest), rule("docker-image://*", "docker-image://*"+digest)), lock(rule(node, node+digest) + rule(redis, redis+digest)),
		strings.Replace(one, "EXACT", "WILDCARD", 1), strings.Replace(one, "CONVERT", "ALLOW", 1), one + "\nEVIL=1",
		strings.Replace(one, `"rules":[`, `"rules":[{"action":"ALLOW","selector":{"identifier":"*"}},`, 1), strings.Replace(one, "]}", "],\"x\":[]}", 1),
		strings.Replace(one, `]}`, `,]}`, 1), strings.Replace(one, "sha256:", "sha256:$(id)", 1),
	}
	return good, bad
}

// written returns a lock as imagefactory passes it to a build.
func written(t *testing.T) string {
	digest := "sha256:" + strings.Repeat("0a", 32)
	base := func(ref string) policy.BaseDecision {
		return policy.BaseDecision{Ref: ref, Lock: state.Snapshot{Digest: digest}, Origin: policy.FromBaseline}
	}
	lock := fleet.Lock{Image: "web", Bases: []policy.BaseDecision{base("docker.io/library/node:22"), base("r.example.com:5000/a/b_c:V1.2-x")}}
	text, err := lock.Input()
	require.NoError(t, err)
	assert.Equal(t, 2, strings.Count(text, "@"+digest))
	lock.Bases = append(lock.Bases, policy.BaseDecision{Ref: "docker.io/library/redis:8", Origin: policy.FromNowhere})
	_, err = lock.Input()
	require.ErrorContains(t, err, "no digest of docker.io/library/redis:8 is known yet, so the lock is incomplete")
	return text
}

func TestPinWithGivenLock(t *testing.T) {
	good, bad := locks()
	good = append(good, written(t))
	for _, lock := range good {
		got := pin(t, "exit 1", "LOCK="+lock)
		require.NoError(t, got.err, got.out)
		assert.Equal(t, lock+"\n", got.policy)
		assert.Empty(t, got.args, "nothing is read")
	}
	for _, lock := range bad {
		got := pin(t, "echo '{}'", "LOCK="+lock, "ON_MISSING=warn")
		require.Error(t, got.err, lock)
		assert.Contains(t, got.out, "::error::imagefactory: invalid input lock")
		assert.Empty(t, got.env)
	}
}

// component returns the only job of the CI/CD component for GitLab.
func component(t *testing.T) (job map[string]any, scripts string) {
	data, err := os.ReadFile(filepath.Join(root, "templates/pin.yml"))
	require.NoError(t, err)
	_, config, found := strings.Cut(string(data), "\n---\n")
	require.True(t, found)
	var jobs map[string]map[string]any
	require.NoError(t, yaml.UnmarshalStrict([]byte(config), &jobs))
	require.Len(t, jobs, 1)
	for _, job = range jobs {
		var lines strings.Builder
		for _, line := range job["script"].([]any) {
			lines.WriteString(line.(string))
		}
		scripts = lines.String()
	}
	assert.NotContains(t, scripts, "$[[", "an input is no text of a script")
	return job, scripts
}

func TestComponentPin(t *testing.T) {
	const name = "imagefactory_1.2.3_linux_amd64.tar.gz"
	data := archive(t)
	hash := sha256.Sum256(data)
	releases := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/download/v1.2.3/" + name:
			_, _ = w.Write(data)
		case "/download/v1.2.3/checksums.txt":
			_, _ = w.Write([]byte(hex.EncodeToString(hash[:]) + "  " + name + "\n"))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(releases.Close)
	job, scripts := component(t)
	tools := t.TempDir()
	for file, text := range map[string]string{"uname": "echo x86_64", "wget": `exec curl -fsS -o "$3" "$4"`} {
		require.NoError(t, os.WriteFile(filepath.Join(tools, file), []byte("#!/bin/sh\n"+text+"\n"), 0o755))
	}
	defaults := map[string]string{
		"PIN_IMAGE": "web", "PIN_REPOSITORY": "", "PIN_REF": "main", "PIN_STATE": "state", "PIN_CONFIG": "images.yaml", "PIN_CONFIG_REF": "",
		"PIN_ON_MISSING": "fail", "PIN_VERSION": "v1.2.3", "PIN_CHECKSUM": "",
	}
	for variable := range job["variables"].(map[string]any) {
		if variable != "GIT_STRATEGY" {
			assert.Contains(t, defaults, variable)
		}
	}
	run := func(env ...string) (policy, variables, out string, err error) {
		dir := t.TempDir()
		cmd := exec.CommandContext(t.Context(), "sh", "-c", scripts)
		cmd.Dir = dir
		cmd.Env = []string{"PATH=" + tools + ":" + os.Getenv("PATH"), "TMPDIR=" + dir, "CI_PROJECT_URL=https://gitlab.example.com/acme/web", "IMAGEFACTORY_RELEASES=" + releases.URL}
		for variable, value := range defaults {
			cmd.Env = append(cmd.Env, variable+"="+value)
		}
		cmd.Env = append(cmd.Env, env...)
		text, err := cmd.CombinedOutput()
		lock, _ := os.ReadFile(filepath.Join(dir, "imagefactory-lock.json"))
		dotenv, _ := os.ReadFile(filepath.Join(dir, "imagefactory-lock.env"))
		return string(lock), string(dotenv), string(text), err
	}
	const pinned = "IMAGEFACTORY_PINNED=true\nEXPERIMENTAL_BUILDKIT_SOURCE_POLICY=imagefactory-lock.json\n"
	policy, variables, out, err := run("PIN_REF=$(id)`id`", "PIN_ON_MISSING=warn")
	require.NoError(t, err, out)
	assert.Equal(t, "pin\nweb\n--output\nsource-policy\n--state-repo=https://gitlab.example.com/acme/web\n--branch=$(id)`id`\n--path=state\n--config=images.yaml\n--config-ref=\n--partial\n", policy)
	assert.Equal(t, pinned, variables)

	_, variables, out, err = run("PIN_CHECKSUM=" + strings.Repeat("0", 64))
	require.Error(t, err)
	assert.Contains(t, out, "the checksum of "+name+" is ")
	assert.Empty(t, variables)
	_, _, out, err = run("PIN_VERSION=v1.2.4")
	require.Error(t, err)
	assert.Contains(t, out, "downloading imagefactory_1.2.4_linux_amd64.tar.gz of v1.2.4 failed")

	good, bad := locks()
	good = append(good, written(t))
	for _, lock := range good {
		policy, variables, out, err := run("IMAGEFACTORY_LOCK="+lock, "PIN_VERSION=none")
		require.NoError(t, err, out)
		assert.Equal(t, lock+"\n", policy)
		assert.Equal(t, pinned, variables)
	}
	for _, lock := range bad {
		policy, _, out, err := run("IMAGEFACTORY_LOCK="+lock, "PIN_ON_MISSING=warn")
		require.Error(t, err, lock)
		assert.Contains(t, out, "invalid variable IMAGEFACTORY_LOCK")
		assert.Empty(t, policy)
	}
}

// TestComponentPinWithoutLock: imagefactory fails.
func TestComponentPinWithoutLock(t *testing.T) {
	_, scripts := component(t)
	_, decision, found := strings.Cut(scripts, `tar -xzf "$dir/$archive" -C "$dir" imagefactory`)
	require.True(t, found)
	for onMissing, want := range map[string]string{"fail": "so nothing is built", "warn": "so the build uses what the tags hold"} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "imagefactory"), []byte("#!/bin/sh\necho half; exit 1\n"), 0o755))
		head, _, _ := strings.Cut(scripts, "# check_lock")
		cmd := exec.CommandContext(t.Context(), "sh", "-c", head+"\ndir=.\n"+decision)
		cmd.Dir = dir
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "PIN_ON_MISSING=" + onMissing, "PIN_IMAGE=web", "PIN_REF=", "PIN_STATE=", "PIN_CONFIG=", "PIN_CONFIG_REF=", "PIN_REPOSITORY=x"}
		out, err := cmd.CombinedOutput()
		assert.Equal(t, onMissing == "fail", err != nil)
		assert.Contains(t, string(out), want)
		assert.NoFileExists(t, filepath.Join(dir, "imagefactory-lock.json"))
		variables, _ := os.ReadFile(filepath.Join(dir, "imagefactory-lock.env"))
		assert.NotContains(t, string(variables), "SOURCE_POLICY")
	}
}

func walk(value any, each func(key string, value any)) {
	switch v := value.(type) {
	case map[string]any:
		for key, inner := range v {
			each(key, inner)
			walk(inner, each)
		}
	case []any:
		for _, inner := range v {
			walk(inner, each)
		}
	}
}

// TestSameVersions: what the workflow releases is what the action installs, and a tag is no text of a script.
func TestSameVersions(t *testing.T) {
	pattern := regexp.MustCompile(`=~ (\^v\S+\)\?\$) \]\]`)
	var found []string
	for _, file := range []string{".github/action/install", ".github/workflows/release.yml"} {
		data, err := os.ReadFile(filepath.Join(root, file))
		require.NoError(t, err)
		m := pattern.FindSubmatch(data)
		require.NotNil(t, m, file)
		found = append(found, string(m[1]))
	}
	assert.Equal(t, found[0], found[1])
	form := regexp.MustCompile(found[0])
	for _, good := range []string{"v1.2.3", "v1.2.3-rc.1"} {
		assert.Regexp(t, form, good)
	}
	for _, bad := range []string{"v1", "v1.2.3';id;'", "v1.2.3+x", "v1.2.3-$(id)"} {
		assert.NotRegexp(t, form, bad)
	}
}
