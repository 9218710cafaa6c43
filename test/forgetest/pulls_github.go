package forgetest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

const noCommit = "0000000000000000000000000000000000000000"

func nodeOf(repo string) string { return "R_" + base64.RawURLEncoding.EncodeToString([]byte(repo)) }

// gitHubPulls adds branches, blobs, comparisons and pull requests: https://docs.github.com/rest/pulls/pulls,
// https://docs.github.com/graphql/reference/mutations.
func (s *Server) gitHubPulls(r *Repo) {
	at := " /api/v3/repos/" + r.name
	s.Handle("GET"+at+"/git/ref/heads/{branch...}", func(w http.ResponseWriter, q *http.Request) {
		sha := r.Head(q.PathValue("branch"))
		if sha == "" {
			githubError(w, http.StatusNotFound, "Not Found")
			return
		}
		answer(w, http.StatusOK, map[string]any{"ref": "refs/heads/" + q.PathValue("branch"), "object": map[string]any{"type": "commit", "sha": sha}})
	})
	s.Handle("GET"+at+"/git/blobs/{sha}", r.locked(r.gitHubBlob))
	s.Handle("GET"+at+"/compare/{spec...}", r.locked(r.gitHubCompare))
	s.Handle("GET"+at+"/pulls", r.locked(r.gitHubList))
	s.Handle("POST"+at+"/pulls", r.locked(r.gitHubOpen))
	s.Handle("GET"+at+"/pulls/{number}", r.locked(r.withPull(func(w http.ResponseWriter, _ *http.Request, p *Pull) {
		body := r.gitHubPull(p)
		body["mergeable_state"] = r.status(p)
		answer(w, http.StatusOK, body)
	})))
	s.Handle("PATCH"+at+"/pulls/{number}", r.locked(r.withPull(r.gitHubEdit)))
	s.Handle("POST"+at+"/pulls/{number}/requested_reviewers", r.locked(r.withPull(func(w http.ResponseWriter, q *http.Request, p *Pull) {
		var body struct {
			Reviewers []string
			Teams     []string `json:"team_reviewers"`
		}
		_ = json.NewDecoder(q.Body).Decode(&body)
		p.Reviewers = append(p.Reviewers, body.Reviewers...)
		for _, team := range body.Teams {
			p.Reviewers = append(p.Reviewers, "team "+team)
		}
		answer(w, http.StatusCreated, r.gitHubPull(p))
	})))
	s.Handle("POST"+at+"/issues/{number}/labels", r.locked(r.withPull(func(w http.ResponseWriter, q *http.Request, p *Pull) {
		var labels []string
		_ = json.NewDecoder(q.Body).Decode(&labels)
		p.Labels = append(p.Labels, labels...)
		answer(w, http.StatusOK, []any{})
	})))
	s.Handle("POST"+at+"/issues/{number}/assignees", r.locked(r.withPull(func(w http.ResponseWriter, q *http.Request, p *Pull) {
		var body struct{ Assignees []string }
		_ = json.NewDecoder(q.Body).Decode(&body)
		p.Assignees = append(p.Assignees, body.Assignees...)
		answer(w, http.StatusCreated, map[string]any{"number": p.Number})
	})))
	s.Handle("POST"+at+"/issues/{number}/comments", r.locked(r.withPull(func(w http.ResponseWriter, q *http.Request, p *Pull) {
		var body struct{ Body string }
		_ = json.NewDecoder(q.Body).Decode(&body)
		p.Comments = append(p.Comments, body.Body)
		answer(w, http.StatusCreated, map[string]any{"id": len(p.Comments)})
	})))
	s.repos = append(s.repos, r)
	s.Handle("POST /api/graphql", s.graphQL)
}

func (r *Repo) locked(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		h(w, q)
	}
}

func (r *Repo) withPull(h func(http.ResponseWriter, *http.Request, *Pull)) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		p := r.find(q.PathValue("number"))
		if p == nil {
			githubError(w, http.StatusNotFound, "Not Found")
			return
		}
		h(w, q, p)
	}
}

func (r *Repo) gitHubBlob(w http.ResponseWriter, q *http.Request) {
	for _, c := range r.commits {
		for _, e := range c.files {
			if blobID(e.content) == q.PathValue("sha") {
				answer(w, http.StatusOK, map[string]any{"sha": q.PathValue("sha"), "size": len(e.content), "encoding": "base64", "content": base64Lines(e.content)})
				return
			}
		}
	}
	githubError(w, http.StatusNotFound, "Not Found")
}

