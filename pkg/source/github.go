package source

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-github/v88/github"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
)

// gitHub is a repository at GitHub.
type gitHub struct {
	*forgeapi.GitHub
	s           *config.Source
	owner, repo string
	cache       cache
}

// gitHub reads a file with the contents API: https://docs.github.com/rest/repos/contents. A conditional request with a
// response 304 does not count against the rate limit. GitHub itself follows a link to a file in the same repository.
func (f *Forges) gitHub(ctx context.Context, s *config.Source, known Known) (*File, error) {
	api, err := f.api.GitHub(ctx, s, needsContents)
	if err != nil {
		return nil, err
	}
	owner, repo, _ := strings.Cut(s.Repo, "/")
	return (&gitHub{api, s, owner, repo, f.cache}).read(ctx, known)
}

func (g *gitHub) read(ctx context.Context, known Known) (*File, error) {
	file := &File{Path: shown(g.s)}
	key := g.s.APIURL() + "/" + g.path(g.s.Branch)
	etag, cached := g.cache.response(key)
	resp, content, err := g.contents(ctx, g.s.Branch, etag)
	switch {
	case forgeapi.IsNotFound(err):
		return nil, g.missing(ctx)
	case err != nil:
		return nil, explain(err)
	case resp.StatusCode == http.StatusNotModified && cached != nil:
		file.Content = cached
	default:
		if file.Content, err = g.decode(content); err != nil {
			return nil, err
		}
		g.cache.keep(key, resp.Header.Get("ETag"), file.Content)
	}
	if known.Commit != "" && digestOf(file.Content) == known.Digest {
		file.Commit = known.Commit
		return file, nil
	}
	return file, g.findCommit(ctx, file)
}

// path is the path of the file at a branch or commit.
func (g *gitHub) path(ref string) string {
	return "repos/" + escapePath(g.s.Repo) + "/contents/" + escapePath(g.s.Dockerfile) + "?ref=" + url.QueryEscape(ref)
}

// contents reads the file at a branch or commit. The library's own method knows neither ETags nor the media type that is the
// same for files, links and folders.
func (g *gitHub) contents(ctx context.Context, ref, etag string) (*github.Response, *github.RepositoryContent, error) {
	header := http.Header{"Accept": {"application/vnd.github.object+json"}}
	if etag != "" {
		header.Set("If-None-Match", etag)
	}
	var content *github.RepositoryContent
	resp, err := g.Get(ctx, g.path(ref), header, &content)
	return resp, content, err
}

// findCommit sets the commit that the file is from: the newest that changed it. If that one has other content, the branch has
// moved since, or the file is a link that GitHub followed, whose own commits say nothing about its target. Then it is the
// newest commit of the branch, with the content there.
func (g *gitHub) findCommit(ctx context.Context, file *File) error {
	for _, path := range []string{g.s.Dockerfile, ""} {
		commit, err := g.newest(ctx, path)
		if err != nil {
			return err
		}
		if commit == "" {
			continue
		}
		content, err := g.at(ctx, commit)
		if path == "" || err == nil && bytes.Equal(content, file.Content) {
			file.Commit, file.Content = commit, content
			return err
		}
	}
	return nil
}

// newest returns the newest commit of the branch that changed a path; of all commits if path is empty. It is "" if there is
// none.
func (g *gitHub) newest(ctx context.Context, path string) (string, error) {
	commits, _, err := g.Repositories.ListCommits(ctx, g.owner, g.repo, &github.CommitsListOptions{
		SHA: g.s.Branch, Path: path, ListOptions: github.ListOptions{PerPage: 1},
	})
	switch {
	case err != nil:
		return "", explain(g.Error(err))
	case commits == nil:
		return "", g.Unexpected("")
	case len(commits) == 0:
		return "", nil
	case !isCommit(commits[0].GetSHA()):
		return "", g.Unexpected("invalid commit")
	}
	return commits[0].GetSHA(), nil
}

// at reads the file at a commit.
func (g *gitHub) at(ctx context.Context, commit string) ([]byte, error) {
	_, content, err := g.contents(ctx, commit, "")
	switch {
	case forgeapi.IsNotFound(err):
		return nil, errNotThere
	case err != nil:
		return nil, explain(err)
	}
	return g.decode(content)
}

// missing finds out which part of the place does not exist, after a file was not found.
func (g *gitHub) missing(ctx context.Context) error {
	repo, _, err := g.Repositories.Get(ctx, g.owner, g.repo)
	switch err = g.Error(err); {
	case forgeapi.IsNotFound(err):
		return noRepository(g.s, g.Hint())
	case err != nil:
		return explain(err)
	case repo.GetFullName() == "":
		return g.Unexpected("")
	}
	var branch *github.Branch
	_, err = g.Get(ctx, "repos/"+escapePath(g.s.Repo)+"/branches/"+url.PathEscape(g.s.Branch), nil, &branch)
	switch {
	case forgeapi.IsNotFound(err):
		return noBranch(g.s)
	case err != nil:
		return explain(err)
	case branch.GetName() == "":
		return g.Unexpected("")
	}
	return errNotThere
}

func (g *gitHub) decode(file *github.RepositoryContent) ([]byte, error) {
	switch {
	case file.GetType() == "dir":
		return nil, errFolder
	case file.GetType() == "symlink":
		return nil, linkTo(file.GetTarget())
	case file.GetType() == "submodule":
		return nil, errSubmodule
	case file.GetSize() > MaxFileBytes:
		return nil, tooLarge(int64(file.GetSize()))
	case file.GetType() != "file" || file.GetEncoding() != "base64" || file.Content == nil:
		return nil, g.Unexpected("not a file")
	}
	return decode(g.Endpoint, *file.Content, int64(file.GetSize()))
}

func linkTo(target string) error {
	return problem(fmt.Sprintf("symbolic link to %.200q, which is not followed: set source.dockerfile to the file itself", target))
}

// decode decodes content of the given size.
func decode(e *forgeapi.Endpoint, content string, size int64) ([]byte, error) {
	data, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(content, "\n", ""))
	if err != nil || int64(len(data)) != size {
		return nil, e.Unexpected("damaged file")
	}
	if size > MaxFileBytes {
		return nil, tooLarge(size)
	}
	return data, nil
}

// isCommit reports whether a text is a commit ID, in SHA-1 or SHA-256.
func isCommit(s string) bool {
	return (len(s) == 40 || len(s) == 64) && strings.Trim(s, "0123456789abcdef") == ""
}
