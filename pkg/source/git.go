package source

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/credentials"
	"github.com/imagefactory/imagefactory/pkg/gitrepo"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
)

// gitServer reads a file from a branch. If the branch is still at the cached commit, the cached file is used; that only costs
// a list of the branches.
func (f *Forges) gitServer(ctx context.Context, s *config.Source, known Known) (*File, error) {
	key := s.GitURL() + " " + s.Branch + " " + s.Dockerfile
	commit, content := f.cache.response(key)
	if content == nil || f.gitTip(ctx, s) != commit {
		at := place{provider: s.Provider, host: s.Host, repo: s.Repo, branch: s.Branch}
		tree, err := entry(f, f.repos, at).get(ctx, func() (gitrepo.Tree, error) { return f.fetch(ctx, s) })
		if err != nil {
			return nil, err
		}
		if content, err = gitFile(tree, s); err != nil {
			return nil, err
		}
		commit = tree.Commit
		if _, local := localRepo(s); !local {
			f.cache.keep(key, commit, content)
		}
	}
	file := &File{Path: shown(s), Content: content, Commit: commit}
	if known.Commit != "" && digestOf(content) == known.Digest {
		file.Commit = known.Commit
	}
	return file, nil
}

func gitFile(tree gitrepo.Tree, s *config.Source) ([]byte, error) {
	if tree.Commit == "" {
		return nil, noBranch(s)
	}
	info, err := fs.Lstat(tree.FS, s.Dockerfile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errNotThere
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, errFolder
	case info.Mode()&fs.ModeSymlink != 0:
		return nil, problem("a symbolic link, which is not followed: set source.dockerfile to the file itself")
	case !info.Mode().IsRegular():
		return nil, errSubmodule
	case info.Size() > MaxFileBytes:
		return nil, tooLarge(info.Size())
	}
	return fs.ReadFile(tree.FS, s.Dockerfile)
}

// localRepo returns the path of a local repository.
func localRepo(s *config.Source) (string, bool) {
	path, ok := strings.CutPrefix(s.GitURL(), "file://")
	return path, ok || strings.HasPrefix(path, "/")
}

// fetch fetches the newest commit of a branch. If the server supports it, the content of a file is fetched when it is read, or
// at least without files that are too large for a Dockerfile. The number of concurrent fetches is limited, since repositories
// are kept in memory.
func (f *Forges) fetch(ctx context.Context, s *config.Source) (gitrepo.Tree, error) {
	if path, ok := localRepo(s); ok {
		return gitrepo.OpenLocal(path, s.Branch)
	}
	select {
	case f.fetches <- struct{}{}:
		defer func() { <-f.fetches }()
	case <-ctx.Done():
		return gitrepo.Tree{}, ctx.Err()
	}
	repo, err := f.gitOpen(ctx, s)
	if err != nil {
		return gitrepo.Tree{}, err
	}
	return repo.View(ctx)
}

func (f *Forges) gitOpen(ctx context.Context, s *config.Source) (*gitrepo.Repo, error) {
	return gitrepo.Open(ctx, gitrepo.Options{
		URL: s.GitURL(), Branch: s.Branch, Path: ".", MaxBlob: MaxFileBytes + 1, Lazy: true, Now: time.Now, Sleep: f.opts.HTTP.Sleep,
		Transport: f.git,
		Auth: func(ctx context.Context, host string) (string, string, error) {
			t, err := f.opts.Credentials.Token(ctx, credentials.Git, host)
			return t.Username, t.Value, err
		},
	})
}

// gitTip returns the commit of a branch, which it reads once per run. It is empty if that fails: the fetch that follows
// retries, and returns the error.
func (f *Forges) gitTip(ctx context.Context, s *config.Source) string {
	at := place{provider: s.Provider, host: s.Host, repo: s.Repo, branch: s.Branch}
	tip, err := entry(f, f.tips, at).get(ctx, func() (string, error) { return f.lsRemote(ctx, s) })
	if err != nil {
		return ""
	}
	return tip
}

func (f *Forges) lsRemote(ctx context.Context, s *config.Source) (string, error) {
	ctx, cancel := context.WithTimeout(httpx.WithMaxBody(ctx, maxTips), tipTimeout)
	defer cancel()
	repo, err := f.gitOpen(ctx, s)
	if err != nil {
		return "", err
	}
	return repo.Tip(ctx)
}

const (
	tipTimeout = time.Minute
	maxTips    = 64 << 20 // bytes; a repository with a hundred thousand branches and tags has some 10 MiB
)
