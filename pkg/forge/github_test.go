package forge_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/forge"
	"github.com/imagefactory/imagefactory/test/forgetest"
)

func titled(inputs map[string]string) string { return "build for " + inputs["id"] }

func TestStartWorkflowWithInputs(t *testing.T) {
	w := newWorld(t)
	f := w.workflows()
	f.Inputs = []string{"image", "base", "id", "plain", "odd", "lock"}
	img := w.image(config.GitHub)
	img.Source.Inputs = map[string]string{
		"image": "{{image}}", "base": "{{ base }}@{{digest}}", "id": "x-{{promotion}}", "plain": `a "b" \ {{`, "odd": "{{nothing}}", "lock": "{{lock}}",
	}
	o := w.order(img)
	o.Base = "docker.io/library/{{digest}}:22" // a value is no template
	o.Lock = `{"version":1,"rules":[]}`
	run, err := w.client.Start(t.Context(), o, nobody)
	require.NoError(t, err)
	started := f.Runs()
	require.Len(t, started, 1)
	assert.Equal(t, map[string]string{
		"image": "app", "base": "docker.io/library/{{digest}}:22@sha256:abc", "id": "x-" + rebuild, "plain": `a "b" \ {{`, "odd": "{{nothing}}", "lock": o.Lock,
	}, started[0].Values)
	assert.Equal(t, "main", started[0].Ref)
	assert.Equal(t, forge.Run{ID: strconv.FormatInt(started[0].ID, 10), URL: f.URL(started[0].ID)}, run)
	assert.Len(t, w.Requests(""), 2, "which runs there are, and the request")
}

func TestInputsBeyondTheLimitAreRefused(t *testing.T) {
	w := newWorld(t)
	w.workflows().Inputs = []string{"lock"}
	img := w.image(config.GitHub)
	img.Source.Inputs = map[string]string{"lock": "{{lock}}"}
	o := w.order(img)
	o.Lock = strings.Repeat("ö", 65_536)
	_, err := w.client.Start(t.Context(), o, nobody)
	var refused *forge.RefusedError
	require.ErrorAs(t, err, &refused)
	require.ErrorContains(t, err, "the inputs have 65536 characters, but GitHub accepts 65535")
	assert.Zero(t, w.posts())
	o.Lock = strings.Repeat("ö", 65_535)
	_, err = w.client.Start(t.Context(), o, nobody)
	require.NoError(t, err)
}

func TestRunIsLookedUpWithoutRunDetails(t *testing.T) {
	for name, tt := range map[string]struct {
		age   forgetest.Age
		posts int
	}{"204": {forgetest.Ignorant, 1}, "422": {forgetest.Strict, 2}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			f := w.workflows()
			f.Age, f.Delay = tt.age, 1
			f.Add(forgetest.Run{Ref: "main", Event: "push"})
			f.Add(forgetest.Run{Ref: "other", Event: "workflow_dispatch"})
			f.Add(forgetest.Run{Ref: "main", Event: "workflow_dispatch", Created: w.now.Add(-time.Hour)})
			run, err := w.client.Start(t.Context(), w.order(w.image(config.GitHub)), nobody)
			require.NoError(t, err)
			started := f.Runs()
			require.Len(t, started, 4)
			assert.Equal(t, started[3].ID, id(run))
			assert.Equal(t, tt.posts, w.posts())
			assert.Equal(t, []time.Duration{2e9, 5e9}, w.waits, "the run appeared in the second list")
		})
	}
}

func TestInvisibleRunIsNotStartedAgain(t *testing.T) {
	w := newWorld(t)
	f := w.workflows()
	f.Age, f.Delay = forgetest.Ignorant, 3
	img := w.image(config.GitHub)
	run, err := w.client.Start(t.Context(), w.order(img), nobody)
	require.NoError(t, err)
	assert.Empty(t, run)

	second := w.order(img)
	second.Rebuild = "r-fedcba9876543210"
	f.Delay = 5
	run, err = w.client.Start(t.Context(), second, nobody)
	require.NoError(t, err)
	assert.Empty(t, run, "the run of the first order is not taken for that of the second one")
	assert.Equal(t, 2, w.posts())
	assert.Len(t, f.Runs(), 2)
}

func TestAmbiguousStartIsNotRepeated(t *testing.T) {
	w := newWorld(t)
	f := w.workflows()
	f.Add(forgetest.Run{Ref: "main", Event: "workflow_dispatch"})
	w.Fail(forgetest.Fault{Match: "GET ", Status: 404}, forgetest.Fault{Match: githubPost, Status: 502, After: true})
	_, err := w.client.Start(t.Context(), w.order(w.image(config.GitHub)), nobody)
	failsFor(t, err, "502", "a run exists that may be this build") // it may not have been started at all
	assert.Equal(t, 1, w.posts())
	assert.Len(t, f.Runs(), 2)
}

