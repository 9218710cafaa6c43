package lab_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/test/forgetest"
	"github.com/imagefactory/imagefactory/test/registrytest"
)

// atGitea is a repository at Gitea with the workflow that imagefactory writes, and a Dockerfile. The runner of `make loop-up` builds it.
type atGitea struct {
	*image

	dockerfile string
	first      bool   // a version is published before the project is set up
	outcome    string // of the next runs
}

// buildAtGitea has the images of the project built at Gitea: by BuildKit, on images in its registry. The servers of this process
// stand before both, where they fail if a scenario wants it.
func (l *lab) buildAtGitea() {
	l.t.Helper()
	l.space = "lab-" + strconv.FormatInt(time.Now().Unix(), 36)
	l.registry = registrytest.Before(l.t, loopRegistry)
	l.forge = &forge{Server: forgetest.Before(l.t, gitea), provider: "gitea", repos: "/api/v1/repos/", token: giteaToken}
	require.NoError(l.t, l.callGitea(http.MethodPost, "orgs", map[string]any{"username": l.space}, nil))
	for name, value := range map[string]string{"REGISTRY_USERNAME": "builder", "REGISTRY_PASSWORD": "only-for-tests", "IMAGEFACTORY_READ_TOKEN": giteaToken} {
		require.NoError(l.t, l.callGitea(http.MethodPut, "orgs/"+l.space+"/actions/secrets/"+name, map[string]any{"data": value}, nil))
	}
}

// newAtGitea makes the repository of an image.
func newAtGitea(i *image, dockerfile string) *atGitea {
	i.t.Helper()
	require.NoError(i.t, i.callGitea(http.MethodPost, "orgs/"+i.space+"/repos", map[string]any{"name": i.name, "auto_init": true, "default_branch": "main"}, nil))
	a := &atGitea{image: i, dockerfile: dockerfile, outcome: "success"}
	a.commit("Add the Dockerfile", map[string]string{"Dockerfile": dockerfile})
	return a
}

func (a *atGitea) source() string {
	lines := "    workflow: build.yml\n"
	if !a.pinned { // otherwise it says so already
		lines += "    pinBases: true\n"
	}
	return lines
}

func (a *atGitea) publish(string) { a.first = true }

// commit commits files to the repository.
func (a *atGitea) commit(message string, files map[string]string) {
	a.t.Helper()
	var changes []any
	for path, text := range files {
		changes = append(changes, map[string]any{"operation": "upload", "path": path, "content": []byte(text)})
	}
	require.NoError(a.t, a.callGitea(http.MethodPost, "repos/"+a.repo+"/contents", map[string]any{"branch": "main", "message": message, "files": changes}, nil))
}

// buildFirst commits the workflows of the images, parents first. The commit builds the image, unless it was never published.
func (l *lab) buildFirst() {
	l.t.Helper()
	for level := 0; ; level++ {
		dir := l.repo.clone()
		var all, building []*atGitea
		for _, name := range slices.Sorted(maps.Keys(l.ids)) {
			a, ok := l.ids[name].builder.(*atGitea)
			if !ok || a.level != level {
				continue
			}
			all = append(all, a)
			message := "Add the workflow [skip ci]"
			if a.first {
				message, building = "Add the workflow", append(building, a)
			}
			a.commit(message, map[string]string{".gitea/workflows/build.yml": a.workflow(dir)})
		}
		if len(all) == 0 {
			return
		}
		l.eventually(fmt.Sprintf("the first versions on level %d are built", level), func() bool {
			for _, a := range building {
				for _, run := range a.list() {
					require.NotEqual(l.t, "failure", run.Conclusion, "the first build of %s: %s", a.name, run.URL)
				}
			}
			return !slices.ContainsFunc(building, func(a *atGitea) bool {
				return !slices.ContainsFunc(a.list(), func(run giteaRun) bool { return run.Conclusion == "success" })
			})
		})
		l.t.Log(l.imagefactory("analyze", "--all"))
	}
}

