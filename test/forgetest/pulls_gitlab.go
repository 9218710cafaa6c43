package forgetest

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// gitLabPulls adds commits, comparisons and merge requests: https://docs.gitlab.com/api/merge_requests/,
// https://docs.gitlab.com/api/commits/#create-a-commit-with-multiple-files-and-actions.
func (s *Server) gitLabPulls(r *Repo) {
	at := " /api/v4/projects/" + url.PathEscape(r.name)
	s.Handle("DELETE"+at+"/repository/branches/{branch}", r.locked(func(w http.ResponseWriter, q *http.Request) {
		delete(r.branches, q.PathValue("branch"))
		r.settle()
		w.WriteHeader(http.StatusNoContent)
	}))
	s.Handle("POST"+at+"/repository/commits", r.locked(r.gitLabCommit))
	s.Handle("GET"+at+"/repository/compare", r.locked(r.gitLabCompare))
	s.Handle("GET"+at+"/merge_requests", r.locked(func(w http.ResponseWriter, q *http.Request) {
		list := []any{}
		for _, p := range slices.Backward(r.pulls) {
			if q.URL.Query().Get("source_branch") == p.From && q.URL.Query().Get("target_branch") == p.Into && q.URL.Query().Get("state") == "all" {
				list = append(list, r.gitLabPull(p))
			}
		}
		answer(w, http.StatusOK, list)
	}))
	s.Handle("POST"+at+"/merge_requests", r.locked(r.gitLabOpen))
	s.Handle("GET"+at+"/merge_requests/{number}", r.locked(r.withPull(func(w http.ResponseWriter, _ *http.Request, p *Pull) {
		body := r.gitLabPull(p)
		body["detailed_merge_status"] = map[string]string{"clean": "mergeable", "blocked": "not_approved", "dirty": "conflict", "behind": "need_rebase"}[r.status(p)]
		answer(w, http.StatusOK, body)
	})))
	s.Handle("PUT"+at+"/merge_requests/{number}", r.locked(r.withPull(func(w http.ResponseWriter, q *http.Request, p *Pull) {
		var body struct {
			Title, Description *string
			Event              string `json:"state_event"`
		}
		_ = json.NewDecoder(q.Body).Decode(&body)
		set(&p.Title, body.Title)
		set(&p.Body, body.Description)
		if body.Event == "close" {
			p.State = "closed"
		}
		answer(w, http.StatusOK, r.gitLabPull(p))
	})))
	s.Handle("PUT"+at+"/merge_requests/{number}/merge", r.locked(r.withPull(r.gitLabMerge)))
	s.Handle("POST"+at+"/merge_requests/{number}/notes", r.locked(r.withPull(func(w http.ResponseWriter, q *http.Request, p *Pull) {
		var body struct{ Body string }
		_ = json.NewDecoder(q.Body).Decode(&body)
		p.Comments = append(p.Comments, body.Body)
		answer(w, http.StatusCreated, map[string]any{"id": len(p.Comments)})
	})))
	s.Handle("GET /api/v4/users", gitLabUser)
}

// gitLabUsers are the users of a GitLab.
var gitLabUsers = []string{"ann", "bob"}

func gitLabUser(w http.ResponseWriter, q *http.Request) {
	list := []any{}
	if at := slices.Index(gitLabUsers, q.URL.Query().Get("username")); at >= 0 {
		list = append(list, map[string]any{"id": at + 1, "username": gitLabUsers[at]})
	}
	answer(w, http.StatusOK, list)
}

func gitLabError(w http.ResponseWriter, status int, message any) {
	answer(w, status, map[string]any{"message": message})
}

