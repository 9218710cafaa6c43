package doctor_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/imagefactory/imagefactory/pkg/cluster"
	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/credentials"
	"github.com/imagefactory/imagefactory/pkg/doctor"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/internal/yamlenc"
	"github.com/imagefactory/imagefactory/pkg/kargo"
	"github.com/imagefactory/imagefactory/pkg/registry"
	"github.com/imagefactory/imagefactory/pkg/state"
	"github.com/imagefactory/imagefactory/pkg/store"
	"github.com/imagefactory/imagefactory/test/forgetest"
	"github.com/imagefactory/imagefactory/test/gittest"
	"github.com/imagefactory/imagefactory/test/kubetest"
	"github.com/imagefactory/imagefactory/test/registrytest"
)

const canary = "canary-token-0123456789"

// world is a fleet with all servers around it, in good health: one image that GitHub builds, one that GitLab builds.
type world struct {
	github, gitlab *forgetest.Server
	git            *gittest.Server
	registry       *registrytest.Registry
	kube           *kubetest.Server

	classic     []string // scopes of GitHub's token; nil for a fine-grained one
	expires     string   // of GitHub's token
	gitLab      map[string]any
	project     map[string]any
	branch      map[string]any
	workflow    string
	state       string
	dispatch    int // status that a start is answered with
	env         map[string]string
	credentials string // folder
	fleet       doctor.Fleet
	timeout     time.Duration
	inside      func() (*cluster.Inspector, error)
}

const goodWorkflow = "on:\n  push:\n  workflow_dispatch:\n    inputs:\n      image: {required: true}\n      note: {required: true, default: x}\n"

func gitServer(t *testing.T) *gittest.Server {
	t.Helper()
	s := gittest.NewServer(t, gittest.Options{User: "x-access-token", Password: canary})
	s.Init("fleet", map[string]string{"a": "b"})
	return s
}

func newWorld(t *testing.T, git *gittest.Server) *world {
	t.Helper()
	w := &world{
		github: forgetest.New(t), gitlab: forgetest.New(t), registry: registrytest.New(t), kube: kubetest.New(t),
		git:      git,
		gitLab:   map[string]any{"active": true, "scopes": []string{"api"}, "expires_at": "2027-01-01"},
		project:  map[string]any{"permissions": map[string]any{"project_access": map[string]any{"access_level": 30}}},
		branch:   map[string]any{},
		workflow: goodWorkflow, state: "active", dispatch: http.StatusUnprocessableEntity, timeout: 30 * time.Second,
	}
	w.github.Token, w.gitlab.Token = canary, canary
	w.registry.Base("base/os:1", "1")
	url := w.git.URL("fleet")
	cfg, err := config.Load(strings.NewReader(fmt.Sprintf(`
factory:
  state: {url: %[4]q}
  credentials:
    %[1]q: {api: {secret: forge, key: token}}
    %[3]q: {registry: {secret: reg, key: .dockerconfigjson}}
images:
- name: web
  registry: %[3]q
  repository: acme/web
  source: {provider: github, host: %[1]q, repo: acme/web, workflow: build.yml, inputs: {image: "{{image}}"}}
- name: api
  registry: %[3]q
  repository: acme/api
  source: {provider: gitlab, host: %[2]q, repo: acme/api, job: image}
`, w.github.Host, w.gitlab.Host, w.registry.Host, url)), "images.yaml")
	require.NoError(t, err)
	use := func(name string) *state.Image {
		return &state.Image{Name: name, Repository: w.registry.Host + "/acme/" + name, BaseImages: []state.BaseUse{{Ref: w.registry.Host + "/base/os:1", Uses: []state.Use{{Kind: "from"}}}}}
	}
	st := &state.State{
		Images: map[string]*state.Image{"web": use("web"), "api": use("api")},
		Bases:  map[string]*state.Base{"os": {Name: "os", Registry: w.registry.Host, Repository: "base/os", Tag: "1"}},
	}
	w.fleet = doctor.Fleet{Config: cfg, State: st, Graph: graph.Build(cfg, st), Location: kargo.Options{StateURL: url, StatePath: "state", ConfigPath: "images.yaml"}}
	w.fleet.Objects, _, err = kargo.Objects(cfg, st, w.fleet.Graph, w.fleet.Location)
	require.NoError(t, err)
	w.env = map[string]string{}
	for _, host := range []string{w.github.Host, w.gitlab.Host, w.git.Host} {
		w.env[credentials.Variable(credentials.API, host)] = canary
	}
	w.inside = func() (*cluster.Inspector, error) { return cluster.NewInspector(w.kube.Config(), httpx.Options{}) }
	w.forges()
	w.inKubernetes(t)
	return w
}

