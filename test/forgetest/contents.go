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

// Repo is a repository with one branch and its history.
type Repo struct {
	Branch string // its name; main unless it is set before the first request

	mu      sync.Mutex
	commits []commit
}

// commit is a commit of the branch.
type commit struct {
	sha   string
	path  string // of the file that it changed
	files map[string]entry
}

type entry struct {
	content string
	kind    string // file, symlink or dir
}

// GitHub adds a repository, as owner/name, that GitHub's contents API serves:
// https://docs.github.com/rest/repos/contents, https://docs.github.com/rest/commits/commits#list-commits.
func (s *Server) GitHub(name string) *Repo {
	r := &Repo{Branch: "main"}
	at := "GET /api/v3/repos/" + name
	s.Handle(at, func(w http.ResponseWriter, _ *http.Request) {
		sendJSON(w, http.StatusOK, map[string]any{"full_name": name})
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
	return r
}

// GitLab adds a project, as group/name, that GitLab's repository API serves: https://docs.gitlab.com/api/repository_files/.
func (s *Server) GitLab(name string) *Repo {
	r := &Repo{Branch: "main"}
	at := "/api/v4/projects/" + url.PathEscape(name)
	s.Handle("GET "+at, func(w http.ResponseWriter, _ *http.Request) {
		sendJSON(w, http.StatusOK, map[string]any{"path_with_namespace": name})
	})
	s.Handle("GET "+at+"/repository/branches/{branch}", func(w http.ResponseWriter, q *http.Request) {
		if q.PathValue("branch") != r.Branch {
			sendJSON(w, http.StatusNotFound, map[string]any{"message": "404 Branch Not Found"})
			return
		}
		sendJSON(w, http.StatusOK, map[string]any{"name": r.Branch})
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
	files := map[string]entry{}
	if len(r.commits) > 0 {
		files = maps.Clone(r.commits[len(r.commits)-1].files)
	}
	if delete(files, file); e != nil {
		files[file] = *e
	}
	sha := fmt.Sprintf("%x", sha1.Sum(fmt.Appendf(nil, "%d %s", len(r.commits), file))) //nolint:gosec // a name
	r.commits = append(r.commits, commit{sha, file, files})
	return sha
}

// at returns the newest commit of the branch, or a commit by its name; the zero commit if there is none.
func (r *Repo) at(ref string) commit {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range slices.Backward(r.commits) {
		if ref == r.Branch || ref == c.sha {
			return c
		}
	}
	return commit{}
}

// newest returns the name of the newest commit of the branch that changed a file, or of any commit if file is empty.
func (r *Repo) newest(ref, file string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range slices.Backward(r.commits) {
		if ref == r.Branch && (file == "" || file == c.path) {
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
	blob := fmt.Sprintf("%x", sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(e.content), e.content))) //nolint:gosec // as git has it
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