func (r *Repo) gitLabCommit(w http.ResponseWriter, q *http.Request) {
	var body struct {
		Branch, Message string
		CommitMessage   string `json:"commit_message"`
		StartSHA        string `json:"start_sha"`
		Force           bool
		Actions         []struct {
			Action, Content, Encoding string
			FilePath                  string `json:"file_path"`
		}
	}
	if json.NewDecoder(q.Body).Decode(&body) != nil || r.commits[body.StartSHA] == nil {
		gitLabError(w, http.StatusBadRequest, "start_sha is invalid")
		return
	}
	if r.branches[body.Branch] != "" && !body.Force {
		gitLabError(w, http.StatusBadRequest, "A branch called '"+body.Branch+"' already exists. Switch to that branch in order to make changes")
		return
	}
	changed := map[string]*entry{}
	for _, a := range body.Actions {
		content, err := base64.StdEncoding.DecodeString(a.Content)
		if _, ok := r.commits[body.StartSHA].files[a.FilePath]; !ok || err != nil || a.Action != "update" || a.Encoding != "base64" {
			gitLabError(w, http.StatusBadRequest, "A file with this name doesn't exist")
			return
		}
		changed[a.FilePath] = &entry{content: string(content), kind: "file"}
	}
	sha := r.add(body.Branch, body.StartSHA, body.CommitMessage, changed)
	answer(w, http.StatusCreated, map[string]any{"id": sha, "message": body.CommitMessage})
}

func (r *Repo) gitLabCompare(w http.ResponseWriter, q *http.Request) {
	from, to := q.URL.Query().Get("from"), q.URL.Query().Get("to")
	if r.commits[from] == nil || r.commits[to] == nil {
		gitLabError(w, http.StatusNotFound, "404 Ref Not Found")
		return
	}
	common := r.mergeBase(from, to)
	commits, diffs := []any{}, []any{}
	for _, c := range r.ahead(common, to) {
		commits = append(commits, map[string]any{"id": c.sha, "message": c.message})
	}
	for _, file := range r.changedSince(common, to) {
		diffs = append(diffs, map[string]any{"old_path": file, "new_path": file})
	}
	answer(w, http.StatusOK, map[string]any{"commits": commits, "diffs": diffs, "compare_timeout": false})
}

func (r *Repo) gitLabPull(p *Pull) map[string]any {
	state := p.State
	if state == "open" {
		state = "opened"
	}
	return map[string]any{
		"id": 1000 + p.Number, "iid": p.Number, "source_branch": p.From, "target_branch": p.Into, "source_project_id": 1, "target_project_id": 1,
		"title": p.Title, "description": p.Body, "state": state, "created_at": p.Opened.Format(time.RFC3339), "sha": r.headOf(p),
		"web_url": "https://gitlab.example/" + r.name + "/-/merge_requests/" + strconv.Itoa(p.Number), "merge_when_pipeline_succeeds": p.AutoMerge,
	}
}

func (r *Repo) gitLabOpen(w http.ResponseWriter, q *http.Request) {
	var body struct {
		Title, Description, Labels string
		From                       string `json:"source_branch"`
		Into                       string `json:"target_branch"`
		Assignees                  []int  `json:"assignee_ids"`
		Reviewers                  []int  `json:"reviewer_ids"`
	}
	if json.NewDecoder(q.Body).Decode(&body) != nil || body.Title == "" {
		gitLabError(w, http.StatusBadRequest, "title is missing")
		return
	}
	names := func(ids []int) (out []string) {
		for _, id := range ids {
			out = append(out, gitLabUsers[id-1])
		}
		return out
	}
	p, refused := r.open(Pull{
		From: body.From, Into: body.Into, Title: body.Title, Body: body.Description, Labels: strings.Split(body.Labels, ","),
		Assignees: names(body.Assignees), Reviewers: names(body.Reviewers),
	})
	if refused != "" {
		gitLabError(w, http.StatusConflict, []string{refused})
		return
	}
	answer(w, http.StatusCreated, r.gitLabPull(p))
}

func (r *Repo) gitLabMerge(w http.ResponseWriter, q *http.Request, p *Pull) {
	var body struct {
		SHA  string
		Auto bool `json:"auto_merge"`
	}
	_ = json.NewDecoder(q.Body).Decode(&body)
	switch status := r.status(p); {
	case body.SHA != r.branches[p.From]:
		gitLabError(w, http.StatusConflict, "SHA does not match HEAD of source branch: "+r.branches[p.From])
		return
	case status == "clean":
		r.merge(p)
	case body.Auto && status == "blocked":
		p.AutoMerge = true
	default:
		gitLabError(w, http.StatusMethodNotAllowed, "405 Method Not Allowed")
		return
	}
	answer(w, http.StatusOK, r.gitLabPull(p))
}