func (w *world) forges() {
	answer := func(status int, body string) http.HandlerFunc {
		return func(o http.ResponseWriter, _ *http.Request) {
			o.Header().Set("Content-Type", "application/json")
			o.WriteHeader(status)
			_, _ = o.Write([]byte(body))
		}
	}
	object := func(body func() any) http.HandlerFunc {
		return func(o http.ResponseWriter, q *http.Request) {
			data, _ := yaml.Marshal(body())
			text, _ := yaml.YAMLToJSON(data)
			answer(http.StatusOK, string(text))(o, q)
		}
	}
	w.github.Handle("GET /api/v3/rate_limit", func(o http.ResponseWriter, q *http.Request) {
		if w.classic != nil {
			o.Header()["X-Oauth-Scopes"] = []string{strings.Join(w.classic, ", ")}
		}
		o.Header().Set("GitHub-Authentication-Token-Expiration", w.expires)
		answer(http.StatusOK, "{}")(o, q)
	})
	const repo = "/api/v3/repos/acme/web"
	w.github.Handle("GET "+repo, answer(http.StatusOK, "{}"))
	w.github.Handle("GET "+repo+"/actions/workflows/build.yml", object(func() any { return map[string]any{"state": w.state} }))
	w.github.Handle("GET "+repo+"/contents/.github/workflows/build.yml", object(func() any {
		return map[string]any{"content": base64.StdEncoding.EncodeToString([]byte(w.workflow))}
	}))
	w.github.Handle("POST "+repo+"/actions/workflows/build.yml/dispatches", func(o http.ResponseWriter, q *http.Request) {
		answer(w.dispatch, `{"message":"No ref found, `+canary+`"}`)(o, q)
	})
	w.gitlab.Handle("GET /api/v4/personal_access_tokens/self", object(func() any { return w.gitLab }))
	w.gitlab.Handle("GET /api/v4/projects/acme%2Fapi", object(func() any { return w.project }))
	w.gitlab.Handle("GET /api/v4/projects/acme%2Fapi/repository/branches/main", object(func() any { return w.branch }))
	w.gitlab.Handle("GET /api/v4/projects/acme%2Fapi/repository/files/.gitlab-ci.yml", answer(http.StatusOK, "{}"))
}

func (w *world) inKubernetes(t *testing.T) {
	t.Helper()
	ns := w.kube.Namespace
	resources := func(names ...string) map[string]any {
		var list []any
		for _, name := range names {
			list = append(list, map[string]any{"name": name})
		}
		return map[string]any{"resources": list}
	}
	w.kube.Answer("/apis/kargo.akuity.io/v1alpha1", resources("freights", "projectconfigs", "projects", "promotions", "promotiontasks", "stages", "warehouses"))
	w.kube.Answer("/apis/argoproj.io/v1alpha1", resources("analysisruns", "analysistemplates"))
	w.application(map[string]any{"automated": map[string]any{"prune": true}})
	w.kargoVersion("v1.11.2")
	w.kube.Answer("/api/v1/namespaces/"+ns, map[string]any{"metadata": map[string]any{"labels": map[string]any{"kargo.akuity.io/project": "true"}}})
	w.kube.Answer("/apis/kargo.akuity.io/v1alpha1/projects/"+ns, map[string]any{"metadata": map[string]any{"name": ns}})
	for _, s := range kargo.Secrets(w.fleet.Config) {
		data := map[string]string{"repoURL": "^x/", "username": "u", "password": canary}
		for _, k := range s.Keys {
			data[k.Key] = canary
		}
		w.secret(s.Name, s.CredType, data)
	}
	w.cronJob(t, func(text string) string { return text })
	for _, o := range w.fleet.Objects {
		if o.Kind() != "Stage" {
			continue
		}
		data, err := yamlenc.Marshal(o)
		require.NoError(t, err)
		var stage map[string]any
		require.NoError(t, yaml.Unmarshal(data, &stage))
		stage["spec"].(map[string]any)["addedByAWebhook"] = true
		w.kube.Add("stages", stage)
	}
}

// application makes the cluster have the Application of dist with a sync policy, and another one without.
func (w *world) application(syncPolicy map[string]any) {
	item := func(name, namespace string, syncPolicy map[string]any) any {
		return map[string]any{
			"metadata": map[string]any{"name": name}, "spec": map[string]any{"destination": map[string]any{"namespace": namespace}, "syncPolicy": syncPolicy},
		}
	}
	w.kube.Answer("/apis/argoproj.io/v1alpha1/applications", map[string]any{"kind": "ApplicationList", "items": []any{
		item("another", "elsewhere", nil), item("images", w.kube.Namespace, syncPolicy),
	}})
}

const cronJobPath = "/apis/batch/v1/namespaces/image-factory-kargo/cronjobs/promote"

// cronJob makes the cluster have the CronJob promote of dist, changed.
func (w *world) cronJob(t *testing.T, change func(text string) string) {
	t.Helper()
	for _, o := range w.fleet.Objects {
		if o.Kind() != "CronJob" {
			continue
		}
		data, err := yamlenc.Marshal(o)
		require.NoError(t, err)
		var job map[string]any
		require.NoError(t, yaml.Unmarshal([]byte(change(string(data))), &job))
		w.kube.Answer(cronJobPath, job)
	}
}

func (w *world) kargoVersion(v string) {
	w.kube.Answer("/apis/apps/v1/deployments", map[string]any{"kind": "DeploymentList", "items": []any{deployment(v, "")}})
}

func deployment(version, image string) map[string]any {
	return map[string]any{
		"metadata": map[string]any{"labels": map[string]any{"app.kubernetes.io/version": version}},
		"spec":     map[string]any{"template": map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"image": image}}}}},
	}
}

// stageSchema has the API server tell which fields the status of a Stage has.
func (w *world) stageSchema(fields ...string) {
	status := map[string]any{}
	for _, f := range fields {
		status[f] = map[string]any{"type": "object"}
	}
	schema := map[string]any{"properties": map[string]any{"status": map[string]any{"properties": status}}}
	w.kube.Answer("/openapi/v3/apis/kargo.akuity.io/v1alpha1", map[string]any{"components": map[string]any{"schemas": map[string]any{"io.akuity.kargo.v1alpha1.Stage": schema}}})
}

