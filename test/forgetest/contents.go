package forgetest

import (
	"crypto/sha1" //nolint:gosec // the names of git's objects
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Repo is a repository with its history, and the requests to merge its branches.
type Repo struct {
	Branch string // the main branch; main unless it is set before the first request

	// AllowAutoMerge permits requests to be merged by the forge, and Protected keeps those from being merged that nobody has approved.
	AllowAutoMerge, Protected bool
	// UpToDate requires that requests are up to date with their target.
	UpToDate bool

	name     string
	mu       sync.Mutex
	made     int // commits so far
	commits  map[string]*commit
	branches map[string]string // newest commits
	pulls    []*Pull
}

// commit is a commit of any branch.
type commit struct {
	sha, parent string
	message     string
	paths       []string // of the files that it changed
	files       map[string]entry
}

type entry struct {
	content string
	kind    string // file, symlink or dir
}

// GitHub adds a repository, as owner/name, that GitHub's contents API serves:
// https://docs.github.com/rest/repos/contents, https://docs.github.com/rest/commits/commits#list-commits.
func (s *Server) GitHub(name string) *Repo {
	r := newRepo(name)
	at := "GET /api/v3/repos/" + name
	s.Handle(at, func(w http.ResponseWriter, _ *http.Request) {
		sendJSON(w, http.StatusOK, map[string]any{"full_name": name, "node_id": nodeOf(name)})
	})
	s.Handle(at+"/branches/{branch...}", func(w http.ResponseWriter, q *http.Request) {
		if q.PathValue("branch") != r.Branch {
			sendJSON(w, http.StatusNotFound, map[string]any{"message": "Branch not found"})
			return
		}
		sendJSON(w, http.StatusOK, map[string]any{"name": r.Branch})
	})
	s.Handle(at+"/contents/{path...}", r.gitHubContents)
	s.Handle(at+"/commits", func(w http.ResponseWriter, q *http.Request) {
		list := []any{}
		if sha := r.newest(q.URL.Query().Get("sha"), q.URL.Query().Get("path")); sha != "" {
			list = append(list, map[string]any{"sha": sha})
		}
		sendJSON(w, http.StatusOK, list)
	})
	s.gitHubPulls(r)
	return r
}

func newRepo(name string) *Repo {
	return &Repo{Branch: "main", name: name, commits: map[string]*commit{}, branches: map[string]string{}}
}

// GitLab adds a project, as group/name, that GitLab's repository API serves: https://docs.gitlab.com/api/repository_files/.
func (s *Server) GitLab(name string) *Repo {
	r := newRepo(name)
	at := "/api/v4/projects/" + url.PathEscape(name)
	s.Handle("GET "+at, func(w http.ResponseWriter, _ *http.Request) {
		sendJSON(w, http.StatusOK, map[string]any{"path_with_namespace": name})
	})
	s.Handle("GET "+at+"/repository/branches/{branch}", func(w http.ResponseWriter, q *http.Request) {
		branch := q.PathValue("branch")
		sha := r.Head(branch)
		if sha == "" && branch != r.Branch {
			sendJSON(w, http.StatusNotFound, map[string]any{"message": "404 Branch Not Found"})
			return
		}
		sendJSON(w, http.StatusOK, map[string]any{"name": branch, "commit": map[string]any{"id": sha}})
	})
	s.Handle("GET "+at+"/repository/files/{path}", r.gitLabFile) // HEAD too, as http.ServeMux has it
	s.Handle("GET "+at+"/repository/tree", func(w http.ResponseWriter, q *http.Request) {
		list := []any{}
		for p, e := range r.at(q.URL.Query().Get("ref")).files {
			if path.Dir(p) == path.Clean(q.URL.Query().Get("path")) {
				list = append(list, map[string]any{"name": path.Base(p), "path": p, "type": "blob", "mode": map[string]string{"file": "100644", "symlink": "120000"}[e.kind]})
			}
		}
		sendJSON(w, http.StatusOK, list)
	})
	s.gitLabPulls(r)
	return r
}

// Commit writes a file and returns the commit.
func (r *Repo) Commit(file, content string) string {
	return r.put(file, &entry{content: content, kind: "file"})
}

// Link makes a symbolic link and returns the commit.
func (r *Repo) Link(file, target string) string {
	return r.put(file, &entry{content: target, kind: "symlink"})
}

// Folder makes a folder.
func (r *Repo) Folder(file string) { r.put(file, &entry{kind: "dir"}) }

// Delete deletes a file.
func (r *Repo) Delete(file string) { r.put(file, nil) }

func (r *Repo) put(file string, e *entry) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.add(r.Branch, r.branches[r.Branch], file, map[string]*entry{file: e})
}

