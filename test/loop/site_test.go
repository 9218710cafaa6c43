package loop_test

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"github.com/imagefactory/imagefactory/test/loop/content"
	"github.com/imagefactory/imagefactory/test/parts"
	"github.com/imagefactory/imagefactory/test/parts/buildrunner"
)

// site is a factory whose state is in a private repository of an organization at Gitea, beside those of the images' code. The
// folder of the factory is a checkout of the state.
type site struct {
	*factory
	org    string
	host   string // of the registry
	state  *parts.Repository
	code   map[string]*parts.Repository
	runner *buildrunner.Runner

	commits  int      // of the state repository that were counted
	buildEnv []string // of builds outside workflows
}

// The users of a private registry: the workflows sign in as builder, imagefactory as reader.
const (
	builderName, readerName = "builder", "reader"
	registryPassword        = "only-for-tests"
)

// asBuilder signs in as the workflows do. A registry without login ignores it.
var asBuilder = remote.WithAuth(&authn.Basic{Username: builderName, Password: registryPassword})

// newSite returns a site with an organization of its own, whose name is also that of a namespace in the registry.
func newSite(t *testing.T, org, images string) *site {
	t.Helper()
	return newSiteAt(t, servers.Docker.Host, org, images)
}

// newSiteAt returns a site whose images are in another registry.
func newSiteAt(t *testing.T, host, org, images string) *site {
	t.Helper()
	s := &site{factory: newFactory(t), org: org, host: host, code: map[string]*parts.Repository{}}
	require.NoError(t, servers.Gitea.NewOrganization(t.Context(), org))
	var err error
	s.state, err = servers.Gitea.NewRepository(t.Context(), org, "factory", true)
	require.NoError(t, err)
	for name, value := range map[string]string{"REGISTRY_USERNAME": builderName, "REGISTRY_PASSWORD": registryPassword} {
		s.setSecret(name, value)
	}
	s.useTokens(servers.Gitea.Token, servers.Gitea.Token)
	s.git("clone", "--quiet", s.state.URL(), ".")
	s.enroll(images)
	s.commits = 2 // with the one that made the repository
	s.runner = s.newRunner(org, nil)
	return s
}

// setSecret sets a secret of the organization's workflows.
func (s *site) setSecret(name, value string) {
	s.t.Helper()
	require.NoError(s.t, servers.Gitea.Call(s.t.Context(), http.MethodPut, "orgs/"+s.org+"/actions/secrets/"+name, map[string]any{"data": value}, nil))
}

// useTokens sets the token of imagefactory, and the one with which workflows read state.
func (s *site) useTokens(token, read string) {
	s.t.Helper()
	s.setSecret("IMAGEFACTORY_READ_TOKEN", read)
	s.env = []string{variable("TOKEN") + "=" + token}
}

// useMember replaces the tokens of an administrator by those of a user who may write to units of the organization's repositories. The one
// of imagefactory has the given scopes.
func (s *site) useMember(units, scopes []string) {
	s.t.Helper()
	member, err := servers.Gitea.NewMember(s.t.Context(), s.org, s.org+"-bot", units...)
	require.NoError(s.t, err)
	token, err := member.NewToken(s.t.Context(), scopes...)
	require.NoError(s.t, err)
	read, err := member.NewToken(s.t.Context(), "read:repository")
	require.NoError(s.t, err)
	s.useTokens(token, read)
}

// newPrivateSite returns a site whose registry has a login for pulls and pushes.
func newPrivateSite(t *testing.T, org, images string) *site {
	t.Helper()
	var users strings.Builder
	for _, user := range []string{builderName, readerName} {
		hash, err := bcrypt.GenerateFromPassword([]byte(registryPassword), bcrypt.MinCost)
		require.NoError(t, err)
		fmt.Fprintf(&users, "%s:%s\n", user, hash)
	}
	file := filepath.Join(t.TempDir(), "htpasswd")
	require.NoError(t, os.WriteFile(file, []byte(users.String()), 0o600))
	private, err := parts.StartRegistry(t.Context(), servers.Options, org+"-registry", file)
	require.NoError(t, err)
	t.Cleanup(private.Stop)
	_, err = content.Digest(private.Host + "/" + org + "/any:latest")
	require.ErrorContains(t, err, "401", "a pull without login")

	s := newSiteAt(t, private.Host, org, images)
	s.writeLogin("credentials/registry/"+s.host, readerName)
	s.buildEnv = []string{"DOCKER_CONFIG=" + s.writeLogin("docker", builderName)}
	return s
}