// hold puts auto-promotion of an observe Stage on hold.
func (w *world) hold(stage int, field string, hold map[string]any) {
	s := w.kube.List("stages")[stage]
	origin := "Warehouse/" + strings.TrimPrefix(s["metadata"].(map[string]any)["name"].(string), "observe-")
	s["status"] = map[string]any{field: map[string]any{origin: hold}}
}

func (w *world) secret(name, credType string, data map[string]string) {
	encoded := map[string]any{}
	for k, v := range data {
		encoded[k] = base64.StdEncoding.EncodeToString([]byte(v))
	}
	w.kube.Answer("/api/v1/namespaces/"+w.kube.Namespace+"/secrets/"+name, map[string]any{
		"metadata": map[string]any{"labels": map[string]any{"kargo.akuity.io/cred-type": credType}}, "data": encoded,
	})
}

// run returns the checks that are not ok, as RESULT CHECK: MESSAGE, and all checks.
func (w *world) run(t *testing.T) (problems []string, all []doctor.Check) {
	t.Helper()
	store := credentials.New(credentials.Options{Dir: w.credentials, Getenv: func(name string) string { return w.env[name] }})
	all = doctor.Inspect(t.Context(), w.fleet, doctor.Tools{
		Credentials: store, Project: w.kube.Namespace, Cluster: w.inside,
		Registry: registry.New(registry.Options{Keychain: store.Keychain(), HTTP: httpx.Options{Sleep: func(context.Context, time.Duration) error { return nil }}}),
		Now:      func() time.Time { return time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC) },
	}, w.timeout)
	for _, f := range all {
		assert.NotContains(t, f.Message+f.Fix, canary)
		assert.NotContains(t, f.Message+f.Fix, kubetest.Token)
		if f.Result != doctor.OK {
			problems = append(problems, string(f.Result)+" "+f.Name+": "+f.Message)
			assert.NotEmpty(t, f.Fix, "%v", f)
		}
	}
	return problems, all
}

// TestWithoutCluster: a fleet that no Kargo runs is checked without one.
func TestWithoutCluster(t *testing.T) {
	w := newWorld(t, gitServer(t))
	w.inside = nil
	problems, all := w.run(t)
	assert.Empty(t, problems)
	for _, f := range all {
		assert.Regexp(t, "^(token|workflow|pipeline|state repository|registry)", f.Name)
	}
}

func TestHealthy(t *testing.T) {
	w := newWorld(t, gitServer(t))
	problems, all := w.run(t)
	assert.Empty(t, problems)
	var checks []string
	for _, f := range all {
		checks = append(checks, f.Name)
	}
	assert.Subset(t, checks, []string{"token " + w.github.Host, "token " + w.gitlab.Host, "workflow acme/web build.yml", "pipeline acme/api",
		"state repository", "registry " + w.registry.Host, "Kargo", "Argo Rollouts", "namespace image-factory-kargo", "Secrets", "permissions", "dist in the cluster"})
	for _, q := range w.git.Requests() {
		assert.NotContains(t, q, "POST", "nothing is fetched or pushed")
	}
}

