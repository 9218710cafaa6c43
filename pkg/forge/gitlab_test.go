package forge_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/forge"
	"github.com/imagefactory/imagefactory/test/forgetest"
)

func TestStartPipelineWithVariables(t *testing.T) {
	for name, tt := range map[string]struct {
		variables map[string]string
		job       string
		want      map[string]string
	}{
		"none": {want: map[string]string{"IMAGEFACTORY_REBUILD": rebuild}},
		"job":  {job: "build app", want: map[string]string{"IMAGEFACTORY_REBUILD": rebuild, "IMAGEFACTORY_JOB": "build app"}},
		"own":  {map[string]string{"BASE": "{{base}}@{{digest}}"}, "", map[string]string{"IMAGEFACTORY_REBUILD": rebuild, "BASE": "docker.io/library/node:22@sha256:abc"}},
		"ours": {
			map[string]string{"IMAGEFACTORY_REBUILD": "mine", "IMAGEFACTORY_JOB": "mine"}, "build",
			map[string]string{"IMAGEFACTORY_REBUILD": rebuild, "IMAGEFACTORY_JOB": "build"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.pipelines()
			img := w.image(config.GitLab)
			img.Source.Variables, img.Source.Job = tt.variables, tt.job
			run, err := w.client.Start(t.Context(), w.order(img), nobody)
			require.NoError(t, err)
			started := p.Runs()
			require.Len(t, started, 1)
			assert.Equal(t, tt.want, started[0].Values)
			assert.Equal(t, forge.Run{ID: strconv.FormatInt(started[0].ID, 10), URL: p.URL(started[0].ID)}, run)
			assert.Len(t, w.Requests(""), 2, "which pipelines there are, and the request")
		})
	}
}

func TestStartPipelineWithInputs(t *testing.T) {
	for _, noVariables := range []bool{false, true} {
		w := newWorld(t)
		p := w.pipelines()
		p.NoVariables = noVariables
		img := w.image(config.GitLab)
		img.Source.Inputs = map[string]string{"base": "{{base}}@{{digest}}", "n": "1"}
		_, err := w.client.Start(t.Context(), w.order(img), nobody)
		require.NoError(t, err)
		require.Len(t, p.Runs(), 1)
		assert.Equal(t, map[string]string{"base": "docker.io/library/node:22@sha256:abc", "n": "1"}, p.Runs()[0].Inputs)
	}
}

func TestProjectThatAcceptsNoVariables(t *testing.T) {
	w := newWorld(t)
	p := w.pipelines()
	p.NoVariables = true
	img := w.image(config.GitLab)
	run, err := w.client.Start(t.Context(), w.order(img), nobody)
	require.NoError(t, err)
	require.Len(t, p.Runs(), 1)
	assert.Equal(t, p.Runs()[0].ID, id(run))
	assert.Equal(t, 2, w.posts())

	again, found, err := w.newClient().Find(t.Context(), w.order(img), free)
	require.NoError(t, err)
	assert.Equal(t, forge.Found, found)
	assert.Equal(t, run, again)

	img.Source.Job = "build"
	_, err = w.client.Start(t.Context(), w.order(img), nobody)
	refusedFor(t, err, "Insufficient permissions to set pipeline variables", "ci_pipeline_variables_minimum_override_role")
	assert.Len(t, p.Runs(), 1)
	assert.Equal(t, 3, w.posts())
}

func TestPipelineWithoutVariablesIsFoundByTime(t *testing.T) {
	w := newWorld(t)
	p := w.pipelines()
	p.NoVariables = true
	w.Fail(forgetest.Fault{Match: gitlabPost, Status: 400, Body: `{"message":{"base":["Insufficient permissions to set pipeline variables"]}}`},
		forgetest.Fault{Match: gitlabPost, Status: 502}, forgetest.Fault{Match: gitlabPost, Status: 400, Body: `{"message":{"base":["Insufficient permissions to set pipeline variables"]}}`})
	p.Add(forgetest.Run{Ref: "main", Event: "web"})
	run, err := w.client.Start(t.Context(), w.order(w.image(config.GitLab)), nobody)
	require.NoError(t, err)
	require.Len(t, p.Runs(), 2)
	assert.Equal(t, p.Runs()[1].ID, id(run))
	assert.Equal(t, 4, w.posts())
}

