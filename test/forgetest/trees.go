package forgetest

import (
	"crypto/sha1" //nolint:gosec // the names of git's objects
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Listed is a repository of an organisation or a group.
type Listed struct {
	Name     string            // with the organisation
	Branch   string            // main unless it is set
	Files    map[string]string // content by path; one that begins with "-> " is a link
	Archived bool
	Fork     bool
	Broken   bool // its tree cannot be read
}

// Org is the repositories of an organisation at GitHub, or of a group at GitLab.
type Org struct {
	mu    sync.Mutex
	repos []*Listed
}

// Set adds a repository, or replaces the one with its name.
func (o *Org) Set(l Listed) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if l.Branch == "" {
		l.Branch = "main"
	}
	for i := range o.repos {
		if o.repos[i].Name == l.Name {
			o.repos[i] = &l
			return
		}
	}
	o.repos = append(o.repos, &l)
}

func (o *Org) find(name string) (int, *Listed) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, r := range o.repos {
		if r.Name == name {
			return i, r
		}
	}
	return -1, nil
}

func (o *Org) page(q *http.Request) []*Listed {
	o.mu.Lock()
	defer o.mu.Unlock()
	size, _ := strconv.Atoi(q.URL.Query().Get("per_page"))
	page, _ := strconv.Atoi(q.URL.Query().Get("page"))
	from := min((page-1)*size, len(o.repos))
	return slices.Clone(o.repos[from:min(from+size, len(o.repos))])
}

// blobID returns the name of git's object with a content.
func blobID(content string) string {
	return fmt.Sprintf("%x", sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(content), content))) //nolint:gosec // as git has it
}

// entries returns the files, with the name of their content under a key: sha at GitHub, id at GitLab.
func (l *Listed) entries(key string) []map[string]any {
	out := []map[string]any{}
	for path, content := range l.Files {
		mode := "100644"
		if strings.HasPrefix(content, "-> ") {
			mode = "120000"
		}
		entry := map[string]any{"path": path, "mode": mode, "type": "blob", key: blobID(content)}
		if key == "sha" {
			entry["size"] = len(content)
		}
		out = append(out, entry)
	}
	slices.SortFunc(out, func(a, b map[string]any) int { return strings.Compare(a["path"].(string), b["path"].(string)) })
	return out
}

func (l *Listed) blob(id string) (string, bool) {
	for _, content := range l.Files {
		if blobID(content) == id {
			return content, true
		}
	}
	return "", false
}

// tagged sends JSON with an ETag, or 304.
func tagged(w http.ResponseWriter, q *http.Request, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	etag := fmt.Sprintf(`W/"%x"`, sha1.Sum(data)) //nolint:gosec // a name
	w.Header().Set("ETag", etag)
	if q.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	sendJSON(w, http.StatusOK, json.RawMessage(data))
}

// GitHubOrg adds an organisation that GitHub's API serves: https://docs.github.com/rest/repos/repos#list-organization-repositories,
// https://docs.github.com/rest/git/trees, https://docs.github.com/rest/git/blobs.
func (s *Server) GitHubOrg(name string) *Org {
	o := &Org{}
	notFound := func(w http.ResponseWriter) {
		sendJSON(w, http.StatusNotFound, map[string]any{"message": "Not Found", "status": "404"})
	}
	s.Handle("GET /api/v3/orgs/"+name+"/repos", func(w http.ResponseWriter, q *http.Request) {
		list := []any{}
		for _, r := range o.page(q) {
			list = append(list, map[string]any{"full_name": r.Name, "default_branch": r.Branch, "archived": r.Archived, "fork": r.Fork, "disabled": false})
		}
		tagged(w, q, list)
	})
	s.Handle("GET /api/v3/repos/"+name+"/{repo}/git/trees/{ref}", func(w http.ResponseWriter, q *http.Request) {
		_, r := o.find(name + "/" + q.PathValue("repo"))
		switch {
		case r == nil || q.PathValue("ref") != r.Branch || q.URL.Query().Get("recursive") == "":
			notFound(w)
		case r.Broken:
			sendJSON(w, http.StatusInternalServerError, map[string]any{"message": "Server Error"})
		case len(r.Files) == 0:
			sendJSON(w, http.StatusConflict, map[string]any{"message": "Git Repository is empty.", "status": "409"})
		default:
			tagged(w, q, map[string]any{"sha": blobID(r.Name), "tree": r.entries("sha"), "truncated": false})
		}
	})
	s.Handle("GET /api/v3/repos/"+name+"/{repo}/git/blobs/{sha}", func(w http.ResponseWriter, q *http.Request) {
		_, r := o.find(name + "/" + q.PathValue("repo"))
		if r == nil {
			notFound(w)
			return
		}
		content, ok := r.blob(q.PathValue("sha"))
		if !ok {
			notFound(w)
			return
		}
		tagged(w, q, map[string]any{"sha": q.PathValue("sha"), "size": len(content), "encoding": "base64", "content": base64Lines(content)})
	})
	return o
}