// TestProblems breaks one thing at a time.
func TestProblems(t *testing.T) {
	git := gitServer(t)
	const ns = "/api/v1/namespaces/image-factory-kargo"
	for name, c := range map[string]struct {
		breaks func(w *world)
		want   string // part of the only problem
	}{
		"no token": {func(w *world) {
			delete(w.env, credentials.Variable(credentials.API, w.gitlab.Host))
			w.gitlab.Token = ""
		}, "warning token HOST: no token found"},
		"wrong token":           {func(w *world) { w.gitlab.Fail(forgetest.Fault{Match: "GET /api/v4/personal", Status: 401}) }, "error token HOST: credential from IMAGEFACTORY_API_TOKEN_"},
		"old classic token":     {func(w *world) { w.classic = []string{"read:org"} }, "lacks the scope \"repo\" (scopes: read:org)"},
		"no scopes":             {func(w *world) { w.classic = []string{} }, "lacks the scope \"repo\" (scopes: none)"},
		"public repositories":   {func(w *world) { w.classic = []string{"public_repo"} }, "warning token HOST"},
		"token ends soon":       {func(w *world) { w.expires = "2026-03-10 00:00:00 UTC" }, "expires on 2026-03-10"},
		"GitLab scopes":         {func(w *world) { w.gitLab["scopes"] = []string{"read_api"} }, "lacks the scope \"api\" (scopes: read_api)"},
		"GitLab token inactive": {func(w *world) { w.gitLab["active"] = false }, "is no longer active"},
		"GitLab ends soon":      {func(w *world) { w.gitLab["expires_at"] = "2026-03-02" }, "expires on 2026-03-02"},
		"job token":             {func(w *world) { w.gitlab.Fail(forgetest.Fault{Match: "GET /api/v4/personal", Status: 404, Body: "{}"}) }, "not checked token"},
		"repository hidden": {func(w *world) {
			w.github.Fail(forgetest.Fault{Match: "GET /api/v3/repos/acme/web", Status: 404, Body: `{"message":"Not Found"}`})
		}, "no repository acme/web, or the token has no access to it"},
		"a gateway's 404": {func(w *world) { w.github.Fail(forgetest.Fault{Match: "GET /api/v3/repos/acme/web", Status: 404}) }, "answered 404 Not Found (not an API response"},
		"a sign-in page": {func(w *world) {
			w.github.Fail(forgetest.Fault{Match: "GET /api/v3/repos/acme/web", Status: 200, Body: "<html>sign in</html>"})
		}, "error workflow acme/web build.yml: no usable response from HOST: unexpected content: invalid JSON"},
		"no workflow": {func(w *world) {
			w.github.Fail(forgetest.Fault{Match: "GET /api/v3/repos/acme/web/actions", Status: 404, Body: `{"message":"Not Found"}`})
		}, "no workflow build.yml on the default branch"},
		"disabled":         {func(w *world) { w.state = "disabled_inactivity" }, "not enabled (disabled_inactivity)"},
		"no trigger":       {func(w *world) { w.workflow = "on: [push]" }, "missing trigger workflow_dispatch"},
		"undeclared input": {func(w *world) { w.workflow = "on: [push, workflow_dispatch]" }, `web sends the undeclared input "image"`},
		"required input":   {func(w *world) { w.workflow = goodWorkflow + "      more: {required: true}\n" }, `web does not send the required input "more"`},
		"no lock": {func(w *world) {
			pins := true
			w.fleet.Config.Find("web").Source.PinBases = &pins
			w.workflow = goodWorkflow + "jobs: {build: {steps: [{run: docker build .}]}}\n"
		}, "warning workflow acme/web build.yml: builds without the lock, but pinBases is set for web"},
		"no YAML":                  {func(w *world) { w.workflow = "a: b: c" }, "invalid YAML"},
		"may not start":            {func(w *world) { w.dispatch = 403 }, "warning workflow acme/web build.yml: the token cannot start it (403: No ref found, [token])"},
		"no CI/CD":                 {func(w *world) { w.project["builds_access_level"] = "disabled" }, "CI/CD is disabled in the project"},
		"no variables":             {func(w *world) { w.project["ci_pipeline_variables_minimum_override_role"] = "no_one_allowed" }, "the project does not allow them"},
		"variables of maintainers": {func(w *world) { w.project["ci_pipeline_variables_minimum_override_role"] = "maintainer" }, "only allows them for the role maintainer (the token has access level 30)"},
		"reporter": {func(w *world) {
			w.project["permissions"] = map[string]any{"group_access": map[string]any{"access_level": 20}}
		}, "cannot start pipelines (access level 20)"},
		"no branch": {func(w *world) {
			w.gitlab.Fail(forgetest.Fault{Match: "GET /api/v4/projects/acme%2Fapi/repository/branches", Status: 404, Body: `{"message":"404 Branch Not Found"}`})
		}, "no branch main"},
		"protected branch": {func(w *world) { w.branch["protected"] = true }, "cannot start pipelines of the protected branch main (access level 30)"},
		"no CI file": {func(w *world) {
			w.gitlab.Fail(forgetest.Fault{Match: "GET /api/v4/projects/acme%2Fapi/repository/files", Status: 404, Body: `{"message":"404 File Not Found"}`})
		}, "no .gitlab-ci.yml on the branch main"},
		"state unreadable":   {func(w *world) { w.git.Password = "other" }, "error state repository: cannot be read"},
		"state read-only":    {func(w *world) { w.git.Fail(gittest.Fault{Match: "service=git-receive-pack", Status: 403}) }, "can be read, but not written"},
		"registry closed":    {func(w *world) { w.registry.User = "u" }, "access denied (401)"},
		"own images closed":  {func(w *world) { w.deny("/v2/acme/") }, "listing tags of"},
		"few pulls left":     {func(w *world) { w.pulls("7;w=21600") }, "only 7 pulls left"},
		"no Kargo":           {func(w *world) { w.kube.Answer("/apis/kargo.akuity.io/v1alpha1", map[string]any{}) }, "error Kargo: CRDs missing: freights"},
		"old Kargo":          {func(w *world) { w.kargoVersion("1.10.4") }, "error Kargo: version 1.10.4, which does not know `pollInterval` and `errorExpression`"},
		"unknown Kargo":      {func(w *world) { w.kargoVersion("main") }, "not checked Kargo"},
		"Deployments hidden": {func(w *world) { w.kube.Answer("/apis/apps/v1/deployments", nil) }, "not checked Kargo: no permission to read Deployments"},
		"no Rollouts":        {func(w *world) { w.kube.Answer("/apis/argoproj.io/v1alpha1", map[string]any{}) }, "error Argo Rollouts: CRDs missing: analysisruns, analysistemplates"},
		"no namespace":       {func(w *world) { w.kube.Answer(ns, map[string]any{}) }, "error namespace image-factory-kargo: does not exist"},
		"no label":           {func(w *world) { w.kube.Answer(ns, map[string]any{"metadata": map[string]any{}}) }, "missing label kargo.akuity.io/project"},
		"no Project": {func(w *world) {
			w.kube.Answer("/apis/kargo.akuity.io/v1alpha1/projects/image-factory-kargo", map[string]any{})
		}, "the Project image-factory-kargo does not exist"},
		"CronJob suspended": {func(w *world) {
			w.cronJob(t, func(text string) string { return strings.Replace(text, "suspend: false", "suspend: true", 1) })
		}, "warning factory: the CronJob promote is suspended: nothing is started on its schedule"},
		"no automated sync":       {func(w *world) { w.application(nil) }, "warning Argo CD: the Application images has no automated sync"},
		"automated sync disabled": {func(w *world) { w.application(map[string]any{"automated": map[string]any{"enabled": false}}) }, "the Application images has no automated sync"},
		"Applications hidden":     {func(w *world) { w.kube.Answer("/apis/argoproj.io/v1alpha1/applications", nil) }, "not checked Argo CD: no permission to read the Applications of Argo CD"},
		"no Secret":               {func(w *world) { w.kube.Answer(ns+"/secrets/forge", map[string]any{}) }, "error Secrets: forge is missing"},
		"Secrets hidden":          {func(w *world) { w.kube.Answer(ns+"/secrets/forge", nil) }, "not checked Secrets: no permission to read Secrets"},
		"Secret label":            {func(w *world) { w.secret("forge", "git", map[string]string{"token": canary}) }, "forge lacks the label kargo.akuity.io/cred-type=generic"},
		"Secret key":              {func(w *world) { w.secret("forge", "generic", map[string]string{"tokn": canary}) }, `forge has no key "token"`},
		"placeholder":             {func(w *world) { w.secret("forge", "generic", map[string]string{"token": "REPLACE-ME"}) }, "still holds the placeholder"},
		"permissions":             {func(w *world) { w.kube.Deny("create promotions"); w.kube.Deny("promote stages") }, "permissions missing: create promotions, promote stages rebuild-api"},
		"Stage missing":           {func(w *world) { delete(w.kube.List("stages")[0]["metadata"].(map[string]any), "labels") }, "error dist in the cluster: Stages missing: observe-base-base-os-1"},
		"Stage differs":           {func(w *world) { w.kube.List("stages")[0]["spec"] = map[string]any{} }, "Stages out of date: observe-base-base-os-1"},
		"Stage too many": {func(w *world) {
			w.kube.Add("stages", map[string]any{"metadata": map[string]any{"name": "old", "labels": map[string]any{"app.kubernetes.io/managed-by": "imagefactory"}}})
		}, "warning dist in the cluster: Stages no longer needed: old"},
		"one old controller": {func(w *world) {
			w.kube.Answer("/apis/apps/v1/deployments", map[string]any{"kind": "DeploymentList", "items": []any{deployment("1.11.2", ""), deployment("1.11.2", "ghcr.io/akuity/kargo:v1.9.5@sha256:0"), deployment("1.12.0", "kargo:main")}})
		}, "error Kargo: version v1.9.5"},
		"old CRDs": {func(w *world) {
			w.kargoVersion("main")
			w.stageSchema("freightHistory")
		}, "error Kargo: the CRDs are older than 1.11, which does not know"},
		"old CRDs, Deployments hidden": {func(w *world) {
			w.kube.Answer("/apis/apps/v1/deployments", nil)
			w.stageSchema("freightHistory")
		}, "error Kargo: the CRDs are older than 1.11"},
		"a hold": {func(w *world) {
			w.hold(0, "effectiveAutoPromotionHolds", map[string]any{"actor": "email:ann@example.com\x1b[2J", "createdAt": "2026-02-01T10:00:00Z", "freightName": "f00"})
		}, "is on hold since 2026-02-01 10:00 UTC: email:ann@example.com"},
		"a hold of Kargo 1.11.0": {func(w *world) { w.hold(0, "autoPromotionHolds", map[string]any{"freightName": "f00"}) }, "is on hold: somebody promoted other Freight of base-"},
		"no cluster": {func(w *world) {
			w.inside = func() (*cluster.Inspector, error) { return nil, cluster.ErrNoCluster }
		}, "not checked cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, git)
			defer func() { git.Password = canary }()
			c.breaks(w)
			problems, _ := w.run(t)
			require.Len(t, problems, 1)
			hosts := strings.NewReplacer(w.github.Host, "HOST", w.gitlab.Host, "HOST")
			assert.Contains(t, hosts.Replace(problems[0]), c.want)
		})
	}
}

