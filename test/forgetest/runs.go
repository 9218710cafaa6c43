package forgetest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Run is a workflow run of GitHub, or a pipeline of GitLab.
type Run struct {
	ID         int64
	Ref        string
	Event      string // GitHub: the event, GitLab: the source
	Title      string
	Status     string
	Conclusion string            // GitHub
	Values     map[string]string // inputs, or variables
	Inputs     map[string]string // GitLab
	Created    time.Time
	hidden     int  // number of lists in which it is still missing
	locked     bool // its variables may not be read
}

// runs are the runs of a repository.
type runs struct {
	Now func() time.Time // the forge's clock

	server *Server
	mu     sync.Mutex
	list   []*Run
}

// Runs returns the runs so far, oldest first.
func (r *runs) Runs() []Run {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Run, len(r.list))
	for i, run := range r.list {
		out[i] = *run
	}
	return out
}

// Add adds a run that imagefactory did not start, and returns its ID.
func (r *runs) Add(run Run) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	run.ID = 30433642 + int64(len(r.list))
	if run.Created.IsZero() {
		run.Created = r.Now().UTC().Truncate(time.Second)
	}
	r.list = append(r.list, &run)
	return run.ID
}

// Delete deletes a run.
func (r *runs) Delete(id int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = slices.DeleteFunc(r.list, func(run *Run) bool { return run.ID == id })
}

func (r *runs) set(id int64, change func(*Run)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, run := range r.list {
		if run.ID == id {
			change(run)
			return
		}
	}
	r.server.t.Errorf("no such run: %d", id)
}

func (r *runs) find(id string) (Run, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, run := range r.list {
		if strconv.FormatInt(run.ID, 10) == id {
			return *run, true
		}
	}
	return Run{}, false
}

// page responds with a page of the runs that match a filter, newest first.
func (r *runs) page(w http.ResponseWriter, req *http.Request, filter func(*Run) bool, write func([]Run) any) {
	r.mu.Lock()
	var all []Run
	for _, run := range slices.Backward(r.list) {
		if run.hidden > 0 {
			run.hidden--
		} else if filter(run) {
			all = append(all, *run)
		}
	}
	r.mu.Unlock()
	q := req.URL.Query()
	size, _ := strconv.Atoi(q.Get("per_page"))
	page, _ := strconv.Atoi(q.Get("page"))
	size, page = min(max(size, 1), 100), max(page, 1)
	from, to := min((page-1)*size, len(all)), min(page*size, len(all))
	if to < len(all) {
		q.Set("page", strconv.Itoa(page+1))
		next := "http://" + req.Host + req.URL.EscapedPath() + "?" + q.Encode()
		w.Header().Set("Link", "<"+next+`>; rel="next"`)
		w.Header().Set("X-Next-Page", strconv.Itoa(page+1))
	}
	answer(w, http.StatusOK, write(all[from:to]))
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// since parses a filter by time; the zero time without one.
func since(filter string) (time.Time, error) {
	if filter == "" {
		return time.Time{}, nil
	}
	return time.Parse(time.RFC3339, filter)
}

// Age is the version of the dispatch API of a GitHub server.
type Age int

// Ages.
const (
	Current  Age = iota // returns the ID of the run if the request asks for it
	Ignorant            // always responds with 204, and does not filter runs by time
	Strict              // refuses a request with unknown keys, like GitHub Enterprise Server 3.19
)

// Workflows is a GitHub repository with one workflow, build.yml on main.
type Workflows struct {
	Inputs   []string                       // declared by the workflow
	Title    func(map[string]string) string // its run-name
	Age      Age
	Disabled bool
	Manual   bool // the workflow has no workflow_dispatch
	Delay    int  // number of lists in which a new run is missing
	Gone     bool // the repository is hidden from the token

	runs
	repo string
}

// Workflows adds a repository. Set its fields before the first request.
func (s *Server) Workflows(repo string) *Workflows {
	f := &Workflows{repo: repo, runs: runs{server: s, Now: time.Now}}
	base := "/api/v3/repos/" + repo
	s.Handle("GET "+base, f.unlessGone(func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"id": 1296269, "full_name": repo, "private": true})
	}))
	s.Handle("POST "+base+"/actions/workflows/{file}/dispatches", f.unlessGone(f.dispatch))
	s.Handle("GET "+base+"/actions/workflows/{file}/runs", f.unlessGone(f.index))
	s.Handle("GET "+base+"/actions/runs/{id}", f.unlessGone(f.show))
	return f
}

// Finish ends a run.
func (f *Workflows) Finish(id int64, conclusion string) {
	f.set(id, func(r *Run) { r.Status, r.Conclusion = "completed", conclusion })
}