// workflow returns what imagefactory writes for the image.
func (a *atGitea) workflow(dir string) string {
	a.t.Helper()
	tag := "1.0.${{ github.run_number }}"
	if a.latest {
		tag = "latest"
	}
	out := a.t.TempDir()
	a.must(a.binary, "workflow", a.name, "--config", filepath.Join(dir, "images.yaml"), "--state-dir", filepath.Join(dir, "state"),
		"--release", "v1.2.3", "--tag", tag, "--write", out)
	text, err := os.ReadFile(filepath.Join(out, ".gitea", "workflows", "build.yml"))
	require.NoError(a.t, err)
	return string(text)
}

// giteaRun is a run as Gitea returns it.
type giteaRun struct {
	ID         int64     `json:"id"`
	Event      string    `json:"event"`
	Status     string    `json:"status"`
	Conclusion string    `json:"conclusion"`
	Started    time.Time `json:"started_at"`
	URL        string    `json:"html_url"`
}

// list returns the runs of the repository, newest first.
func (a *atGitea) list() []giteaRun {
	a.t.Helper()
	var list struct {
		Runs []giteaRun `json:"workflow_runs"`
	}
	require.NoError(a.t, a.callGitea(http.MethodGet, "repos/"+a.repo+"/actions/runs?limit=50", nil, &list))
	return list.Runs
}

// runs returns the runs that were asked for; their inputs are in what Gitea was asked.
func (a *atGitea) runs() []forgetest.Run {
	a.t.Helper()
	var asked []forgetest.Request
	for _, r := range a.forge.Requests("POST " + a.path() + "/actions/workflows/") {
		if r.Status != 0 && r.Status < http.StatusMultipleChoices {
			asked = append(asked, r)
		}
	}
	var out []forgetest.Run
	for _, run := range slices.Backward(a.list()) {
		if run.Event != "workflow_dispatch" {
			continue
		}
		var body struct {
			Inputs map[string]string `json:"inputs"`
		}
		if len(out) < len(asked) {
			require.NoError(a.t, json.Unmarshal(asked[len(out)].Body, &body))
		}
		out = append(out, forgetest.Run{ID: run.ID, Event: run.Event, Status: run.Status, Conclusion: run.Conclusion, Values: body.Inputs, Created: run.Started})
	}
	return out
}

func (a *atGitea) url(id int64) string {
	a.t.Helper()
	var run giteaRun
	require.NoError(a.t, a.callGitea(http.MethodGet, fmt.Sprintf("repos/%s/actions/runs/%d", a.repo, id), nil, &run))
	return strings.Replace(run.URL, gitea, a.forge.Host, 1) // Gitea's URLs have the host that it was asked at
}

// ends has the next builds fail by their Dockerfile, or wait in their push for as long as the outcome is never.
func (a *atGitea) ends(outcome string) {
	a.t.Helper()
	if a.outcome == "failure" || outcome == "failure" {
		text := a.dockerfile
		if outcome == "failure" {
			text += "COPY nothing /\n"
		}
		a.commit("Change the Dockerfile [skip ci]", map[string]string{"Dockerfile": text})
	}
	a.outcome = outcome
	a.hold("/v2/"+a.repo+"/blobs/uploads/", outcome == "never")
}

func (a *atGitea) refuse() string {
	a.t.Helper()
	require.NoError(a.t, a.callGitea(http.MethodPut, "repos/"+a.repo+"/actions/workflows/build.yml/disable", nil, nil))
	return "disabled"
}

// callGitea sends a request to the API of Gitea, and decodes the response unless into is nil.
func (l *lab) callGitea(method, path string, body, into any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(l.t.Context(), method, "http://"+gitea+"/api/v1/"+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "token "+giteaToken)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode >= http.StatusMultipleChoices:
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	case into == nil:
		return nil
	}
	return json.Unmarshal(text, into)
}