func (w *world) pulls(left string) {
	w.registry.Break(func(o http.ResponseWriter, _ *http.Request) bool {
		o.Header().Set("RateLimit-Remaining", left)
		return false
	})
}

// TestVersionFromCRDs when no Deployment does: the account of the Jobs may not read them.
func TestVersionFromCRDs(t *testing.T) {
	w := newWorld(t, gitServer(t))
	w.kube.Answer("/apis/apps/v1/deployments", nil)
	w.stageSchema("freightHistory", "autoPromotionHolds")
	problems, all := w.run(t)
	assert.Empty(t, problems)
	assert.Contains(t, all, doctor.Check{Name: "Kargo", Result: doctor.OK, Message: "CRDs installed, version 1.11 or later"})
}

// TestHolds names the Stage, and how to resume; many are counted.
func TestHolds(t *testing.T) {
	w := newWorld(t, gitServer(t))
	w.hold(0, "effectiveAutoPromotionHolds", map[string]any{"freightName": "f00"})
	name := w.kube.List("stages")[0]["metadata"].(map[string]any)["name"].(string)
	_, all := w.run(t)
	found := func(f doctor.Check) bool { return f.Name == "auto-promotion" }
	first := all[slices.IndexFunc(all, found)]
	assert.Equal(t, doctor.Warning, first.Result)
	assert.Equal(t, "Resume in Kargo's UI, or kargo promote --project image-factory-kargo --stage "+name+" --warehouse "+strings.TrimPrefix(name, "observe-"), first.Fix)

	for i := range 8 {
		stage := map[string]any{
			"metadata": map[string]any{"name": fmt.Sprintf("observe-x%d", i), "labels": map[string]any{"imagefactory/role": "observe"}},
			"status":   map[string]any{"effectiveAutoPromotionHolds": map[string]any{"Warehouse/x": map[string]any{}}, "autoPromotionHolds": map[string]any{}},
		}
		w.kube.Add("stages", stage)
	}
	w.kube.List("stages")[0]["status"] = map[string]any{"effectiveAutoPromotionHolds": map[string]any{}, "autoPromotionHolds": map[string]any{"Warehouse/x": map[string]any{}}}
	_, all = w.run(t)
	all = slices.DeleteFunc(all, func(f doctor.Check) bool { return !found(f) })
	require.Len(t, all, 6)
	assert.Equal(t, "3 more observe Stages are on hold", all[5].Message)
}