func githubError(w http.ResponseWriter, status int, message string) {
	answer(w, status, map[string]any{
		"message": message, "documentation_url": "https://docs.github.com/rest/actions/workflows", "status": strconv.Itoa(status),
	})
}

func (f *Workflows) unlessGone(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if file := r.PathValue("file"); f.Gone || file != "" && file != "build.yml" {
			githubError(w, http.StatusNotFound, "Not Found")
			return
		}
		h(w, r)
	}
}

func (f *Workflows) dispatch(w http.ResponseWriter, r *http.Request) {
	var body map[string]json.RawMessage
	var ref string
	var details bool
	inputs := map[string]string{}
	if json.NewDecoder(r.Body).Decode(&body) != nil || json.Unmarshal(body["ref"], &ref) != nil ||
		body["inputs"] != nil && json.Unmarshal(body["inputs"], &inputs) != nil {
		githubError(w, http.StatusBadRequest, "Problems parsing JSON")
		return
	}
	if raw, ok := body["return_run_details"]; ok {
		_ = json.Unmarshal(raw, &details)
		if f.Age == Strict {
			githubError(w, http.StatusUnprocessableEntity, "Invalid request.\n\n\"return_run_details\" is not a permitted key.")
			return
		}
	}
	if problem := f.refuses(ref, inputs); problem != "" {
		githubError(w, http.StatusUnprocessableEntity, problem)
		return
	}
	title := "build"
	if f.Title != nil {
		title = f.Title(inputs)
	}
	id := f.Add(Run{Ref: ref, Event: "workflow_dispatch", Title: title, Status: "queued", Values: inputs, hidden: f.Delay})
	if f.Age != Current || !details {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	answer(w, http.StatusOK, map[string]any{"workflow_run_id": id, "run_url": f.apiURL(id), "html_url": f.URL(id)})
}

func (f *Workflows) refuses(ref string, inputs map[string]string) string {
	var unexpected []string
	for _, name := range slices.Sorted(maps.Keys(inputs)) {
		if !slices.Contains(f.Inputs, name) {
			unexpected = append(unexpected, strconv.Quote(name))
		}
	}
	switch {
	case f.Disabled:
		return "Cannot trigger a 'workflow_dispatch' on a disabled workflow"
	case f.Manual:
		return "Workflow does not have 'workflow_dispatch' trigger"
	case ref != "main":
		return "No ref found for: " + ref
	case unexpected != nil:
		return "Unexpected inputs provided: [" + strings.Join(unexpected, ", ") + "]"
	}
	return ""
}

// URL is where people see a run.
func (f *Workflows) URL(id int64) string {
	return fmt.Sprintf("http://%s/%s/actions/runs/%d", f.server.Host, f.repo, id)
}

func (f *Workflows) apiURL(id int64) string {
	return fmt.Sprintf("http://%s/api/v3/repos/%s/actions/runs/%d", f.server.Host, f.repo, id)
}

func (f *Workflows) json(r Run) map[string]any {
	var conclusion any
	if r.Conclusion != "" {
		conclusion = r.Conclusion
	}
	return map[string]any{
		"id": r.ID, "name": "build", "head_branch": r.Ref, "head_sha": "acb5820ced9479c074f688cc328bf03f341a511d", "event": r.Event,
		"path": ".github/workflows/build.yml", "display_title": r.Title, "status": r.Status, "conclusion": conclusion,
		"url": f.apiURL(r.ID), "html_url": f.URL(r.ID), "created_at": r.Created.Format(time.RFC3339), "run_attempt": 1,
	}
}

func (f *Workflows) index(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	after, err := since(strings.TrimPrefix(q.Get("created"), ">="))
	if err != nil {
		githubError(w, http.StatusUnprocessableEntity, "created is no date")
		return
	}
	f.page(w, r, func(run *Run) bool {
		return !q.Has("event") || run.Event == q.Get("event") && run.Ref == q.Get("branch") && (f.Age == Ignorant || !run.Created.Before(after))
	}, func(list []Run) any {
		items := []any{}
		for _, run := range list {
			items = append(items, f.json(run))
		}
		return map[string]any{"total_count": len(items), "workflow_runs": items}
	})
}

func (f *Workflows) show(w http.ResponseWriter, r *http.Request) {
	if run, ok := f.find(r.PathValue("id")); ok {
		answer(w, http.StatusOK, f.json(run))
		return
	}
	githubError(w, http.StatusNotFound, "Not Found")
}

// Pipelines is a GitLab project with a pipeline on main.
type Pipelines struct {
	NoVariables bool   // the project forbids pipeline variables
	Error       string // nothing can be started, because of this
	Gone        bool   // the project is hidden from the token
	Old         bool   // the server knows no filter by time or source

	runs
	project string
}

// Pipelines adds a project. Set its fields before the first request.
func (s *Server) Pipelines(project string) *Pipelines {
	p := &Pipelines{project: project, runs: runs{server: s, Now: time.Now}}
	base := "/api/v4/projects/" + url.PathEscape(project)
	s.Handle("GET "+base, p.unlessGone(func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"id": 1, "path_with_namespace": project})
	}))
	s.Handle("POST "+base+"/pipeline", p.unlessGone(p.create))
	s.Handle("GET "+base+"/pipelines", p.unlessGone(p.index))
	s.Handle("GET "+base+"/pipelines/{id}", p.unlessGone(p.show))
	s.Handle("GET "+base+"/pipelines/{id}/variables", p.unlessGone(p.variables))
	return p
}

