package source

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/credentials"
	"github.com/imagefactory/imagefactory/pkg/gitrepo"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/internal/rest"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

// Options say how forges are asked.
type Options struct {
	Credentials *credentials.Store
	CacheDir    string // keeps contents, so that an unchanged file costs one conditional request; may be empty
	Transport   http.RoundTripper
	Concurrency int // requests under way to one host, and fetches of git repositories; default 4
	Sleep       func(context.Context, time.Duration) error
}

// Forges reads Dockerfiles at GitHub and GitLab through their APIs, and from other git servers. In one run each file is
// asked for once, whatever number of images is built from it. It may be used by many goroutines.
type Forges struct {
	opts  Options
	api   *rest.Client
	cache cache

	mu    sync.Mutex
	files map[place]*once[*File]
	repos map[place]*once[gitrepo.Tree]
	tips  map[place]*once[string]

	git     *httpx.Transport // for git servers
	fetches chan struct{}    // has room for those that may be under way
}

// place is where a file is; without a path, where a branch is.
type place struct {
	provider           config.Provider
	host, repo, branch string
	path               string
}

// once is an answer that is asked for once.
type once[T any] struct {
	sync.Mutex
	done  bool
	value T
	err   error
}

// get asks unless that was done. What the end of a context interrupted is asked again.
func (o *once[T]) get(ctx context.Context, ask func() (T, error)) (T, error) {
	o.Lock()
	defer o.Unlock()
	if !o.done {
		o.value, o.err = ask()
		o.done = ctx.Err() == nil
	}
	return o.value, o.err
}

const defaultConcurrency = 4

// isLargeFile says whether a content is what git itself holds of a file that is kept in Git LFS:
// https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
func isLargeFile(content []byte) bool {
	return bytes.HasPrefix(content, []byte("version https://git-lfs.github.com/spec/"))
}

// NewForges reads from forges and git servers.
func NewForges(o Options) *Forges {
	if o.Credentials == nil {
		o.Credentials = credentials.New(credentials.Options{Getenv: func(string) string { return "" }})
	}
	if o.Concurrency <= 0 {
		o.Concurrency = defaultConcurrency
	}
	return &Forges{
		opts: o, cache: cache{o.CacheDir},
		api: rest.New(rest.Options{
			Transport: o.Transport, Sleep: o.Sleep, Concurrency: o.Concurrency,
			Token: func(ctx context.Context, host string) (string, error) {
				t, err := o.Credentials.Token(ctx, credentials.API, host)
				return t.Value, err
			},
		}),
		files: map[place]*once[*File]{}, repos: map[place]*once[gitrepo.Tree]{}, tips: map[place]*once[string]{},
		git: gitrepo.NewTransport(httpx.Options{Base: o.Transport, Timeout: tipTimeout}), fetches: make(chan struct{}, o.Concurrency),
	}
}

// Requests reports how often each host was asked.
func (f *Forges) Requests() map[string]int {
	out := f.api.Requests()
	for host, n := range f.git.Requests() {
		out[host] += n
	}
	return out
}

// Dockerfile implements Source.
func (f *Forges) Dockerfile(ctx context.Context, img *config.Image, known Known) (*File, error) {
	s := new(*img.Source)
	s.Dockerfile = path.Clean(s.Dockerfile)
	at := place{s.Provider, s.Host, s.Repo, s.Branch, s.Dockerfile}
	file, err := entry(f, f.files, at).get(ctx, func() (*File, error) {
		switch s.Provider {
		case config.GitHub:
			return f.gitHub(ctx, s, known)
		case config.GitLab:
			return f.gitLab(ctx, s, known)
		default:
			return f.gitServer(ctx, s, known)
		}
	})
	if err == nil && isLargeFile(file.Content) {
		err = errLargeFile
	}
	if err != nil {
		return nil, fmt.Errorf("reading %q of %s: %w", s.Dockerfile, where(s), err)
	}
	return file, nil
}