func (r *Repo) gitHubCompare(w http.ResponseWriter, q *http.Request) {
	base, head, _ := strings.Cut(q.PathValue("spec"), "...")
	if r.commits[base] == nil || r.commits[head] == nil {
		githubError(w, http.StatusNotFound, "Not Found")
		return
	}
	common := r.mergeBase(base, head)
	commits, files := []any{}, []any{}
	for _, c := range r.ahead(common, head) {
		commits = append(commits, map[string]any{"sha": c.sha, "commit": map[string]any{"message": c.message}})
	}
	for _, file := range r.changedSince(common, head) {
		files = append(files, map[string]any{"filename": file, "status": "modified"})
	}
	answer(w, http.StatusOK, map[string]any{
		"merge_base_commit": map[string]any{"sha": common}, "total_commits": len(commits), "ahead_by": len(commits), "commits": commits, "files": files,
	})
}

func (r *Repo) gitHubPull(p *Pull) map[string]any {
	owner, _, _ := strings.Cut(r.name, "/")
	repo := map[string]any{"full_name": r.name}
	body := map[string]any{
		"number": p.Number, "node_id": r.pullNode() + strconv.Itoa(p.Number), "title": p.Title, "body": p.Body, "state": "open", "created_at": p.Opened.Format(time.RFC3339),
		"html_url": "https://github.example/" + r.name + "/pull/" + strconv.Itoa(p.Number), "merged_at": nil, "auto_merge": nil,
		"head": map[string]any{"ref": p.From, "sha": r.headOf(p), "label": owner + ":" + p.From, "repo": repo},
		"base": map[string]any{"ref": p.Into, "sha": r.branches[p.Into], "label": owner + ":" + p.Into, "repo": repo},
	}
	if p.State != "open" {
		body["state"] = "closed"
	}
	if p.State == "merged" {
		body["merged_at"] = p.Opened.Format(time.RFC3339)
	}
	if p.AutoMerge {
		body["auto_merge"] = map[string]any{"merge_method": "merge"}
	}
	return body
}

// pullNode begins the IDs of pull requests for GraphQL.
func (r *Repo) pullNode() string { return "PR_" + nodeOf(r.name) + "_" }

func (r *Repo) gitHubList(w http.ResponseWriter, q *http.Request) {
	owner, _, _ := strings.Cut(r.name, "/")
	list := []any{}
	for _, p := range slices.Backward(r.pulls) {
		if q.URL.Query().Get("head") == owner+":"+p.From && q.URL.Query().Get("base") == p.Into && q.URL.Query().Get("state") == "all" {
			list = append(list, r.gitHubPull(p))
		}
	}
	answer(w, http.StatusOK, list)
}

func (r *Repo) gitHubOpen(w http.ResponseWriter, q *http.Request) {
	var body struct{ Title, Body, Head, Base string }
	if json.NewDecoder(q.Body).Decode(&body) != nil || body.Title == "" {
		githubError(w, http.StatusBadRequest, "Problems parsing JSON")
		return
	}
	p, refused := r.open(Pull{From: body.Head, Into: body.Base, Title: body.Title, Body: body.Body})
	if refused != "" {
		answer(w, http.StatusUnprocessableEntity, map[string]any{
			"message": "Validation Failed", "errors": []any{map[string]any{"resource": "PullRequest", "code": "custom", "message": refused}},
		})
		return
	}
	answer(w, http.StatusCreated, r.gitHubPull(p))
}

func (r *Repo) gitHubEdit(w http.ResponseWriter, q *http.Request, p *Pull) {
	var body struct{ Title, Body, State *string }
	_ = json.NewDecoder(q.Body).Decode(&body)
	set(&p.Title, body.Title)
	set(&p.Body, body.Body)
	set(&p.State, body.State)
	answer(w, http.StatusOK, r.gitHubPull(p))
}

func set(to, from *string) {
	if from != nil {
		*to = *from
	}
}

// gitHubInput is the input of every mutation that imagefactory sends.
type gitHubInput struct {
	RepositoryID    string
	RefUpdates      []gitHubRefUpdate
	Branch          struct{ RepositoryNameWithOwner, BranchName string }
	ExpectedHeadOID string
	Message         struct{ Headline, Body string }
	FileChanges     struct {
		Additions []struct{ Path, Contents string }
	}
	PullRequestID string
	MergeMethod   string
}

type gitHubRefUpdate struct {
	Name, BeforeOID, AfterOID string
	Force                     bool
}