// TestObjectsOfTheJobs: what factory.jobs names is looked for, and the Jobs start without it.
func TestObjectsOfTheJobs(t *testing.T) {
	w := newWorld(t, gitServer(t))
	key := func(secret, configMap, key string) *config.ObjectKey {
		return &config.ObjectKey{Secret: secret, ConfigMap: configMap, Key: key}
	}
	w.fleet.Config.Factory.Jobs = config.Jobs{
		Env:      map[string]*config.EnvValue{"A": {Object: key("gone", "", "k")}, "B": {Value: "plain"}},
		EnvFrom:  []config.EnvSource{{ConfigMap: "there"}},
		Proxy:    config.Proxy{HTTPS: &config.EnvValue{Object: key("hidden", "", "url")}},
		CABundle: key("", "corp-ca", "ca.crt"), ImagePullSecrets: []string{"pull"},
	}
	const ns = "/api/v1/namespaces/image-factory-kargo/"
	w.kube.Answer(ns+"secrets/gone", map[string]any{})
	w.kube.Answer(ns+"secrets/hidden", nil)
	w.kube.Answer(ns+"secrets/pull", map[string]any{"data": map[string]any{}, "kind": "Secret"})
	w.kube.Answer(ns+"configmaps/there", map[string]any{"data": map[string]any{"x": "y"}})
	w.kube.Answer(ns+"configmaps/corp-ca", map[string]any{"data": map[string]any{"bundle.pem": "y"}})
	problems, all := w.run(t)
	assert.Equal(t, []string{
		`warning Secrets: ConfigMap corp-ca of factory.jobs.caBundle has no key "ca.crt": the Jobs run without it`,
		"warning Secrets: Secret gone of factory.jobs.env.A is missing: the Jobs run without it",
		"not checked Secrets: no permission to read Secret hidden",
	}, problems)
	for _, message := range []string{"ConfigMap there of factory.jobs.envFrom exists", "Secret pull of factory.jobs.imagePullSecrets exists"} {
		assert.Contains(t, all, doctor.Check{Name: "Secrets", Result: doctor.OK, Message: message})
	}
}

// TestTokenOfTheJobs: what they may not start, Kargo may not either. Another token may only read on purpose.
func TestTokenOfTheJobs(t *testing.T) {
	for _, result := range []string{"warning", "error"} {
		w := newWorld(t, gitServer(t))
		if result == "error" {
			w.credentials = t.TempDir()
			for _, host := range []string{w.github.Host, w.gitlab.Host} {
				file := filepath.Join(w.credentials, "api", host, "token")
				require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
				require.NoError(t, os.WriteFile(file, []byte(canary), 0o600))
			}
		}
		w.dispatch, w.classic = http.StatusForbidden, []string{"read:org"}
		w.gitLab["scopes"] = []string{"read_api"}
		w.project["permissions"] = map[string]any{"group_access": map[string]any{"access_level": 20}}
		problems, _ := w.run(t)
		require.Len(t, problems, 4)
		for _, p := range problems {
			assert.Regexp(t, "^"+result+" (token|workflow|pipeline) ", p)
		}
	}
}

// TestKargoToken: Kargo starts builds with the token of a Secret, which this machine need not have.
func TestKargoToken(t *testing.T) {
	w := newWorld(t, gitServer(t))
	w.secret("forge", "generic", map[string]string{"token": "canary-other"})
	problems, _ := w.run(t)
	assert.Equal(t, []string{`error Secrets: credential from the key "token" of forge is invalid, revoked or expired (401)`}, problems)
}

// TestPipelineElsewhere: a protected branch that Developers may merge to, and CI that is configured in another project.
func TestPipelineElsewhere(t *testing.T) {
	w := newWorld(t, gitServer(t))
	w.branch["protected"], w.branch["developers_can_merge"] = true, true
	w.project["ci_config_path"] = "build.yml@acme/ci"
	w.gitlab.Fail(forgetest.Fault{Match: "GET /api/v4/projects/acme%2Fapi/repository/files", Status: 404})
	problems, _ := w.run(t)
	assert.Empty(t, problems)
}

// TestWorkflowInAnotherRepository: workflows and pipelines are checked where they are, and problems name the keys of that repository.
func TestWorkflowInAnotherRepository(t *testing.T) {
	w := newWorld(t, gitServer(t))
	for _, name := range []string{"web", "api"} {
		src := w.fleet.Config.Find(name).Source
		src.Repo, src.Branch, src.WorkflowRepo, src.WorkflowBranch = "acme/code", "release", "acme/"+name, "main"
	}
	_, all := w.run(t)
	checks := map[string]doctor.Result{}
	for _, f := range all {
		checks[f.Name] = f.Result
	}
	assert.Equal(t, doctor.OK, checks["workflow acme/web build.yml"])
	assert.Equal(t, doctor.OK, checks["pipeline acme/api"])

	w.github.Fail(forgetest.Fault{Match: "GET /api/v3/repos/acme/web", Status: 404, Body: `{"message":"Not Found"}`, Header: http.Header{"Content-Type": {"application/json"}}})
	_, all = w.run(t)
	i := slices.IndexFunc(all, func(c doctor.Check) bool { return c.Name == "workflow acme/web build.yml" })
	assert.Contains(t, all[i].Fix, "correct source.workflowRepo, source.workflow or source.workflowBranch")
}