func entry[T any](f *Forges, all map[place]*once[T], at place) *once[T] {
	f.mu.Lock()
	defer f.mu.Unlock()
	if all[at] == nil {
		all[at] = &once[T]{}
	}
	return all[at]
}

// where names a branch for people.
func where(s *config.Source) string {
	repo := s.Repo
	if s.Provider != config.Git {
		repo = s.Host + "/" + s.Repo
	}
	return fmt.Sprintf("%s (branch %s)", repo, s.Branch)
}

// shown is a file for messages.
func shown(s *config.Source) string { return s.RepoName() + "/" + s.Dockerfile }

func tooLarge(size int64) error {
	return answer(fmt.Sprintf("it has %d KiB, more than the %d KiB that are read: that is no Dockerfile", size>>10, MaxFileBytes>>10))
}

// get asks for a path below the API of a source.
func (f *Forges) get(ctx context.Context, s *config.Source, method, path string, header http.Header) (*rest.Answer, error) {
	return f.api.Do(ctx, rest.Request{Method: method, Host: s.Host, URL: s.APIURL() + path, Header: header})
}

// refused says what an answer means that is not the one that was hoped for.
func (f *Forges) refused(ctx context.Context, s *config.Source, a *rest.Answer) error {
	hint := f.opts.Credentials.Hint(credentials.API, s.Host)
	token, err := f.opts.Credentials.Token(ctx, credentials.API, s.Host)
	if err != nil {
		return err
	}
	said := clean(a.Message(), token.Value)
	switch {
	case a.Status == http.StatusUnauthorized && token.Value == "":
		return fmt.Errorf("%s wants a token (401): %s", s.Host, hint)
	case a.Status == http.StatusUnauthorized:
		return fmt.Errorf("%s refuses the token (401): it is wrong or has expired: %s", s.Host, hint)
	case a.Status == http.StatusForbidden:
		return fmt.Errorf("%s denies access (403: %s): the token needs to read the contents of the repository: %s", s.Host, said, hint)
	case a.Status >= 300 && a.Status < 400:
		return fmt.Errorf("%s redirects to another place (%d): was the repository moved? Set source.host and source.repo", s.Host, a.Status)
	}
	return fmt.Errorf("%s answers %d: %s", s.Host, a.Status, said)
}

// clean makes what a forge wrote fit to be shown.
func clean(text, token string) string {
	return sanitize.Foreign(text, token)
}

// missing finds out which part of a file's place does not exist: it asks for what is around it.
func (f *Forges) missing(ctx context.Context, s *config.Source, repo, branch string) error {
	for _, ask := range []struct {
		path string
		err  error
	}{
		{repo, answer(fmt.Sprintf("there is no repository %s at %s, or the token may not see it: check source.repo, or %s", s.Repo, s.Host, f.opts.Credentials.Hint(credentials.API, s.Host)))},
		{branch, noBranch(s)},
	} {
		a, err := f.get(ctx, s, http.MethodGet, ask.path, nil)
		switch {
		case err != nil:
			return err
		case a.Status == http.StatusNotFound:
			return ask.err
		case a.Status != http.StatusOK:
			return f.refused(ctx, s, a)
		}
	}
	return errNotThere
}

func noBranch(s *config.Source) error {
	return answer(fmt.Sprintf("the repository has no branch %q: check source.branch", s.Branch))
}

// escapePath escapes each segment of a path.
func escapePath(p string) string {
	segments := strings.Split(p, "/")
	for i := range segments {
		segments[i] = url.PathEscape(segments[i])
	}
	return strings.Join(segments, "/")
}

const (
	errNotThere  = answer("the branch has no such file: was it moved or deleted? Set source.dockerfile")
	errSubmodule = answer("it is a submodule: set source.repo to that repository, and source.dockerfile to the path in it")
	errLargeFile = answer("it is kept in Git LFS, where it cannot be read: take Dockerfiles out of the filter in .gitattributes")
	errNoFile    = answer("it is a folder, not a file: set source.dockerfile to the file in it")
)