func TestPipelinesAreFoundAfterACrash(t *testing.T) {
	ours := map[string]string{"IMAGEFACTORY_REBUILD": rebuild, "X": "1"}
	other := map[string]string{"IMAGEFACTORY_REBUILD": "r-other"}
	for name, tt := range map[string]struct {
		runs  []forgetest.Run // made through the API on main now, unless they say otherwise
		vars  map[string]string
		taken bool // the first one
		lock  bool // the first one
		old   bool
		found int // index, or -1
		want  forge.Match
	}{
		"none":                      {found: -1, want: forge.NotFound},
		"by its variable":           {runs: []forgetest.Run{{Values: other}, {Values: ours}, {}}, found: 1, want: forge.Found},
		"with variables of its own": {runs: []forgetest.Run{{Values: other}, {Values: ours}}, vars: map[string]string{"X": "1"}, found: 1, want: forge.Found},
		"of another rebuild":        {runs: []forgetest.Run{{Values: other}}, found: -1, want: forge.NotFound},
		"without variables":         {runs: []forgetest.Run{{}, {Values: other}}, found: 0, want: forge.Found},
		"two that are over":         {runs: []forgetest.Run{{Status: "failed"}, {Status: "success"}}, found: -1, want: forge.Ended},
		"named for another rebuild": {runs: []forgetest.Run{{Title: "build r-fedcba9876543210"}}, lock: true, found: -1, want: forge.NotFound},
		"by its name":               {runs: []forgetest.Run{{Title: "build " + rebuild}, {}}, lock: true, found: 0, want: forge.Found},
		"two without variables":     {runs: []forgetest.Run{{}, {}}, found: -1, want: forge.Ambiguous},
		"taken":                     {runs: []forgetest.Run{{}}, taken: true, found: -1, want: forge.NotFound},
		"one without variables cannot be that of an entry with some": {runs: []forgetest.Run{{}}, vars: map[string]string{"X": "1"}, found: -1, want: forge.NotFound},
		"not readable":           {runs: []forgetest.Run{{Values: other}}, lock: true, found: -1, want: forge.Unread},
		"not readable, and ours": {runs: []forgetest.Run{{Values: other}, {Values: ours}}, lock: true, found: 1, want: forge.Found},
		"not readable, and bare": {runs: []forgetest.Run{{Values: other}, {}}, lock: true, found: -1, want: forge.Unread},
		"pushed":                 {runs: []forgetest.Run{{Event: "push"}}, found: -1, want: forge.NotFound},
		"another branch":         {runs: []forgetest.Run{{Ref: "dev"}}, found: -1, want: forge.NotFound},
		"before":                 {runs: []forgetest.Run{{Created: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)}}, found: -1, want: forge.NotFound},
		"old server": {
			runs: []forgetest.Run{{Created: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)}, {Event: "push"}, {}}, old: true, found: 2, want: forge.Found,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.pipelines()
			p.Old = tt.old
			var ids []string
			for i, run := range tt.runs {
				if run.Event == "" {
					run.Event = "api"
				}
				if run.Ref == "" {
					run.Ref = "main"
				}
				n := p.Add(run)
				if i == 0 && tt.lock {
					p.Lock(n)
				}
				ids = append(ids, strconv.FormatInt(n, 10))
			}
			img := w.image(config.GitLab)
			img.Source.Variables = tt.vars
			run, found, err := w.client.Find(t.Context(), w.order(img), func(r forge.Run) bool { return tt.taken && r.ID == ids[0] })
			require.NoError(t, err)
			assert.Equal(t, tt.want, found)
			if tt.found >= 0 {
				assert.Equal(t, ids[tt.found], run.ID)
			} else {
				assert.Empty(t, run)
			}
		})
	}
}

func TestPipelineSearchIsBounded(t *testing.T) {
	for name, tt := range map[string]struct {
		others, reads, lists int
		taken                bool
	}{
		"many to read":   {others: 50, reads: 30, lists: 1},
		"many, on pages": {others: 450, lists: 3, taken: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.pipelines()
			for range tt.others {
				p.Add(forgetest.Run{Ref: "main", Event: "api", Values: map[string]string{"X": "1"}})
			}
			_, found, err := w.client.Find(t.Context(), w.order(w.image(config.GitLab)), func(forge.Run) bool { return tt.taken })
			require.NoError(t, err)
			assert.Equal(t, forge.Unread, found, "it can be among those that were not looked at")
			assert.Len(t, w.Requests("GET /api/v4/projects/team%2Fapp/pipelines?"), tt.lists)
			assert.Len(t, w.Requests("GET /api/v4/projects/team%2Fapp/pipelines/"), tt.reads)
		})
	}
}

func TestDeletedPipelineIsSkipped(t *testing.T) {
	w := newWorld(t)
	p := w.pipelines()
	p.Add(forgetest.Run{Ref: "main", Event: "api"})
	w.Fail(forgetest.Fault{Match: "GET /api/v4/projects/team%2Fapp/pipelines/", Status: 404, Body: `{"message":"404 Not found"}`})
	_, found, err := w.client.Find(t.Context(), w.order(w.image(config.GitLab)), free)
	require.NoError(t, err)
	assert.Equal(t, forge.NotFound, found)
}

func TestRefusedPipelineHasHint(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*forgetest.Pipelines, *config.Source)
		says   []string
	}{
		"branch": {func(_ *forgetest.Pipelines, s *config.Source) { s.Branch = "dev" }, []string{"Reference not found", "correct source.branch"}},
		"rules": {func(p *forgetest.Pipelines, _ *config.Source) {
			p.Error = "Pipeline will not run for the selected trigger. The rules configuration prevented any jobs from being added to the pipeline."
		}, []string{"will not run", `pipeline source "api"`}},
		"file":    {func(p *forgetest.Pipelines, _ *config.Source) { p.Error = "Missing CI config file" }, []string{"Missing CI config file", "check .gitlab-ci.yml"}},
		"project": {func(p *forgetest.Pipelines, _ *config.Source) { p.Gone = true }, []string{"404 Project Not Found", "check source.repo", "the scope api"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.pipelines()
			img := w.image(config.GitLab)
			tt.change(p, img.Source)
			_, err := w.client.Start(t.Context(), w.order(img), nobody)
			refusedFor(t, err, tt.says...)
			assert.Empty(t, p.Runs())
			assert.Equal(t, 1, w.posts())
		})
	}
}