func TestEarlierRunDoesNotMatch(t *testing.T) {
	w := newWorld(t)
	f := w.workflows()
	f.Age, f.Delay = forgetest.Ignorant, 1
	stranger := f.Add(forgetest.Run{Ref: "main", Event: "workflow_dispatch"})
	run, err := w.client.Start(t.Context(), w.order(w.image(config.GitHub)), nobody)
	require.NoError(t, err)
	assert.NotEqual(t, stranger, id(run))
	assert.Equal(t, f.Runs()[1].ID, id(run), "ours is listed late")
}

func TestRefusedStartBlocksNoOther(t *testing.T) {
	w := newWorld(t)
	f := w.workflows()
	f.Age = forgetest.Ignorant
	img := w.image(config.GitHub)
	refused := w.order(img)
	refused.Rebuild = "r-refused"
	w.Fail(forgetest.Fault{Match: githubPost, Status: 422, Body: `{"message":"Invalid"}`})
	_, err := w.client.Start(t.Context(), refused, nobody)
	refusedFor(t, err)
	run, err := w.client.Start(t.Context(), w.order(img), nobody)
	require.NoError(t, err)
	assert.Equal(t, f.Runs()[0].ID, id(run))
}

func TestFailedLookupKeepsStartedRun(t *testing.T) {
	w := newWorld(t)
	w.workflows().Age = forgetest.Ignorant
	w.Fail(forgetest.Fault{Match: "GET ", Status: 404}, forgetest.Fault{Match: "GET ", Status: 404})
	run, err := w.client.Start(t.Context(), w.order(w.image(config.GitHub)), nobody)
	require.NoError(t, err)
	assert.Empty(t, run)
}

func TestTwoImagesOfOneWorkflowGetTheirOwnRuns(t *testing.T) {
	w := newWorld(t)
	f := w.workflows()
	f.Age = forgetest.Ignorant
	img := w.image(config.GitHub)
	seen := map[string]bool{}
	for i := range 3 {
		o := w.order(img)
		o.Rebuild = "r-" + strconv.Itoa(i)
		run, err := w.client.Start(t.Context(), o, nobody)
		require.NoError(t, err)
		assert.Equal(t, f.Runs()[i].ID, id(run))
		assert.False(t, seen[run.ID])
		seen[run.ID] = true

		again, found, err := w.client.Find(t.Context(), o, func(forge.Run) bool { return true })
		require.NoError(t, err)
		assert.Equal(t, forge.Found, found)
		assert.Equal(t, run, again, "the client remembers what it started")
	}
}

func TestRunsAreFoundAfterACrash(t *testing.T) {
	for name, tt := range map[string]struct {
		others int  // runs that somebody else dispatched
		ours   bool // ours is there
		titled bool // runs are named by their rebuild
		taken  int  // how many of the others are known to be another rebuild's
		want   forge.Match
	}{
		"none":                   {0, false, false, 0, forge.NotFound},
		"the only one":           {0, true, false, 0, forge.Found},
		"one of two":             {1, true, false, 0, forge.Ambiguous},
		"the one not taken":      {1, true, false, 1, forge.Found},
		"only taken ones":        {2, false, false, 2, forge.NotFound},
		"by its title":           {2, true, true, 0, forge.Found},
		"by its title, far back": {70, true, true, 0, forge.Found},
		"the one on page three":  {70, true, false, 70, forge.Found},
		"too many":               {200, true, false, 200, forge.Unread},
		"too many, by its title": {140, true, true, 0, forge.Found},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			f := w.workflows()
			var ours string
			if tt.ours {
				title := "build"
				if tt.titled {
					title = titled(map[string]string{"id": rebuild})
				}
				ours = strconv.FormatInt(f.Add(forgetest.Run{Ref: "main", Event: "workflow_dispatch", Title: title, Status: "queued"}), 10)
			}
			taken := map[string]bool{}
			for i := range tt.others {
				other := f.Add(forgetest.Run{Ref: "main", Event: "workflow_dispatch", Title: "build for r-other"})
				taken[strconv.FormatInt(other, 10)] = i < tt.taken
			}
			o := w.order(w.image(config.GitHub))
			o.RequestedAt = w.now.Add(30 * time.Second) // its clock is behind ours
			run, found, err := w.client.Find(t.Context(), o, func(r forge.Run) bool { return taken[r.ID] })
			require.NoError(t, err)
			assert.Equal(t, tt.want, found)
			if tt.want == forge.Found {
				assert.Equal(t, ours, run.ID)
			} else {
				assert.Empty(t, run)
			}
			assert.Zero(t, w.posts())
		})
	}
}

