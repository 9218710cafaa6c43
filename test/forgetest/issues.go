package forgetest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Issue is an issue.
type Issue struct {
	Number    int
	Title     string
	Body      string
	State     string // open or closed
	Labels    []string
	Assignees []string
	Changed   time.Time
}

// Issues is a repository that has issues, and nothing else.
type Issues struct {
	API      string // path
	Now      func() time.Time
	NoLabels bool // the token may not set labels

	repo   *Repo // for its lock
	server *Server
	web    string
	labels []string
	issues []*Issue
}

func (s *Server) issues(name, api string) *Issues {
	return &Issues{repo: newRepo(name), server: s, Now: time.Now, API: api, web: "https://forge.example/" + name + "/issues/"}
}

// All returns the issues so far, oldest first.
func (i *Issues) All() []Issue {
	i.repo.mu.Lock()
	defer i.repo.mu.Unlock()
	out := make([]Issue, len(i.issues))
	for at, x := range i.issues {
		out[at] = *x
	}
	return out
}

// Set changes an issue, as a person does.
func (i *Issues) Set(number int, change func(*Issue)) {
	i.repo.mu.Lock()
	defer i.repo.mu.Unlock()
	change(i.issues[number-1])
	i.issues[number-1].Changed = i.Now()
}

// Add adds an issue, as a person or another pass does.
func (i *Issues) Add(x Issue) {
	i.repo.mu.Lock()
	defer i.repo.mu.Unlock()
	i.add(&x)
}

func (i *Issues) add(x *Issue) *Issue {
	if i.NoLabels {
		x.Labels = nil
	}
	x.Number, x.State, x.Changed = len(i.issues)+1, "open", i.Now()
	i.issues = append(i.issues, x)
	return x
}

// list returns the issues that a query asks for.
func (i *Issues) list(q *http.Request, label, state, since string) []*Issue {
	values := q.URL.Query()
	after, _ := time.Parse(time.RFC3339, values.Get(since))
	out := []*Issue{}
	for _, x := range i.issues {
		if slices.Contains(x.Labels, values.Get(label)) && strings.HasPrefix(values.Get(state), x.State) && !x.Changed.Before(after) {
			out = append(out, x)
		}
	}
	size, _ := strconv.Atoi(values.Get("per_page") + values.Get("limit"))
	page, _ := strconv.Atoi(values.Get("page"))
	from := min(size*(page-1), len(out))
	return out[from:min(from+size, len(out))]
}

// edited is what a client sends of an issue.
type edited struct {
	Title, Body, Description, State *string
	Event                           string `json:"state_event"`
	Labels                          json.RawMessage
	Assignees                       []string
	IDs                             []int `json:"assignee_ids"`
}

func (i *Issues) apply(x *Issue, e *edited) {
	set(&x.Title, e.Title)
	set(&x.Body, e.Body)
	set(&x.Body, e.Description)
	set(&x.State, e.State)
	if state := map[string]string{"close": "closed", "reopen": "open"}[e.Event]; state != "" {
		x.State = state
	}
	x.Assignees = append(x.Assignees, e.Assignees...)
	for _, id := range e.IDs {
		x.Assignees = append(x.Assignees, gitLabUsers[id-1])
	}
	x.Changed = i.Now()
}

func (i *Issues) serve(pattern string, h func(w http.ResponseWriter, q *http.Request, e *edited)) {
	i.server.Handle(pattern, i.repo.locked(func(w http.ResponseWriter, q *http.Request) {
		var e edited
		_ = json.NewDecoder(q.Body).Decode(&e)
		h(w, q, &e)
	}))
}

func (i *Issues) one(status int, show func(*Issue) map[string]any) func(http.ResponseWriter, *http.Request, *edited) {
	return func(w http.ResponseWriter, q *http.Request, e *edited) {
		n, _ := strconv.Atoi(q.PathValue("number"))
		if n < 1 || n > len(i.issues) {
			githubError(w, http.StatusNotFound, "Not Found")
			return
		}
		i.apply(i.issues[n-1], e)
		answer(w, status, show(i.issues[n-1]))
	}
}

func all(list []*Issue, show func(*Issue) map[string]any) []any {
	out := []any{}
	for _, x := range list {
		out = append(out, show(x))
	}
	return out
}

func named(labels []string) []any {
	out := []any{}
	for _, l := range labels {
		out = append(out, map[string]any{"name": l})
	}
	return out
}

// GitHubIssues adds a repository with issues: https://docs.github.com/rest/issues/issues.
func (s *Server) GitHubIssues(name string) *Issues {
	i := s.issues(name, "/api/v3/repos/"+name)
	show := func(x *Issue) map[string]any {
		return map[string]any{"number": x.Number, "title": x.Title, "body": x.Body, "state": x.State, "labels": named(x.Labels), "html_url": i.web + strconv.Itoa(x.Number)}
	}
	i.serve("GET "+i.API+"/issues", func(w http.ResponseWriter, q *http.Request, _ *edited) {
		pull := map[string]any{"number": 900, "title": "a pull request", "state": "open", "labels": named([]string{q.URL.Query().Get("labels")}), "pull_request": map[string]any{"url": ""}}
		answer(w, http.StatusOK, append(all(i.list(q, "labels", "state", "since"), show), pull))
	})
	i.serve("POST "+i.API+"/labels", func(w http.ResponseWriter, _ *http.Request, _ *edited) { i.gitHubLabel(w) })
	i.serve("POST "+i.API+"/issues", func(w http.ResponseWriter, _ *http.Request, e *edited) {
		x := &Issue{}
		_ = json.Unmarshal(e.Labels, &x.Labels)
		i.apply(i.add(x), e)
		answer(w, http.StatusCreated, show(x))
	})
	i.serve("PATCH "+i.API+"/issues/{number}", i.one(http.StatusOK, show))
	i.serve("POST "+i.API+"/issues/{number}/assignees", i.one(http.StatusCreated, show))
	return i
}

