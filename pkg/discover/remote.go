package discover

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/progress"
)

const (
	maxRepositories = 10_000
	maxTreeBytes    = 16 << 20 // GitHub's limit is 7 MB
	maxTreePages    = 200      // at GitLab, of 100 files
	perPage         = 100
	concurrency     = 4  // repositories that are read at the same time
	maxFailed       = 20 // repositories in a row, after which a host is not asked again
	maxTries        = 50 // of one repository, each after the end of a rate limit

	needsContents = "read access to the contents of the repositories"
)

// Organisation is the repositories of an organisation, a group or a user at a forge.
type Organisation struct {
	Provider config.Provider
	Host     string
	Name     string
	Archived bool // read archived repositories too
	Forks    bool // read forks too
}

// Options configure [Organisations].
type Options struct {
	API      *forgeapi.Clients
	CacheDir string // of responses, so that an unchanged repository costs one conditional request; "" for none
	// Wait is called when a rate limit is reached, and returns when the host may be asked again. Nil: what is left is not read.
	Wait     func(ctx context.Context, host string, until time.Time) error
	Progress *progress.Progress
}

// Organisations reads the repositories of organisations through the APIs of their forges. A repository that cannot be read
// does not stop the others. A rate limit ends the run, unless Options.Wait waits for its end; another run goes on from there.
func Organisations(ctx context.Context, orgs []Organisation, cfg *config.Config, o Options) (*Report, error) {
	var readings []*reading
	var unread []Unread
	var later *time.Time
	for _, org := range orgs {
		r := &remote{o: o, org: org, cfg: cfg, cache: cache{o.CacheDir}}
		if err := r.read(ctx); err != nil {
			return nil, fmt.Errorf("reading %s at %s: %w", org.Name, org.Host, err)
		}
		readings, unread = append(readings, r.readings...), append(unread, r.unread...)
		if r.later != nil && (later == nil || r.later.After(*later)) {
			later = r.later
		}
	}
	report, err := propose(ctx, cfg, readings)
	if err == nil {
		report.Unread, report.Later = unread, later
		report.sort()
	}
	return report, err
}

// remote reads one organisation.
type remote struct {
	o     Options
	org   Organisation
	cfg   *config.Config
	cache cache
	api   *forgeapi.Endpoint

	mu       sync.Mutex
	waiting  sync.Mutex // held by the one that waits for the end of a rate limit
	waited   time.Time  // the end that was waited for last
	readings []*reading
	unread   []Unread
	refused  []listed   // not asked for, because the host failed for others
	last     bool       // nothing is tried again
	later    *time.Time // end of a rate limit that stopped the run
}

// listed is a repository in a list of the forge.
type listed struct {
	name, branch string
	id           int64 // at GitLab
}