// TestTokenOfAnApp: an empty list of scopes means something of a classic token only.
func TestTokenOfAnApp(t *testing.T) {
	w := newWorld(t, gitServer(t))
	w.classic, w.github.Token = []string{}, "ghs_"+canary
	w.env[credentials.Variable(credentials.API, w.github.Host)] = w.github.Token
	w.secret("forge", "generic", map[string]string{"token": w.github.Token})
	problems, _ := w.run(t)
	assert.Empty(t, problems)
}

func (w *world) deny(path string) {
	w.registry.Break(func(o http.ResponseWriter, q *http.Request) bool {
		if !strings.HasPrefix(q.URL.Path, path) {
			return false
		}
		o.WriteHeader(http.StatusForbidden)
		return true
	})
}

// TestDeadHost: a host that takes connections and says nothing ends its own check, and keeps no other one waiting.
func TestDeadHost(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	w := newWorld(t, gitServer(t))
	w.timeout = 2 * time.Second
	w.fleet.Location.StateURL = "http://" + listener.Addr().String() + "/fleet.git"
	problems, _ := w.run(t)
	assert.Equal(t, []string{"error state repository: no response within 2s"}, problems)
}

// TestReceivers: a receiver without a URL is reported, and no URL is shown.
func TestReceivers(t *testing.T) {
	w := newWorld(t, gitServer(t))
	w.fleet.Config.Factory.Receivers = []config.WebhookReceiver{{Name: "ghcr", Kind: config.ReceiveGitHub, Secret: "webhook"}, {Name: "harbor", Kind: config.ReceiveHarbor, Secret: "webhook"}}
	w.secret("webhook", "generic", map[string]string{"secret": canary, "auth-header": canary})
	const path = "/apis/kargo.akuity.io/v1alpha1/namespaces/image-factory-kargo/projectconfigs/image-factory-kargo"
	receiver := func(name string) map[string]any {
		return map[string]any{"name": name, "url": "https://kargo.example.com/webhooks/github/" + canary}
	}
	w.kube.Answer(path, map[string]any{"status": map[string]any{"webhookReceivers": []any{receiver("ghcr")}}})
	problems, all := w.run(t)
	require.Len(t, problems, 1)
	assert.Contains(t, problems[0], "warning webhook receivers: Kargo has no URL for harbor, so pushes are seen at the next poll")
	assert.True(t, slices.ContainsFunc(all, func(c doctor.Check) bool {
		return c.Result == doctor.OK && strings.Contains(c.Message, "ghcr accepts webhooks; its URL: kubectl get projectconfig -n image-factory-kargo")
	}))

	w.kube.Answer(path, map[string]any{"status": map[string]any{"webhookReceivers": []any{receiver("ghcr"), receiver("harbor")}}})
	problems, _ = w.run(t)
	assert.Empty(t, problems)

	w.secret("webhook", "generic", map[string]string{"secret": canary})
	problems, _ = w.run(t)
	require.Len(t, problems, 1)
	assert.Contains(t, problems[0], `error Secrets: webhook has no key "auth-header", or it is empty`)
}

// TestAppToken: until the Job has written a token, Kargo cannot start a build.
func TestAppToken(t *testing.T) {
	w := newWorld(t, gitServer(t))
	w.fleet.Config.Factory.Credentials[w.github.Host] = config.Credential{App: &config.App{Secret: "app"}}
	w.secret("app", "", map[string]string{"app-id": "7", "installation-id": "42", "private-key": canary})
	secret := strings.ReplaceAll(w.github.Host, ":", "-") + "-app-token"
	missing := "error Secrets: " + secret + " has an empty token until the CronJob app-token writes one"
	w.kube.Answer("/api/v1/namespaces/image-factory-kargo/secrets/"+secret, map[string]any{})
	problems, _ := w.run(t)
	assert.Equal(t, []string{missing}, problems)
	w.secret(secret, "generic", nil)
	problems, all := w.run(t)
	assert.Equal(t, []string{missing}, problems)
	assert.True(t, slices.ContainsFunc(all, func(c doctor.Check) bool {
		return strings.Contains(c.Fix, "kubectl create job -n image-factory-kargo --from=cronjob/app-token first-token")
	}))
	w.secret(secret, "generic", map[string]string{"token": canary})
	problems, _ = w.run(t)
	assert.Empty(t, problems)
}

// TestOneFactoryInAProject: the CronJob of another factory in the Project is reported.
func TestOneFactoryInAProject(t *testing.T) {
	w := newWorld(t, gitServer(t))
	problems, all := w.run(t)
	assert.Empty(t, problems)
	assert.True(t, slices.ContainsFunc(all, func(c doctor.Check) bool { return c.Message == "the Project belongs to this factory" }))
	w.cronJob(t, func(text string) string { return strings.Replace(text, "--path=state", "--path=other/state", 1) })
	problems, _ = w.run(t)
	assert.Equal(t, []string{"error factory: the CronJob promote runs with --path=other/state, not state: another factory uses the Project image-factory-kargo"}, problems)
	w.kube.Answer(cronJobPath, nil)
	problems, _ = w.run(t)
	assert.Equal(t, []string{"not checked factory: no permission to read the CronJob promote"}, problems)
}