func (i *Issues) gitHubLabel(w http.ResponseWriter) {
	if i.labels != nil {
		answer(w, http.StatusUnprocessableEntity, map[string]any{
			"message": "Validation Failed", "errors": []any{map[string]any{"resource": "Label", "code": "already_exists", "field": "name"}},
		})
		return
	}
	i.labels = []string{"imagefactory"}
	answer(w, http.StatusCreated, map[string]any{"id": 1, "name": "imagefactory"})
}

// GitLabIssues adds a project with issues: https://docs.gitlab.com/api/issues/.
func (s *Server) GitLabIssues(name string) *Issues {
	i := s.issues(name, "/api/v4/projects/"+url.PathEscape(name))
	show := func(x *Issue) map[string]any {
		state := map[string]string{"open": "opened", "closed": "closed"}[x.State]
		labels := append([]string{}, x.Labels...)
		return map[string]any{"iid": x.Number, "title": x.Title, "description": x.Body, "state": state, "labels": labels, "web_url": i.web + strconv.Itoa(x.Number)}
	}
	i.serve("GET "+i.API+"/issues", func(w http.ResponseWriter, q *http.Request, _ *edited) {
		answer(w, http.StatusOK, all(i.list(q, "labels", "state", "updated_after"), show))
	})
	i.serve("POST "+i.API+"/labels", func(w http.ResponseWriter, _ *http.Request, _ *edited) {
		if i.labels != nil {
			gitLabError(w, http.StatusConflict, "Label already exists")
			return
		}
		i.labels = []string{"imagefactory"}
		answer(w, http.StatusCreated, map[string]any{"id": 1, "name": "imagefactory"})
	})
	i.serve("POST "+i.API+"/issues", func(w http.ResponseWriter, _ *http.Request, e *edited) {
		var labels string
		_ = json.Unmarshal(e.Labels, &labels)
		x := i.add(&Issue{Labels: strings.Split(labels, ",")})
		i.apply(x, e)
		answer(w, http.StatusCreated, show(x))
	})
	i.serve("PUT "+i.API+"/issues/{number}", i.one(http.StatusOK, show))
	s.Handle("GET /api/v4/users", gitLabUser)
	return i
}

// GiteaIssues adds a repository with issues. Like Gitea, it ignores an unknown label in a query.
func (s *Server) GiteaIssues(name string) *Issues {
	i := s.issues(name, "/api/v1/repos/"+name)
	show := func(x *Issue) map[string]any {
		return map[string]any{
			"number": x.Number, "title": x.Title, "body": x.Body, "state": x.State, "labels": named(x.Labels), "html_url": i.web + strconv.Itoa(x.Number), "pull_request": nil,
		}
	}
	i.serve("GET "+i.API+"/issues", func(w http.ResponseWriter, q *http.Request, _ *edited) {
		answer(w, http.StatusOK, all(i.list(q, "labels", "state", "since"), show))
	})
	i.serve("GET "+i.API+"/labels", func(w http.ResponseWriter, _ *http.Request, _ *edited) {
		list := []any{}
		for at, l := range i.labels {
			list = append(list, map[string]any{"id": at + 1, "name": l})
		}
		answer(w, http.StatusOK, list)
	})
	i.serve("POST "+i.API+"/labels", func(w http.ResponseWriter, _ *http.Request, _ *edited) {
		i.labels = append(i.labels, "imagefactory")
		answer(w, http.StatusCreated, map[string]any{"id": len(i.labels), "name": "imagefactory"})
	})
	i.serve("POST "+i.API+"/issues", func(w http.ResponseWriter, _ *http.Request, e *edited) {
		var ids []int
		_ = json.Unmarshal(e.Labels, &ids)
		x := &Issue{}
		for _, id := range ids {
			x.Labels = append(x.Labels, i.labels[id-1])
		}
		i.apply(i.add(x), e)
		answer(w, http.StatusCreated, show(x))
	})
	i.serve("PATCH "+i.API+"/issues/{number}", i.one(http.StatusCreated, show))
	i.serve("POST "+i.API+"/issues/{number}/labels", func(w http.ResponseWriter, q *http.Request, e *edited) {
		n, _ := strconv.Atoi(q.PathValue("number"))
		var names []string
		_ = json.Unmarshal(e.Labels, &names)
		i.issues[n-1].Labels = append(i.issues[n-1].Labels, names...)
		answer(w, http.StatusOK, named(i.issues[n-1].Labels))
	})
	return i
}