// Finish gives a pipeline a status.
func (p *Pipelines) Finish(id int64, status string) { p.set(id, func(r *Run) { r.Status = status }) }

// Lock hides the variables of a pipeline, as from a token whose user did not start it.
func (p *Pipelines) Lock(id int64) { p.set(id, func(r *Run) { r.locked = true }) }

func (p *Pipelines) unlessGone(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if p.Gone {
			answer(w, http.StatusNotFound, map[string]any{"message": "404 Project Not Found"})
			return
		}
		h(w, r)
	}
}

func (p *Pipelines) create(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Ref       string `json:"ref"`
		Variables []struct {
			Key   string `json:"key"`
			Value string `json:"value"`
		} `json:"variables"`
		Inputs map[string]string `json:"inputs"`
	}
	refuse := func(problem string) {
		answer(w, http.StatusBadRequest, map[string]any{"message": map[string]any{"base": []string{problem}}})
	}
	switch err := json.NewDecoder(r.Body).Decode(&body); {
	case err != nil:
		refuse(err.Error())
	case p.Error != "":
		refuse(p.Error)
	case body.Ref != "main":
		refuse("Reference not found")
	case p.NoVariables && len(body.Variables) > 0:
		refuse("Insufficient permissions to set pipeline variables")
	default:
		values := map[string]string{}
		for _, v := range body.Variables {
			values[v.Key] = v.Value
		}
		id := p.Add(Run{Ref: body.Ref, Event: "api", Status: "created", Values: values, Inputs: body.Inputs})
		run, _ := p.find(strconv.FormatInt(id, 10))
		answer(w, http.StatusCreated, p.json(run))
	}
}

// URL is where people see a pipeline.
func (p *Pipelines) URL(id int64) string {
	return fmt.Sprintf("http://%s/%s/-/pipelines/%d", p.server.Host, p.project, id)
}

func (p *Pipelines) json(r Run) map[string]any {
	created := r.Created.Format("2006-01-02T15:04:05.000Z07:00")
	return map[string]any{
		"id": r.ID, "iid": r.ID, "project_id": 1, "sha": "a91957a858320c0e17f3a0eca7cfacbff50ea29a", "ref": r.Ref, "status": r.Status,
		"source": r.Event, "created_at": created, "updated_at": created, "web_url": p.URL(r.ID), "name": r.Title,
	}
}

func (p *Pipelines) index(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	after, err := since(q.Get("created_after"))
	if err != nil {
		answer(w, http.StatusBadRequest, map[string]any{"error": "created_after is invalid"})
		return
	}
	p.page(w, r, func(run *Run) bool {
		return !q.Has("ref") || run.Ref == q.Get("ref") && (p.Old || run.Event == q.Get("source") && !run.Created.Before(after))
	}, func(list []Run) any {
		items := []any{}
		for _, run := range list {
			items = append(items, p.json(run))
		}
		return items
	})
}

func (p *Pipelines) show(w http.ResponseWriter, r *http.Request) {
	if run, ok := p.find(r.PathValue("id")); ok {
		answer(w, http.StatusOK, p.json(run))
		return
	}
	answer(w, http.StatusNotFound, map[string]any{"message": "404 Not found"})
}

func (p *Pipelines) variables(w http.ResponseWriter, r *http.Request) {
	run, ok := p.find(r.PathValue("id"))
	switch {
	case !ok:
		answer(w, http.StatusNotFound, map[string]any{"message": "404 Not found"})
	case run.locked:
		answer(w, http.StatusForbidden, map[string]any{"message": "403 Forbidden"})
	default:
		items := []any{}
		for _, key := range slices.Sorted(maps.Keys(run.Values)) {
			items = append(items, map[string]any{"variable_type": "env_var", "key": key, "value": run.Values[key], "raw": false})
		}
		answer(w, http.StatusOK, items)
	}
}