// TestChannels: channels are checked as far as that is possible without a message.
func TestChannels(t *testing.T) {
	w := newWorld(t, gitServer(t))
	w.inside = nil
	key := &config.SecretKey{Secret: "notify", Key: "x"}
	w.fleet.Config.Factory.Notify.Channels = []config.Channel{
		{Name: "chat", Kind: config.Slack, Secret: key}, {Name: "none", Kind: config.Teams, Secret: key}, {Name: "bad", Kind: config.Slack, Secret: key},
		{Name: "room", Kind: config.Matrix, URL: "http://" + w.github.Host, Room: "!abc:example.com", Secret: key},
	}
	for name, secret := range map[string]string{"chat": "https://hooks.example.com/" + canary, "bad": canary, "room": canary} {
		w.env[credentials.ChannelVariable(name)] = secret
	}
	rooms := `{"joined_rooms": ["!abc:example.com"]}`
	w.github.Handle("GET /_matrix/client/v3/joined_rooms", func(o http.ResponseWriter, _ *http.Request) { _, _ = o.Write([]byte(rooms)) })
	problems, all := w.run(t)
	assert.Equal(t, []string{
		"not checked channel chat: only a test message shows whether it is accepted",
		"warning channel none: no secret (set IMAGEFACTORY_NOTIFY_NONE; in the cluster, create the Secret notify)",
		"error channel bad: the secret is not a URL",
	}, problems)
	assert.True(t, slices.ContainsFunc(all, func(c doctor.Check) bool { return c.Name == "channel room" && c.Result == doctor.OK }))
	rooms = `{"joined_rooms": []}`
	problems, _ = w.run(t)
	assert.Contains(t, problems, "error channel room: the account has not joined the room !abc:example.com (invite it and accept)")
}

// TestMissingWorkflow: the first fix is to write the workflow, unless the repository cannot be read either.
func TestMissingWorkflow(t *testing.T) {
	fix := func(fault, workflowRepo string) string {
		w := newWorld(t, gitServer(t))
		w.github.Fail(forgetest.Fault{Match: fault, Status: 404, Body: `{"message":"Not Found"}`})
		if workflowRepo != "" {
			s := w.fleet.Config.Find("web").Source
			s.WorkflowRepo, s.WorkflowBranch = workflowRepo, "main"
		}
		_, all := w.run(t)
		i := slices.IndexFunc(all, func(c doctor.Check) bool { return c.Name == "workflow acme/web build.yml" })
		require.GreaterOrEqual(t, i, 0)
		require.Equal(t, doctor.Error, all[i].Result)
		return all[i].Fix
	}
	const write = "write it: imagefactory workflow web --write DIR, then commit and push it; if it exists, correct source."
	assert.True(t, strings.HasPrefix(fix("GET /api/v3/repos/acme/web/actions", ""), write))
	assert.True(t, strings.HasPrefix(fix("GET /api/v3/repos/acme/web/contents", ""), write))
	assert.True(t, strings.HasPrefix(fix("GET /api/v3/repos/acme/web", ""), "correct source.repo"))
	assert.True(t, strings.HasPrefix(fix("GET /api/v3/repos/acme/web/actions", "acme/web"), "correct source.workflowRepo"))
}

// TestBlocked: rebuilds that could not be started are named, the first ones with their reasons.
func TestBlocked(t *testing.T) {
	dir := t.TempDir()
	var images strings.Builder
	images.WriteString("factory: {state: {url: https://example.com/x.git}}\nimages:\n")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "state", "images"), 0o755))
	for i := range 7 {
		name := "web" + strconv.Itoa(i)
		fmt.Fprintf(&images, "- {name: %s, repository: acme/%s, tags: latest, source: {provider: github, repo: acme/%s, workflow: b.yml}}\n", name, name, name)
		message := `, message: "no token for github.com"`
		if i == 6 {
			message = "" // interrupted
		}
		st := fmt.Sprintf("name: %s\nrepository: ghcr.io/acme/%s\nrebuild: {id: r1, reason: never published, requestedAt: \"2026-02-28T22:00:00Z\", status: requested%s}\n", name, name, message)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "state", "images", name+".yaml"), []byte(st), 0o600))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "images.yaml"), []byte(images.String()), 0o600))
	paths := fleet.Paths{Config: filepath.Join(dir, "images.yaml"), StateDir: filepath.Join(dir, "state"), OutDir: filepath.Join(dir, "dist")}
	run := func() (found []doctor.Check) {
		for _, c := range doctor.Run(t.Context(), doctor.Options{
			Now: func() time.Time { return time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC) }, Store: store.Folder{Paths: paths}, Local: &paths, Offline: true, Direct: true, Timeout: time.Minute,
		}) {
			if c.Name == "rebuilds" {
				found = append(found, c)
			}
		}
		return found
	}
	found := run()
	require.Len(t, found, 6)
	assert.Equal(t, doctor.Check{
		Name: "rebuilds", Result: doctor.Warning, Message: "web0 is blocked since 2026-02-28 22:00 UTC: no token for github.com",
		Fix: "correct the cause, which may be among the other checks; the next pass of promote starts it",
	}, found[0])
	assert.Equal(t, "2 more are blocked", found[5].Message)

	require.NoError(t, os.RemoveAll(filepath.Join(dir, "state", "images")))
	assert.Equal(t, []doctor.Check{{Name: "rebuilds", Result: doctor.OK, Message: "none is blocked"}}, run())
}