// graphQL answers the queries and mutations that imagefactory sends. A refusal has status 200.
func (s *Server) graphQL(w http.ResponseWriter, q *http.Request) {
	var body struct {
		Query     string
		Variables struct {
			Owner, Name, Tree string
			Input             gitHubInput
		}
	}
	decoder := json.NewDecoder(q.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&body); err != nil {
		s.t.Errorf("unexpected GraphQL request: %v", err)
	}
	in := &body.Variables.Input
	name := body.Variables.Owner + "/" + body.Variables.Name
	at := slices.IndexFunc(s.repos, func(r *Repo) bool {
		return r.name == name || nodeOf(r.name) == in.RepositoryID || r.name == in.Branch.RepositoryNameWithOwner || strings.HasPrefix(in.PullRequestID, r.pullNode())
	})
	if at < 0 {
		refuse(w, "NOT_FOUND", "Could not resolve to a Repository with the name '"+name+"'.")
		return
	}
	r := s.repos[at]
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case strings.Contains(body.Query, "... on Tree"):
		answer(w, http.StatusOK, map[string]any{"data": map[string]any{"repository": map[string]any{"object": r.tree(body.Variables.Tree)}}})
	case strings.Contains(body.Query, "updateRefs("):
		r.updateRefs(w, in.RefUpdates)
	case strings.Contains(body.Query, "createCommitOnBranch("):
		r.createCommit(w, in)
	case strings.Contains(body.Query, "enablePullRequestAutoMerge("), strings.Contains(body.Query, "mergePullRequest("):
		r.mergePull(w, in, strings.Contains(body.Query, "enable"))
	default:
		s.t.Errorf("unexpected GraphQL request: %s", body.Query)
	}
}

func refuse(w http.ResponseWriter, kind, message string) {
	answer(w, http.StatusOK, map[string]any{"data": nil, "errors": []any{map[string]any{"type": kind, "message": message}}})
}

// tree returns the entries of a folder at a commit, given as COMMIT:FOLDER.
func (r *Repo) tree(expression string) any {
	sha, folder, _ := strings.Cut(expression, ":")
	c := r.commits[sha]
	if c == nil {
		return nil
	}
	var entries []any
	for file, e := range c.files {
		if path.Dir("/"+file) != path.Clean("/"+folder) {
			continue
		}
		mode := map[string]int{"file": 0o100644, "symlink": 0o120000, "dir": 0o40000}[e.kind]
		kind := map[bool]string{true: "tree", false: "blob"}[e.kind == "dir"]
		entries = append(entries, map[string]any{"name": path.Base(file), "type": kind, "mode": mode, "oid": blobID(e.content)})
	}
	if entries == nil {
		return nil
	}
	return map[string]any{"entries": entries}
}

func (r *Repo) updateRefs(w http.ResponseWriter, updates []gitHubRefUpdate) {
	for _, u := range updates {
		now := r.branches[strings.TrimPrefix(u.Name, "refs/heads/")]
		if u.BeforeOID != "" && u.BeforeOID != now && (u.BeforeOID != noCommit || now != "") {
			refuse(w, "UNPROCESSABLE", "Reference cannot be updated: "+u.Name+" is not at "+u.BeforeOID)
			return
		}
	}
	for _, u := range updates {
		branch := strings.TrimPrefix(u.Name, "refs/heads/")
		if r.branches[branch] = u.AfterOID; u.AfterOID == noCommit {
			delete(r.branches, branch)
		}
	}
	r.settle()
	answer(w, http.StatusOK, map[string]any{"data": map[string]any{"updateRefs": map[string]any{"clientMutationId": nil}}})
}

func (r *Repo) createCommit(w http.ResponseWriter, in *gitHubInput) {
	branch := in.Branch.BranchName
	if r.branches[branch] != in.ExpectedHeadOID {
		refuse(w, "STALE_DATA", fmt.Sprintf("Expected branch to point to %q but it did not. Pull and try again.", in.ExpectedHeadOID))
		return
	}
	changed := map[string]*entry{}
	for _, a := range in.FileChanges.Additions {
		content, err := base64.StdEncoding.DecodeString(a.Contents)
		if err != nil {
			refuse(w, "UNPROCESSABLE", "A path was requested with invalid contents")
			return
		}
		changed[a.Path] = &entry{content: string(content), kind: "file"}
	}
	sha := r.add(branch, in.ExpectedHeadOID, strings.TrimSpace(in.Message.Headline+"\n\n"+in.Message.Body), changed)
	answer(w, http.StatusOK, map[string]any{"data": map[string]any{"createCommitOnBranch": map[string]any{"commit": map[string]any{"oid": sha}}}})
}

func (r *Repo) mergePull(w http.ResponseWriter, in *gitHubInput, auto bool) {
	p := r.find(strings.TrimPrefix(in.PullRequestID, r.pullNode()))
	status := r.status(p)
	switch {
	case in.ExpectedHeadOID != r.branches[p.From]:
		refuse(w, "UNPROCESSABLE", "Head branch was modified. Review and try the merge again.")
		return
	case auto && !r.AllowAutoMerge:
		refuse(w, "UNPROCESSABLE", "Auto merge is not allowed for this repository")
		return
	case auto && status == "clean":
		refuse(w, "UNPROCESSABLE", "Pull request Pull request is in clean status")
		return
	case auto:
		p.AutoMerge = true
	case status != "clean":
		refuse(w, "UNPROCESSABLE", "Pull Request is not mergeable")
		return
	default:
		r.merge(p)
	}
	answer(w, http.StatusOK, map[string]any{"data": map[string]any{"mutation": nil}})
}