// add makes a commit on top of another and moves a branch to it. An entry of nil deletes a file.
func (r *Repo) add(branch, parent, message string, changed map[string]*entry) string {
	c := &commit{parent: parent, message: message, files: map[string]entry{}, paths: slices.Sorted(maps.Keys(changed))}
	if below := r.commits[parent]; below != nil {
		c.files = maps.Clone(below.files)
	}
	for file, e := range changed {
		if delete(c.files, file); e != nil {
			c.files[file] = *e
		}
	}
	c.sha = fmt.Sprintf("%x", sha1.Sum(fmt.Appendf(nil, "%d %s", r.made, strings.Join(c.paths, " ")))) //nolint:gosec // a name
	r.made++
	r.commits[c.sha], r.branches[branch] = c, c.sha
	return c.sha
}

// at returns the newest commit of a branch, or a commit by its name; the zero commit if there is none.
func (r *Repo) at(ref string) commit {
	r.mu.Lock()
	defer r.mu.Unlock()
	if sha, ok := r.branches[ref]; ok {
		ref = sha
	}
	if c := r.commits[ref]; c != nil {
		return *c
	}
	return commit{}
}

// newest returns the name of the newest commit of a branch that changed a file, or of any commit if file is empty.
func (r *Repo) newest(branch, file string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := r.commits[r.branches[branch]]; c != nil; c = r.commits[c.parent] {
		if file == "" || slices.Contains(c.paths, file) {
			return c.sha
		}
	}
	return ""
}

func (r *Repo) gitHubContents(w http.ResponseWriter, q *http.Request) {
	file := q.PathValue("path")
	files := r.at(q.URL.Query().Get("ref")).files
	e, ok := files[file]
	if !ok {
		sendJSON(w, http.StatusNotFound, map[string]any{"message": "Not Found", "documentation_url": "https://docs.github.com/rest", "status": "404"})
		return
	}
	if target := files[path.Join(path.Dir(file), e.content)]; e.kind == "symlink" && target.kind == "file" {
		e = target // GitHub returns the content of the file that the link points to
	}
	blob := blobID(e.content)
	etag := `W/"` + blob + `"`
	w.Header().Set("ETag", etag)
	if q.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body := map[string]any{"type": e.kind, "name": path.Base(file), "path": file, "sha": blob, "size": len(e.content)}
	switch {
	case e.kind == "symlink":
		body["target"] = e.content
	case e.kind == "dir":
		body["entries"] = []any{}
	case len(e.content) > 1<<20: // "object" media type: between 1 and 100 MB, content is an empty string and encoding none
		body["content"], body["encoding"] = "", "none"
	default:
		body["content"], body["encoding"] = base64Lines(e.content), "base64"
	}
	sendJSON(w, http.StatusOK, body)
}

func (r *Repo) gitLabFile(w http.ResponseWriter, q *http.Request) {
	file, ref := q.PathValue("path"), q.URL.Query().Get("ref")
	e, ok := r.at(ref).files[file]
	if !ok || e.kind == "dir" {
		sendJSON(w, http.StatusNotFound, map[string]any{"message": "404 File Not Found"})
		return
	}
	sum, last := sha256.Sum256([]byte(e.content)), r.newest(ref, file)
	w.Header().Set("X-Gitlab-Content-Sha256", hex.EncodeToString(sum[:]))
	w.Header().Set("X-Gitlab-Last-Commit-Id", last)
	w.Header().Set("X-Gitlab-Size", strconv.Itoa(len(e.content)))
	sendJSON(w, http.StatusOK, map[string]any{
		"file_name": path.Base(file), "file_path": file, "size": len(e.content), "encoding": "base64",
		"content": base64.StdEncoding.EncodeToString([]byte(e.content)), "content_sha256": hex.EncodeToString(sum[:]),
		"ref": ref, "last_commit_id": last, "execute_filemode": false,
	})
}

// base64Lines encodes content in lines of the width that GitHub uses.
func base64Lines(content string) string {
	const width = 60
	text := base64.StdEncoding.EncodeToString([]byte(content))
	var b strings.Builder
	for ; len(text) > width; text = text[width:] {
		b.WriteString(text[:width] + "\n")
	}
	b.WriteString(text + "\n")
	return b.String()
}

func sendJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may be gone
}
