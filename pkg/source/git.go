package source

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/credentials"
	"github.com/imagefactory/imagefactory/pkg/gitrepo"
	"github.com/imagefactory/imagefactory/pkg/internal/neterr"
)

// gitServer reads a file from a branch. While the branch holds the commit of the last time, what was read then is taken, for
// the price of asking for its branches.
func (f *Forges) gitServer(ctx context.Context, s *config.Source, known Known) (*File, error) {
	key := s.GitURL() + " " + s.Branch + " " + s.Dockerfile
	commit, content := f.cache.answer(key)
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
		return nil, errNoFile
	case info.Mode()&fs.ModeSymlink != 0:
		return nil, answer("it is a symbolic link, which is not followed: set source.dockerfile to the file itself")
	case !info.Mode().IsRegular():
		return nil, errSubmodule
	case info.Size() > MaxFileBytes:
		return nil, tooLarge(info.Size())
	}
	return fs.ReadFile(tree.FS, s.Dockerfile)
}

// localRepo returns the path of a repository on this machine.
func localRepo(s *config.Source) (string, bool) {
	path, ok := strings.CutPrefix(s.GitURL(), "file://")
	return path, ok || strings.HasPrefix(path, "/")
}

// fetch fetches what a branch holds: the newest commit only. Where the server can do that, the content of a file comes when it
// is read; where it can at least leave out files that are too large for a Dockerfile, these do not come. A few at once, since
// they are kept in memory.
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
	repo, err := f.gitOpen(ctx, s, 0)
	if err != nil {
		return gitrepo.Tree{}, err
	}
	if u, err := url.Parse(s.GitURL()); err == nil && f.isMute(u.Host) {
		return gitrepo.Tree{}, errMute
	}
	return repo.View(ctx)
}

// gitOpen opens a repository of which no answer may have more bytes than most; zero leaves that to package gitrepo.
func (f *Forges) gitOpen(ctx context.Context, s *config.Source, most int64) (*gitrepo.Repo, error) {
	return gitrepo.Open(ctx, gitrepo.Options{
		URL: s.GitURL(), Branch: s.Branch, Path: ".", MaxBlob: MaxFileBytes + 1, Lazy: true, Now: time.Now, Sleep: f.opts.Sleep,
		Transport: &counter{f: f, most: most},
		Auth: func(ctx context.Context, host string) (string, string, error) {
			t, err := f.opts.Credentials.Token(ctx, credentials.Git, host)
			return t.Username, t.Value, err
		},
	})
}

// gitTip asks for the commit that a branch holds, once in a run. It is empty when there is no answer: the fetch that follows
// then finds out why, and tries again.
func (f *Forges) gitTip(ctx context.Context, s *config.Source) string {
	at := place{provider: s.Provider, host: s.Host, repo: s.Repo, branch: s.Branch}
	tip, err := entry(f, f.tips, at).get(ctx, func() (string, error) { return f.lsRemote(ctx, s) })
	if err != nil {
		return ""
	}
	return tip
}

func (f *Forges) lsRemote(ctx context.Context, s *config.Source) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, tipTimeout)
	defer cancel()
	repo, err := f.gitOpen(ctx, s, maxTips)
	if err != nil {
		return "", err
	}
	return repo.Tip(ctx)
}

const (
	tipTimeout = time.Minute
	maxTips    = 64 << 20 // bytes; a repository with a hundred thousand branches and tags has some 10 MiB
)

// maxMute is how often in a row a git server may give no answer in time. After that it is not asked any more: what waits for
// it would keep everything else waiting too.
const maxMute = 3

var errMute = neterr.Errorf("no response in time (%d times in a row); skipping this server for the rest of the run", maxMute)

func (f *Forges) isMute(host string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mute[host] >= maxMute
}

// heard notes what became of a request to a git server.
func (f *Forges) heard(host string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var timeout net.Error
	switch {
	case err == nil:
		f.mute[host] = 0
	case errors.As(err, &timeout) && timeout.Timeout():
		f.mute[host]++
	}
}

// counter counts requests, and bounds what is read of an answer.
type counter struct {
	f    *Forges
	most int64 // bytes; zero leaves it to others
}

// RoundTrip implements http.RoundTripper.
func (c *counter) RoundTrip(q *http.Request) (*http.Response, error) {
	if c.f.isMute(q.URL.Host) {
		return nil, errMute
	}
	c.f.mu.Lock()
	c.f.git[q.URL.Host]++
	c.f.mu.Unlock()
	answer, err := c.f.forGit.RoundTrip(q)
	c.f.heard(q.URL.Host, err)
	if err == nil && c.most > 0 {
		answer.Body = http.MaxBytesReader(nil, answer.Body, c.most)
	}
	return answer, err
}