// writeLogin writes the config.json of a user of the registry to a folder, and returns the folder.
func (s *site) writeLogin(folder, user string) string {
	s.t.Helper()
	login := base64.StdEncoding.EncodeToString([]byte(user + ":" + registryPassword))
	return filepath.Dir(s.write(folder+"/config.json", fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, s.host, login)))
}

// enroll replaces images.yaml. In its text, GITEA and REGISTRY are the hosts, and ORG is the organization.
func (s *site) enroll(images string) {
	s.t.Helper()
	require.NoError(s.t, s.state.Commit(s.t.Context(), "main", "Enroll images", map[string]string{"images.yaml": s.expand(images)}))
	s.git("pull", "--quiet", "--ff-only")
}

func (s *site) expand(text string) string {
	return strings.NewReplacer("GITEA", servers.Gitea.Host, "REGISTRY", s.host, "ORG", s.org).Replace(text)
}

// git runs git in the checkout of the state, as acme.
func (s *site) git(args ...string) {
	s.t.Helper()
	git(s.t, s.dir, args...)
}

// push moves the tag of a base image below the organization's namespace, and returns the digest.
func (s *site) push(tag, version string) string {
	s.t.Helper()
	files := content.Shell(shell, false)
	files["etc/version"] = content.Text(tag + " " + version + "\n")
	digest, err := content.Push(s.ref(tag), content.Image{Files: files, Platforms: both}, asBuilder)
	require.NoError(s.t, err)
	return digest
}

// ref returns a reference in the organization's namespace.
func (s *site) ref(tag string) string { return s.host + "/" + s.org + "/" + tag }

// commit commits files, in which it replaces GITEA, REGISTRY and ORG, to a repository of code.
func (s *site) commit(repo string, files map[string]string) {
	s.t.Helper()
	expanded := map[string]string{}
	for path, text := range files {
		expanded[path] = s.expand(text)
	}
	s.commitAsIs(repo, expanded)
}

// commitAsIs commits files to a repository of code, which it makes if there is none.
func (s *site) commitAsIs(repo string, files map[string]string) {
	s.t.Helper()
	if s.code[repo] == nil {
		made, err := servers.Gitea.NewRepository(s.t.Context(), s.org, repo, true)
		require.NoError(s.t, err)
		s.code[repo] = made
	}
	require.NoError(s.t, s.code[repo].Commit(s.t.Context(), "main", "Change files", files))
}

// workflow commits the workflow that imagefactory writes for an image to its repository, and runs it: the push starts it.
func (s *site) workflow(image, repo string) {
	s.t.Helper()
	dir := s.t.TempDir()
	s.run("workflow", image, "--release", "v1.2.3", "--write", dir)
	const file = ".gitea/workflows/build.yml"
	text, err := os.ReadFile(filepath.Join(dir, file))
	require.NoError(s.t, err)
	before := len(s.runs(repo))
	s.commitAsIs(repo, map[string]string{file: string(text)})
	s.started(repo, before+1)
	s.build()
}

// observe records what is new.
func (s *site) observe() {
	s.t.Helper()
	s.record("analyze", "--all")
}

// record runs a command that pushes to the state repository, and updates the checkout.
func (s *site) record(args ...string) {
	s.t.Helper()
	s.run(append(args, "--push")...)
	s.git("pull", "--quiet", "--ff-only")
}

// promote starts what is due.
func (s *site) promote() {
	s.t.Helper()
	s.record("promote", "--direct")
}