func (r *remote) read(ctx context.Context) error {
	var err error
	if r.api, err = r.o.API.Endpoint(ctx, &config.Source{Provider: r.org.Provider, Host: r.org.Host}, needsContents); err != nil {
		return err
	}
	repos, err := r.list(ctx)
	if err != nil {
		return err
	}
	r.o.Progress.Start(len(repos), "reading "+r.org.Name)
	defer r.o.Progress.Finish()
	if err := r.all(ctx, repos); err != nil {
		return err
	}
	again := r.refused
	r.refused, r.last = nil, true
	failed := 0 // in a row: then the host itself is in trouble
	for _, repo := range again {
		if failed < maxFailed {
			r.o.API.ResetBreakers()
		}
		before := len(r.readings)
		r.one(ctx, repo)
		if failed++; len(r.readings) > before {
			failed = 0
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

func (r *remote) all(ctx context.Context, repos []listed) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(concurrency)
	for _, repo := range repos {
		group.Go(func() error {
			defer r.o.Progress.Item(repo.name)()
			r.one(ctx, repo)
			return ctx.Err()
		})
	}
	return group.Wait()
}

// one reads a repository, again after the end of a rate limit.
func (r *remote) one(ctx context.Context, repo listed) {
	for tries := 1; ; tries++ {
		r.mu.Lock()
		stopped := r.later
		r.mu.Unlock()
		if stopped != nil {
			r.fail(repo, errors.New("not read: the rate limit was reached before"))
			return
		}
		reading, err := r.repository(ctx, repo)
		until, limited := limitOf(err)
		switch {
		case err == nil:
			r.mu.Lock()
			r.readings = append(r.readings, reading)
			r.mu.Unlock()
			return
		case !limited && !r.last && notSent(err):
			r.mu.Lock()
			r.refused = append(r.refused, repo)
			r.mu.Unlock()
			return
		case !limited:
			r.fail(repo, err)
			return
		case tries == maxTries || !r.wait(ctx, until):
			r.mu.Lock()
			r.later = &until
			r.mu.Unlock()
			r.fail(repo, err)
			return
		}
	}
}

func (r *remote) fail(repo listed, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unread = append(r.unread, Unread{repo.name, err.Error()})
}

// wait waits for the end of a rate limit, and reports whether the host may be asked again.
func (r *remote) wait(ctx context.Context, until time.Time) bool {
	if r.o.Wait == nil {
		return false
	}
	r.waiting.Lock()
	defer r.waiting.Unlock()
	if !until.After(r.waited) { // another one has waited for it
		return true
	}
	r.waited = until
	if r.o.Wait(ctx, r.org.Host, until) != nil {
		return false
	}
	r.o.API.ResetBreakers()
	return true
}

// notSent reports whether a request was not sent because the host failed before.
func notSent(err error) bool {
	e := forgeapi.As(err)
	return e != nil && e.NotSent
}

// limitOf returns the end of the rate limit that an error is about.
func limitOf(err error) (time.Time, bool) {
	e := forgeapi.As(err)
	if e == nil || !e.Limited {
		return time.Time{}, false
	}
	return e.Until, true
}

// get reads a path of the API into a value.
func (r *remote) get(ctx context.Context, path string, fixed bool, into any) error {
	body, err := r.cache.read(httpx.WithMaxBody(ctx, maxTreeBytes), r.api, path, fixed)
	if err != nil {
		return err
	}
	if json.Unmarshal(body, into) != nil {
		return r.api.Unexpected("")
	}
	return nil
}

// list returns the repositories that are read.
func (r *remote) list(ctx context.Context) ([]listed, error) {
	var out []listed
	base := r.listPath(false)
	for page := 1; ; page++ {
		n, repos, err := r.page(ctx, base, page)
		if page == 1 && forgeapi.IsNotFound(err) && r.org.Provider != config.GitLab && base != r.listPath(true) {
			base, page = r.listPath(true), 0
			continue
		}
		if until, limited := limitOf(err); limited && r.wait(ctx, until) {
			page--
			continue
		}
		if err != nil {
			return nil, forgeapi.Explain(err, func(*forgeapi.Error) string { return "check the name, and that the token has access to it" })
		}
		out = append(out, repos...)
		if n < r.perPage() {
			return out, nil
		}
		if len(out) >= maxRepositories {
			return nil, fmt.Errorf("more than %d repositories", maxRepositories)
		}
	}
}

// perPage returns the largest page that the forge gives by default.
func (r *remote) perPage() int {
	if r.org.Provider == config.Gitea {
		return perPage / 2
	}
	return perPage
}

func (r *remote) listPath(user bool) string {
	switch name := url.PathEscape(r.org.Name); {
	case r.org.Provider == config.GitLab:
		return "groups/" + name + "/projects?include_subgroups=true&with_shared=false&order_by=id&sort=asc&"
	case user:
		return "users/" + name + "/repos?sort=full_name&"
	default:
		return "orgs/" + name + "/repos?sort=full_name&"
	}
}

// page reads one page of the list, and returns how many repositories are on it, and those that are read.
func (r *remote) page(ctx context.Context, base string, page int) (int, []listed, error) {
	var list []struct {
		ID         int64           `json:"id"`
		FullName   string          `json:"full_name"`
		Path       string          `json:"path_with_namespace"`
		Branch     string          `json:"default_branch"`
		Archived   bool            `json:"archived"`
		Fork       bool            `json:"fork"`
		ForkedFrom json.RawMessage `json:"forked_from_project"`
		Disabled   bool            `json:"disabled"`
		Empty      bool            `json:"empty"`
		EmptyRepo  bool            `json:"empty_repo"`
	}
	limit := "per_page"
	if r.org.Provider == config.Gitea {
		limit = "limit"
	}
	err := r.get(ctx, fmt.Sprintf("%s%s=%d&page=%d", base, limit, r.perPage(), page), false, &list)
	if err != nil {
		return 0, nil, err
	}
	var out []listed
	for _, l := range list {
		name := l.FullName + l.Path
		fork := l.Fork || len(l.ForkedFrom) > 0 && string(l.ForkedFrom) != "null"
		if name == "" || l.Branch == "" || l.Disabled || l.Empty || l.EmptyRepo || l.Archived && !r.org.Archived || fork && !r.org.Forks {
			continue
		}
		out = append(out, listed{name: name, branch: l.Branch, id: l.ID})
	}
	return len(list), out, nil
}

// repository reads one repository.
func (r *remote) repository(ctx context.Context, l listed) (*reading, error) {
	repo := Repository{Provider: r.org.Provider, Host: r.org.Host, Name: l.name, Branch: l.branch, remote: true}
	t := &remoteTree{remote: r, listed: l, blobs: map[string]string{}}
	err := t.list(ctx)
	if forgeapi.HasStatus(err, http.StatusConflict) || forgeapi.IsNotFound(err) { // no commit yet
		err = nil
	}
	if err != nil {
		return nil, err
	}
	if len(dockerfiles(t.files)) == 0 {
		t.files = nil // nothing to find: a build without a Dockerfile cannot be enrolled
	}
	read, err := scan(ctx, repo, t, registryOf(repo, r.cfg))
	if err == nil && t.truncated {
		read.problems = append(read.problems, Problem{Repository: l.name, Message: "the list of files is not complete: the repository is too large"})
	}
	return read, err
}

// remoteTree implements [Tree].
type remoteTree struct {
	*remote
	listed
	files     []string
	blobs     map[string]string // IDs by path
	truncated bool
}

// list reads the list of files.
func (t *remoteTree) list(ctx context.Context) error {
	if t.org.Provider == config.GitLab {
		return t.listGitLab(ctx)
	}
	for page := 1; ; page++ {
		var tree struct {
			Tree []struct {
				Path string `json:"path"`
				Mode string `json:"mode"`
				SHA  string `json:"sha"`
			} `json:"tree"`
			Truncated bool `json:"truncated"`
		}
		query := "?recursive=1"
		if t.org.Provider == config.Gitea {
			query += fmt.Sprintf("&page=%d", page)
		}
		if err := t.get(ctx, t.path()+"/git/trees/"+url.PathEscape(t.branch)+query, false, &tree); err != nil {
			return err
		}
		for _, e := range tree.Tree {
			t.add(e.Path, e.Mode, e.SHA)
		}
		if more := tree.Truncated && t.org.Provider == config.Gitea && page < maxTreePages && len(tree.Tree) > 0; !more {
			t.truncated = t.truncated || tree.Truncated
			break
		}
	}
	slices.Sort(t.files)
	return nil
}

// path is the repository in paths of the API.
func (t *remoteTree) path() string {
	if t.org.Provider == config.GitLab {
		return fmt.Sprintf("projects/%d/repository", t.id)
	}
	owner, name, _ := strings.Cut(t.name, "/")
	return "repos/" + url.PathEscape(owner) + "/" + url.PathEscape(name)
}

// listGitLab reads the list of files at the newest commit. The pages of a commit do not change.
func (t *remoteTree) listGitLab(ctx context.Context) error {
	var branch struct {
		Commit struct {
			ID string `json:"id"`
		} `json:"commit"`
	}
	if err := t.get(ctx, t.path()+"/branches/"+url.PathEscape(t.branch), false, &branch); err != nil {
		return err
	}
	for page := 1; ; page++ {
		var list []struct {
			ID   string `json:"id"`
			Path string `json:"path"`
			Mode string `json:"mode"`
		}
		path := fmt.Sprintf("%s/tree?recursive=true&per_page=%d&page=%d&ref=%s", t.path(), perPage, page, url.QueryEscape(branch.Commit.ID))
		if err := t.get(ctx, path, true, &list); err != nil {
			return err
		}
		for _, e := range list {
			t.add(e.Path, e.Mode, e.ID)
		}
		if len(list) < perPage {
			break
		}
		if page == maxTreePages {
			t.truncated = true
			break
		}
	}
	slices.Sort(t.files)
	return nil
}

// add adds a file, unless it is a link or in a folder that is left out.
func (t *remoteTree) add(path, mode, id string) {
	folders := strings.Split(path, "/")
	if !strings.HasPrefix(mode, "100") || id == "" || len(folders) > maxDepth || slices.ContainsFunc(folders, func(f string) bool { return slices.Contains(skipped, f) }) {
		return
	}
	if len(t.files) >= maxFiles {
		t.truncated = true
		return
	}
	t.files = append(t.files, path)
	t.blobs[path] = id
}

// Files implements [Tree].
func (t *remoteTree) Files() []string { return t.files }

// Read implements [Tree]. The content of an ID does not change.
func (t *remoteTree) Read(ctx context.Context, path string, limit int64) ([]byte, error) {
	var blob struct {
		Content  string `json:"content"`
		Encoding string `json:"encoding"`
		Size     int64  `json:"size"`
	}
	folder := "/git/blobs/"
	if t.org.Provider == config.GitLab {
		folder = "/blobs/"
	}
	err := t.get(ctx, t.path()+folder+url.PathEscape(t.blobs[path]), true, &blob)
	switch e := forgeapi.As(err); {
	case e != nil && e.TooLarge:
		return nil, tooLarge(limit)
	case forgeapi.IsNotFound(err):
		return nil, err
	case err != nil:
		return nil, &unreadError{err}
	case blob.Size > limit:
		return nil, tooLarge(limit)
	}
	data, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(blob.Content, "\n", ""))
	switch {
	case err != nil || blob.Encoding != "base64":
		return nil, t.api.Unexpected("damaged file")
	case int64(len(data)) > limit:
		return nil, tooLarge(limit)
	}
	return data, nil
}
