package source

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"path"
	"strings"
	"sync"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/credentials"
	"github.com/imagefactory/imagefactory/pkg/gitrepo"
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
)

// Options configure [Forges]. Every field may be left out.
type Options struct {
	Credentials *credentials.Store
	API         *forgeapi.Clients // default: with the Credentials and HTTP
	HTTP        httpx.Options     // of the transport to git servers
	CacheDir    string            // of file contents, so that an unchanged file costs one conditional request; "" for none
	Concurrency int               // requests in flight to one host, and fetches of git repositories; default 4
}

// Forges reads Dockerfiles at GitHub, GitLab and Gitea through their APIs, and from other git servers. It reads each
// file once per run, however many images are built from it. It may be used by many goroutines.
type Forges struct {
	opts  Options
	api   *forgeapi.Clients
	cache cache

	mu    sync.Mutex
	files map[place]*once[*File]
	repos map[place]*once[gitrepo.Tree]
	tips  map[place]*once[string]

	git     *httpx.Transport // for git servers
	fetches chan struct{}    // one slot per fetch
}

// place identifies a file; without a path, a branch.
type place struct {
	provider           config.Provider
	host, repo, branch string
	path               string
}

// once is a result that is computed once.
type once[T any] struct {
	sync.Mutex
	done  bool
	value T
	err   error
}

// get returns the result, and computes it the first time. A result that the end of a context interrupted does not count.
func (o *once[T]) get(ctx context.Context, compute func() (T, error)) (T, error) {
	o.Lock()
	defer o.Unlock()
	if !o.done {
		o.value, o.err = compute()
		o.done = ctx.Err() == nil
	}
	return o.value, o.err
}

const defaultConcurrency = 4

// isLargeFile reports whether content is the pointer that git holds for a file in Git LFS:
// https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
func isLargeFile(content []byte) bool {
	return bytes.HasPrefix(content, []byte("version https://git-lfs.github.com/spec/"))
}

// NewForges returns a [Source] for forges and git servers.
func NewForges(o Options) *Forges {
	if o.Credentials == nil {
		o.Credentials = credentials.New(credentials.Options{Getenv: func(string) string { return "" }})
	}
	if o.Concurrency <= 0 {
		o.Concurrency = defaultConcurrency
	}
	o.HTTP.Concurrency = o.Concurrency
	if o.API == nil {
		o.API = forgeapi.New(forgeapi.Options{HTTP: o.HTTP}.WithStore(o.Credentials))
	}
	toGit := o.HTTP
	toGit.Timeout = tipTimeout
	return &Forges{
		opts: o, cache: cache{o.CacheDir}, api: o.API,
		files: map[place]*once[*File]{}, repos: map[place]*once[gitrepo.Tree]{}, tips: map[place]*once[string]{},
		git: gitrepo.NewTransport(toGit), fetches: make(chan struct{}, o.Concurrency),
	}
}

// readers read a file through the API of a forge; all other providers are plain git servers.
var readers = map[config.Provider]func(*Forges, context.Context, *config.Source, Known) (*File, error){
	config.GitHub: (*Forges).gitHub,
	config.GitLab: (*Forges).gitLab,
	config.Gitea:  (*Forges).gitea,
}

// Dockerfile implements [Source].
func (f *Forges) Dockerfile(ctx context.Context, img *config.Image, known Known) (*File, error) {
	s := new(*img.Source)
	s.Dockerfile = path.Clean(s.Dockerfile)
	at := place{s.Provider, s.Host, s.Repo, s.Branch, s.Dockerfile}
	read := readers[s.Provider]
	if read == nil {
		read = (*Forges).gitServer
	}
	file, err := entry(f, f.files, at).get(ctx, func() (*File, error) { return read(f, ctx, s, known) })
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

// where returns the name of a branch for messages.
func where(s *config.Source) string {
	repo := s.Repo
	if s.HasAPI() {
		repo = s.Host + "/" + s.Repo
	}
	return fmt.Sprintf("%s (branch %s)", repo, s.Branch)
}

// shown returns the name of a file for messages.
func shown(s *config.Source) string { return s.RepoName() + "/" + s.Dockerfile }

func tooLarge(size int64) error {
	return problem(fmt.Sprintf("%d KiB is too large for a Dockerfile (at most %d KiB)", size>>10, MaxFileBytes>>10))
}

var errTooLarge = problem(fmt.Sprintf("too large for a Dockerfile (at most %d KiB)", MaxFileBytes>>10))

const needsContents = "read access to the contents of the repository"

// explain adds to an error of a forge what to do about it.
func explain(err error) error {
	return forgeapi.Explain(err, func(*forgeapi.Error) string { return "check source.repo, source.branch and source.dockerfile" })
}

func noRepository(s *config.Source, hint string) error {
	return problem(fmt.Sprintf("no repository %s at %s, or the token has no access to it: check source.repo, or %s", s.Repo, s.Host, hint))
}

func noBranch(s *config.Source) error {
	return problem(fmt.Sprintf("no branch %q in the repository: check source.branch", s.Branch))
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
	errNotInCheckout = problem("no such file: check source.dockerfile")

	errNotThere  = problem("no such file in the branch; was it moved or deleted? Set source.dockerfile")
	errSubmodule = problem("a submodule: set source.repo to that repository, and source.dockerfile to the path in it")
	errLargeFile = problem("stored in Git LFS, which is not read: exclude Dockerfiles from the filter in .gitattributes")
	errFolder    = problem("a folder, not a file: set source.dockerfile to the file in it")
)