// GitLabGroup adds a group that GitLab's API serves: https://docs.gitlab.com/api/groups/#list-projects,
// https://docs.gitlab.com/api/repositories/.
func (s *Server) GitLabGroup(name string) *Org {
	o := &Org{}
	project := func(w http.ResponseWriter, q *http.Request) *Listed {
		id, err := strconv.Atoi(q.PathValue("id"))
		o.mu.Lock()
		defer o.mu.Unlock()
		if err != nil || id < 1 || id > len(o.repos) {
			sendJSON(w, http.StatusNotFound, map[string]any{"message": "404 Project Not Found"})
			return nil
		}
		return o.repos[id-1]
	}
	s.Handle("GET /api/v4/groups/"+url.PathEscape(name)+"/projects", func(w http.ResponseWriter, q *http.Request) {
		list := []any{}
		for _, r := range o.page(q) {
			id, _ := o.find(r.Name)
			item := map[string]any{"id": id + 1, "path_with_namespace": r.Name, "default_branch": r.Branch, "archived": r.Archived, "empty_repo": len(r.Files) == 0}
			if r.Fork {
				item["forked_from_project"] = map[string]any{"id": 1}
			}
			list = append(list, item)
		}
		tagged(w, q, list)
	})
	at := "GET /api/v4/projects/{id}/repository"
	s.Handle(at+"/branches/{branch}", func(w http.ResponseWriter, q *http.Request) {
		r := project(w, q)
		switch {
		case r == nil:
		case r.Broken:
			sendJSON(w, http.StatusInternalServerError, map[string]any{"message": "500 Internal Server Error"})
		case q.PathValue("branch") != r.Branch:
			sendJSON(w, http.StatusNotFound, map[string]any{"message": "404 Branch Not Found"})
		default:
			tagged(w, q, map[string]any{"name": r.Branch, "commit": map[string]any{"id": r.commit()}})
		}
	})
	s.Handle(at+"/tree", func(w http.ResponseWriter, q *http.Request) {
		r := project(w, q)
		if r == nil {
			return
		}
		if q.URL.Query().Get("ref") != r.commit() {
			sendJSON(w, http.StatusNotFound, map[string]any{"message": "404 Tree Not Found"})
			return
		}
		size, _ := strconv.Atoi(q.URL.Query().Get("per_page"))
		page, _ := strconv.Atoi(q.URL.Query().Get("page"))
		all := r.entries("id")
		from := min((page-1)*size, len(all))
		tagged(w, q, all[from:min(from+size, len(all))])
	})
	s.Handle(at+"/blobs/{sha}", func(w http.ResponseWriter, q *http.Request) {
		r := project(w, q)
		if r == nil {
			return
		}
		content, ok := r.blob(q.PathValue("sha"))
		if !ok {
			sendJSON(w, http.StatusNotFound, map[string]any{"message": "404 Blob Not Found"})
			return
		}
		tagged(w, q, map[string]any{"size": len(content), "encoding": "base64", "content": base64.StdEncoding.EncodeToString([]byte(content)), "sha": q.PathValue("sha")})
	})
	return o
}

// commit returns a name for the content of a repository.
func (l *Listed) commit() string {
	return blobID(fmt.Sprint(l.entries("id")))
}
