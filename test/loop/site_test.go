package loop_test

import (
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

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

	commits int // of the state repository that were counted
}

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
	for name, value := range map[string]string{"REGISTRY_USERNAME": "builder", "REGISTRY_PASSWORD": "only-for-tests", "IMAGEFACTORY_READ_TOKEN": servers.Gitea.Token} {
		require.NoError(t, servers.Gitea.Call(t.Context(), http.MethodPut, "orgs/"+org+"/actions/secrets/"+name, map[string]any{"data": value}, nil))
	}
	s.env = []string{"IMAGEFACTORY_TOKEN_" + strings.NewReplacer(".", "_", ":", "_").Replace(servers.Gitea.Host) + "=" + servers.Gitea.Token}
	s.git("clone", "--quiet", s.state.URL(), ".")
	s.enroll(images)
	s.commits = 2 // with the one that made the repository
	s.runner, err = buildrunner.New(t.Context(), buildrunner.Options{
		Parts: servers, Organization: org, Source: repository, Program: filepath.Join(bin, "imagefactory"),
		Environ: func() []string { return []string{"IMAGEFACTORY_TEST_NOW=" + s.now.Format(time.RFC3339)} },
	})
	require.NoError(t, err)
	t.Cleanup(s.runner.Close)
	return s
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
	digest, err := content.Push(s.ref(tag), content.Image{Files: files, Platforms: both})
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

// observe records what is new, and updates the checkout.
func (s *site) observe() {
	s.t.Helper()
	s.run("analyze", "--all", "--push")
	s.git("pull", "--quiet", "--ff-only")
}

// promote starts what is due, and updates the checkout.
func (s *site) promote() {
	s.t.Helper()
	s.run("promote", "--push", "--direct")
	s.git("pull", "--quiet", "--ff-only")
}

// pass is a pass of a scheduler.
func (s *site) pass() {
	s.t.Helper()
	s.observe()
	s.promote()
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
	require.Eventually(s.t, func() bool {
		list, err := s.code[repo].Runs(s.t.Context())
		return err == nil && len(list) == runs
	}, time.Minute, 100*time.Millisecond, "runs of %s", repo)
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
	digest, err := content.Digest(s.ref(tag))
	require.NoError(s.t, err)
	return digest
}

// built returns the images in the attestations of a published image, without host and organization.
func (s *site) built(tag string) map[string]string {
	s.t.Helper()
	out := map[string]string{}
	for ref, digest := range materials(s.t, s.ref(tag)) {
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
