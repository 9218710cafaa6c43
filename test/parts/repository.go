package parts

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Repository is a git repository at Gitea.
type Repository struct {
	gitea *Gitea

	Name string // OWNER/NAME
}

// Repository returns the repository OWNER/NAME, which may not exist yet.
func (g *Gitea) Repository(name string) *Repository { return &Repository{g, name} }

// NewOrganization makes an organization.
func (g *Gitea) NewOrganization(ctx context.Context, name string) error {
	return g.Call(ctx, http.MethodPost, "orgs", map[string]any{"username": name}, nil)
}

// Member is a user who is no administrator.
type Member struct {
	gitea          *Gitea
	name, password string
}

// NewMember makes a user who may write to units of an organization's repositories, such as repo.code, and see no others.
func (g *Gitea) NewMember(ctx context.Context, organization, name string, units ...string) (*Member, error) {
	write := map[string]string{}
	for _, unit := range units {
		write[unit] = "write"
	}
	m := &Member{g, name, rand.Text()}
	user := map[string]any{"username": name, "email": name + "@acme.example", "password": m.password, "must_change_password": false}
	if err := g.Call(ctx, http.MethodPost, "admin/users", user, nil); err != nil {
		return nil, err
	}
	var team struct {
		ID int64 `json:"id"`
	}
	rights := map[string]any{"name": name, "permission": "write", "includes_all_repositories": true, "units_map": write}
	if err := g.Call(ctx, http.MethodPost, "orgs/"+organization+"/teams", rights, &team); err != nil {
		return nil, err
	}
	return m, g.Call(ctx, http.MethodPut, fmt.Sprintf("teams/%d/members/%s", team.ID, name), nil, nil)
}

// NewToken makes a token with scopes, such as write:repository.
func (m *Member) NewToken(ctx context.Context, scopes ...string) (string, error) {
	var made struct {
		Token string `json:"sha1"`
	}
	signIn := http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(m.name+":"+m.password))}}
	body := map[string]any{"name": strings.Join(scopes, " "), "scopes": scopes}
	err := callJSON(ctx, http.MethodPost, "http://"+m.gitea.Host+"/api/v1/users/"+m.name+"/tokens", signIn, body, &made)
	return made.Token, err
}

// NewRepository makes a repository of acme, or of an organization, with a branch main.
func (g *Gitea) NewRepository(ctx context.Context, owner, name string, private bool) (*Repository, error) {
	path := "user/repos"
	if owner != "acme" {
		path = "orgs/" + owner + "/repos"
	}
	body := map[string]any{"name": name, "auto_init": true, "default_branch": "main", "private": private}
	return g.Repository(owner + "/" + name), g.Call(ctx, http.MethodPost, path, body, nil)
}

// URL returns the URL for git.
func (r *Repository) URL() string { return "http://" + r.gitea.Host + "/" + r.Name + ".git" }

// Dir returns the folder of the repository on Gitea's disk.
func (r *Repository) Dir() string { return filepath.Join(r.gitea.dir, "repositories", r.Name+".git") }

// Call sends a request to the API, with a path below that of the repository.
func (r *Repository) Call(ctx context.Context, method, path string, body, into any) error {
	return r.gitea.Call(ctx, method, "repos/"+r.Name+path, body, into)
}

// Commit commits files to a branch; those that exist are replaced.
func (r *Repository) Commit(ctx context.Context, branch, message string, files map[string]string) error {
	var changes []any
	for path, text := range files {
		changes = append(changes, map[string]any{"operation": "upload", "path": path, "content": []byte(text)})
	}
	return r.Call(ctx, http.MethodPost, "/contents", map[string]any{"branch": branch, "message": message, "files": changes}, nil)
}

// Read returns a file at a branch or commit.
func (r *Repository) Read(ctx context.Context, ref, path string) (string, error) {
	var file struct {
		Content []byte `json:"content"`
	}
	err := r.Call(ctx, http.MethodGet, "/contents/"+path+"?ref="+url.QueryEscape(ref), nil, &file)
	return string(file.Content), err
}

// Messages returns the messages of the commits on main, newest first, 50 at most.
func (r *Repository) Messages(ctx context.Context) ([]string, error) {
	var commits []struct {
		Commit struct {
			Message string `json:"message"`
		} `json:"commit"`
	}
	err := r.Call(ctx, http.MethodGet, "/commits?sha=main&limit=50&stat=false&files=false&verification=false", nil, &commits)
	var out []string
	for _, c := range commits {
		out = append(out, c.Commit.Message)
	}
	return out, err
}

// WorkflowRun is a run of a workflow.
type WorkflowRun struct {
	ID         int64  `json:"id"`
	Title      string `json:"display_title"`
	Event      string `json:"event"`
	Status     string `json:"status"`
	Conclusion string `json:"conclusion"`
	URL        string `json:"html_url"`
}

// Runs returns the runs of the workflows, newest first.
func (r *Repository) Runs(ctx context.Context) ([]WorkflowRun, error) {
	var list struct {
		Runs []WorkflowRun `json:"workflow_runs"`
	}
	err := r.Call(ctx, http.MethodGet, "/actions/runs?limit=50", nil, &list)
	return list.Runs, err
}

// Jobs returns the conclusion of each job of a workflow run, by name.
func (r *Repository) Jobs(ctx context.Context, run int64) (map[string]string, error) {
	var list struct {
		Jobs []struct {
			Name       string `json:"name"`
			Conclusion string `json:"conclusion"`
		} `json:"jobs"`
	}
	err := r.Call(ctx, http.MethodGet, "/actions/runs/"+strconv.FormatInt(run, 10)+"/jobs", nil, &list)
	out := map[string]string{}
	for _, job := range list.Jobs {
		out[job.Name] = job.Conclusion
	}
	return out, err
}

// SetSecret sets a secret of the workflows.
func (r *Repository) SetSecret(ctx context.Context, name, value string) error {
	return r.Call(ctx, http.MethodPut, "/actions/secrets/"+name, map[string]any{"data": value}, nil)
}

// Pull is a pull request.
type Pull struct {
	Number int    `json:"number"`
	State  string `json:"state"`
	Title  string `json:"title"`
	Body   string `json:"body"`
	Head   struct {
		Ref string `json:"ref"`
		SHA string `json:"sha"`
	} `json:"head"`
}

// Pulls returns the pull requests, oldest first.
func (r *Repository) Pulls(ctx context.Context) ([]Pull, error) {
	var list []Pull
	err := r.Call(ctx, http.MethodGet, "/pulls?state=all&sort=oldest", nil, &list)
	return list, err
}

// Propose opens a pull request that merges a branch into main, and returns its number.
func (r *Repository) Propose(ctx context.Context, branch, title string) (int, error) {
	var p Pull
	err := r.Call(ctx, http.MethodPost, "/pulls", map[string]any{"head": branch, "base": "main", "title": title}, &p)
	return p.Number, err
}

// ClosePull closes a pull request without merging it.
func (r *Repository) ClosePull(ctx context.Context, number int) error {
	return r.Call(ctx, http.MethodPatch, "/pulls/"+strconv.Itoa(number), map[string]any{"state": "closed"}, nil)
}

// Merge merges a pull request, once Gitea has found out that it can be merged.
func (r *Repository) Merge(ctx context.Context, number int) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		err := r.Call(ctx, http.MethodPost, "/pulls/"+strconv.Itoa(number)+"/merge", map[string]any{"Do": "merge"}, nil)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("merging pull request %d: %w", number, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}