func TestRunOfAnotherRebuildDoesNotMatch(t *testing.T) {
	for name, tt := range map[string]struct {
		titles []string
		shared bool // by other images
		over   bool // all of them are
		want   forge.Match
	}{
		"of others":                     {[]string{"build r-fedcba9876543210", "build r-0000000000000000"}, false, false, forge.NotFound},
		"of Kargo":                      {[]string{"for rebuild-web.01k5zq8v3n4m5p6q7r8s9t0abc.0123abc"}, false, false, forge.NotFound},
		"of others, and a nameless":     {[]string{"build r-fedcba9876543210", "build"}, false, false, forge.Found},
		"ours among many":               {[]string{"build", "build", "build " + rebuild}, true, false, forge.Found},
		"a nameless, may be of others":  {[]string{"build"}, true, false, forge.Ambiguous},
		"a nameless, and over":          {[]string{"build"}, true, true, forge.Ended},
		"one that looks like a rebuild": {[]string{"server-fedcba9876543210"}, false, false, forge.Found},
		"two nameless":                  {[]string{"build", "r-0123"}, false, false, forge.Ambiguous},
		"two nameless, and over":        {[]string{"build", "build"}, false, true, forge.Ended},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			f := w.workflows()
			var last int64
			for _, title := range tt.titles {
				last = f.Add(forgetest.Run{Ref: "main", Event: "workflow_dispatch", Title: title, Status: "queued"})
				if tt.over {
					f.Finish(last, "success")
				}
			}
			o := w.order(w.image(config.GitHub))
			o.Shared = tt.shared
			run, found, err := w.client.Find(t.Context(), o, free)
			require.NoError(t, err)
			assert.Equal(t, tt.want, found)
			if tt.want == forge.Found {
				assert.Equal(t, last, id(run))
			}
		})
	}
}

func TestRunBeforeTheRequestDoesNotMatch(t *testing.T) {
	w := newWorld(t)
	w.workflows().Add(forgetest.Run{Ref: "main", Event: "workflow_dispatch", Created: w.now.Add(-2 * time.Minute)})
	_, found, err := w.client.Find(t.Context(), w.order(w.image(config.GitHub)), free)
	require.NoError(t, err)
	assert.Equal(t, forge.NotFound, found)
}

func TestRefusedWorkflowHasHint(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*forgetest.Workflows, *config.Source)
		says   []string
	}{
		"no trigger":    {func(f *forgetest.Workflows, _ *config.Source) { f.Manual = true }, []string{"add workflow_dispatch to `on:`"}},
		"disabled":      {func(f *forgetest.Workflows, _ *config.Source) { f.Disabled = true }, []string{"enable the workflow"}},
		"input":         {func(_ *forgetest.Workflows, s *config.Source) { s.Inputs = map[string]string{"tag": "1"} }, []string{`Unexpected inputs provided: ["tag"]`, "on.workflow_dispatch.inputs"}},
		"branch":        {func(_ *forgetest.Workflows, s *config.Source) { s.Branch = "dev" }, []string{"No ref found for: dev", "correct source.branch"}},
		"workflow":      {func(_ *forgetest.Workflows, s *config.Source) { s.Workflow = "my build.yml" }, []string{`workflow "my build.yml" of team/app`, "source.workflow"}},
		"no permission": {func(f *forgetest.Workflows, _ *config.Source) { f.Gone = true }, []string{"404", "access to the Actions"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, age := range []forgetest.Age{forgetest.Current, forgetest.Strict} {
				w := newWorld(t)
				f := w.workflows()
				f.Age = age
				img := w.image(config.GitHub)
				tt.change(f, img.Source)
				_, err := w.client.Start(t.Context(), w.order(img), nobody)
				refusedFor(t, err, tt.says...)
				assert.Empty(t, f.Runs())
				assert.Empty(t, w.waits)
			}
		})
	}
}

func TestFreshRunMayNotBeListedYet(t *testing.T) {
	w := newWorld(t)
	w.workflows()
	img := w.image(config.GitHub)
	run, err := w.client.Start(t.Context(), w.order(img), nobody)
	require.NoError(t, err)
	hidden := forgetest.Fault{Match: "GET ", Status: 404, Body: `{"message":"Not Found"}`}
	w.Fail(hidden, hidden)
	result, err := w.client.Follow(t.Context(), img, run)
	require.NoError(t, err)
	assert.Equal(t, forge.Running, result.Phase)
}
