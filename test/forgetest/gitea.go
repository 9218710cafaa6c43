package forgetest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"time"
)

// Kind is a server with Gitea's API.
type Kind int

// Kinds.
const (
	Gitea     Kind = iota // 1.26
	OlderThan             // before 1.26: returns no run, and before 1.25 lists none
	Forgejo
)

// giteaError responds as Gitea does: with a link to the description of the API.
func giteaError(w http.ResponseWriter, r *http.Request, status int, message string) {
	answer(w, status, map[string]any{"message": message, "url": "http://" + r.Host + "/api/swagger"})
}

// GiteaWorkflows is a repository at Gitea or Forgejo with one workflow, build.yml on main. It accepts any input.
type GiteaWorkflows struct {
	Kind     Kind
	Title    func(map[string]string) string // its run-name
	Gone     bool                           // the repository is hidden from the token
	Disabled bool                           // by a person

	runs
	repo string
}

// GiteaWorkflows adds a repository. Set its fields before the first request.
func (s *Server) GiteaWorkflows(repo string) *GiteaWorkflows {
	f := &GiteaWorkflows{repo: repo, runs: runs{server: s, Now: time.Now}}
	base := "/api/v1/repos/" + repo
	s.Handle("GET /api/v1/version", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"version": "1.26.0"})
	})
	s.Handle("POST "+base+"/actions/workflows/{file}/dispatches", f.unlessGone(f.dispatch))
	s.Handle("GET "+base+"/actions/runs", f.unlessGone(f.index))
	s.Handle("GET "+base+"/actions/runs/{id}", f.unlessGone(f.show))
	return f
}

// Finish ends a run.
func (f *GiteaWorkflows) Finish(id int64, conclusion string) {
	f.set(id, func(r *Run) { r.Status, r.Conclusion = "completed", conclusion })
}

// URL is where people see a run.
func (f *GiteaWorkflows) URL(id int64) string {
	return fmt.Sprintf("http://%s/%s/actions/runs/%d", f.server.Host, f.repo, id)
}

func (f *GiteaWorkflows) unlessGone(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if f.Gone {
			giteaError(w, r, http.StatusNotFound, "The target couldn't be found.")
			return
		}
		h(w, r)
	}
}

func (f *GiteaWorkflows) dispatch(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Ref    string            `json:"ref"`
		Inputs map[string]string `json:"inputs"`
		Info   bool              `json:"return_run_info"`
	}
	switch err := json.NewDecoder(r.Body).Decode(&body); {
	case err != nil:
		giteaError(w, r, http.StatusUnprocessableEntity, err.Error())
		return
	case f.Disabled:
		giteaError(w, r, http.StatusForbidden, "workflow is disabled")
		return
	case r.PathValue("file") != "build.yml":
		giteaError(w, r, http.StatusNotFound, fmt.Sprintf("workflow %q doesn't exist", r.PathValue("file")))
		return
	case body.Ref != "main":
		giteaError(w, r, http.StatusNotFound, fmt.Sprintf("ref %q doesn't exist", body.Ref))
		return
	}
	title := "the last commit"
	if f.Title != nil {
		title = f.Title(body.Inputs)
	}
	id := f.Add(Run{Ref: body.Ref, Event: "workflow_dispatch", Title: title, Status: "queued", Values: body.Inputs})
	switch {
	case f.Kind == Gitea && r.URL.Query().Get("return_run_details") == "true":
		answer(w, http.StatusOK, map[string]any{"workflow_run_id": id, "run_url": "", "html_url": f.URL(id)})
	case f.Kind == Forgejo && body.Info:
		answer(w, http.StatusCreated, map[string]any{"id": id, "run_number": 1, "jobs": []string{"build"}})
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

func (f *GiteaWorkflows) json(r Run) map[string]any {
	if f.Kind == Forgejo {
		status := r.Conclusion
		if status == "" {
			status = "waiting"
		}
		return map[string]any{
			"id": r.ID, "title": r.Title, "workflow_id": "build.yml", "prettyref": r.Ref, "event": r.Event, "trigger_event": r.Event, "status": status,
			"created": r.Created.Format(time.RFC3339), "started": "1970-01-01T00:00:00Z", "html_url": f.URL(r.ID),
		}
	}
	out := map[string]any{
		"id": r.ID, "display_title": r.Title, "path": "build.yml@refs/heads/" + r.Ref, "head_branch": r.Ref, "event": r.Event, "status": r.Status,
		"started_at": "1970-01-01T00:00:00Z", "html_url": f.URL(r.ID),
	}
	if r.Status != "queued" {
		out["started_at"] = r.Created.Format(time.RFC3339)
	}
	if r.Conclusion != "" {
		out["conclusion"] = r.Conclusion
	}
	return out
}

// index lists runs. Only Gitea filters them.
func (f *GiteaWorkflows) index(w http.ResponseWriter, r *http.Request) {
	if f.Kind == OlderThan {
		http.NotFound(w, r)
		return
	}
	q := r.URL.Query()
	query := r.Clone(r.Context())
	q.Set("per_page", q.Get("limit"))
	query.URL.RawQuery = q.Encode()
	f.page(w, query, func(run *Run) bool {
		return f.Kind == Forgejo || run.Event == q.Get("event") && run.Ref == q.Get("branch")
	}, func(list []Run) any {
		items := []any{}
		for _, run := range list {
			items = append(items, f.json(run))
		}
		return map[string]any{"total_count": len(items), "workflow_runs": items}
	})
}

func (f *GiteaWorkflows) show(w http.ResponseWriter, r *http.Request) {
	if run, ok := f.find(r.PathValue("id")); ok {
		answer(w, http.StatusOK, f.json(run))
		return
	}
	giteaError(w, r, http.StatusNotFound, "not found")
}

// GiteaRepo adds a repository, as owner/name, that Gitea's contents API serves.
func (s *Server) GiteaRepo(name string) *Repo {
	r := newRepo(name)
	at := "GET /api/v1/repos/" + name
	s.Handle(at, func(w http.ResponseWriter, _ *http.Request) {
		sendJSON(w, http.StatusOK, map[string]any{"full_name": name, "has_actions": true})
	})
	s.Handle(at+"/branches/{branch...}", func(w http.ResponseWriter, q *http.Request) {
		if q.PathValue("branch") != r.Branch {
			giteaError(w, q, http.StatusNotFound, "not found")
			return
		}
		sendJSON(w, http.StatusOK, map[string]any{"name": r.Branch})
	})
	s.Handle(at+"/contents/{path...}", r.giteaContents)
	return r
}

func (r *Repo) giteaContents(w http.ResponseWriter, q *http.Request) {
	file, ref := q.PathValue("path"), q.URL.Query().Get("ref")
	files := r.at(ref).files
	e, ok := files[file]
	if !ok {
		giteaError(w, q, http.StatusNotFound, "object does not exist [id: , rel_path: "+file+"]")
		return
	}
	body := map[string]any{
		"type": e.kind, "name": path.Base(file), "path": file, "size": len(e.content), "last_commit_sha": r.newest(ref, file),
		"encoding": nil, "content": nil, "target": nil,
	}
	switch e.kind {
	case "dir":
		sendJSON(w, http.StatusOK, []any{})
		return
	case "symlink":
		body["target"] = e.content
	default:
		body["encoding"], body["content"] = "base64", base64.StdEncoding.EncodeToString([]byte(e.content))
	}
	sendJSON(w, http.StatusOK, body)
}