// pass is a pass of a scheduler.
func (s *site) pass() {
	s.t.Helper()
	s.observe()
	s.promote()
}

// settle promotes, builds what is started, and so on until nothing is started. It returns the repositories with the runs of each pass.
func (s *site) settle() [][]string {
	s.t.Helper()
	var passes [][]string
	for range 10 {
		s.promote()
		started := s.waiting()
		if len(started) == 0 {
			return passes
		}
		passes = append(passes, started)
		s.build()
		s.later(20 * time.Minute)
	}
	require.FailNow(s.t, "promote does not come to an end", "%v", passes)
	return nil
}

// waiting returns the names of the repositories that have a run that has not ended, with the number of such runs.
func (s *site) waiting() []string {
	s.t.Helper()
	var out []string
	for _, repo := range slices.Sorted(maps.Keys(s.code)) {
		for _, run := range s.runs(repo) {
			if run.Status != "completed" {
				out = append(out, repo)
			}
		}
	}
	return out
}

// runs returns the runs of the workflows in a repository, newest first.
func (s *site) runs(repo string) []parts.WorkflowRun {
	s.t.Helper()
	runs, err := s.code[repo].Runs(s.t.Context())
	require.NoError(s.t, err)
	return runs
}

// started waits until a repository has had a number of runs: Gitea starts those of a push a little later.
func (s *site) started(repo string, runs int) {
	s.t.Helper()
	waitForRuns(s.t, s.code[repo], runs)
}

// build runs all jobs that wait. They must succeed.
func (s *site) build() {
	s.t.Helper()
	for len(s.waiting()) > 0 {
		done, err := s.runner.Next(s.t.Context())
		require.NoError(s.t, err)
		require.NotNil(s.t, done, "runs wait, but there is no job: %v", s.waiting())
		require.NoError(s.t, done.Err, done.Task.Context.Repository)
	}
}

// wantCommits checks how many commits the state repository has since the last call.
func (s *site) wantCommits(want int, what string) {
	s.t.Helper()
	messages, err := s.state.Messages(s.t.Context())
	require.NoError(s.t, err)
	got := messages[:len(messages)-s.commits]
	assert.Len(s.t, got, want, "%s; have\n%s", what, strings.Join(got, "\n"))
	s.commits = len(messages)
}

// digest returns the digest that a tag holds.
func (s *site) digest(tag string) string {
	s.t.Helper()
	digest, err := content.Digest(s.ref(tag), asBuilder)
	require.NoError(s.t, err)
	return digest
}

// built returns the images in the attestations of a published image, without host and organization.
func (s *site) built(tag string) map[string]string {
	s.t.Helper()
	out := map[string]string{}
	for ref, digest := range materials(s.t, s.ref(tag), asBuilder) {
		out[strings.TrimPrefix(ref, s.ref(""))] = digest
	}
	return out
}

// history returns the results of the rebuilds of an image, newest first.
func (s *site) history(image string) []string {
	s.t.Helper()
	var out []string
	for _, h := range s.describe(image).History {
		out = append(out, h.Status)
	}
	return out
}

// buildClone clones the code of an image, and builds and publishes it with buildctl, without a workflow.
func (s *site) buildClone(image string, args ...string) {
	s.t.Helper()
	dir := s.t.TempDir()
	s.git("clone", "--quiet", s.code[image].URL(), dir)
	s.buildFolder(dir, append(args, "--output", "type=image,push=true,name="+s.ref(image+":latest"))...)
}

// buildFolder builds a folder with buildctl, with provenance.
func (s *site) buildFolder(dir string, args ...string) {
	s.t.Helper()
	all := append([]string{"build", "--frontend", "dockerfile.v0", "--local", "context=" + dir, "--local", "dockerfile=" + dir, "--opt", "attest:provenance=mode=max"}, args...)
	_, err := servers.BuildKit.Ctl(s.t.Context(), s.buildEnv, all...)
	require.NoError(s.t, err)
}
