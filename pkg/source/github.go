package source

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/rest"
)

// gitHub reads a file by the contents API: https://docs.github.com/rest/repos/contents. A conditional request that is
// answered by 304 does not count against the rate limit. A link to a file in the same repository is followed by GitHub itself.
func (f *Forges) gitHub(ctx context.Context, s *config.Source, known Known) (*File, error) {
	path := "/repos/" + escapePath(s.Repo) + "/contents/" + escapePath(s.Dockerfile) + "?ref=" + url.QueryEscape(s.Branch)
	file := &File{Path: shown(s)}
	etag, cached := f.cache.answer(s.APIURL() + path)
	a, err := f.gitHubGet(ctx, s, path, etag)
	switch {
	case err != nil:
		return nil, err
	case a.Status == http.StatusNotModified && cached != nil:
		file.Content = cached
	case a.Status == http.StatusOK:
		if file.Content, err = gitHubContent(s, a); err != nil {
			return nil, err
		}
		f.cache.keep(s.APIURL()+path, a.Header.Get("ETag"), file.Content)
	case a.Status == http.StatusNotFound:
		repo := "/repos/" + escapePath(s.Repo)
		return nil, f.missing(ctx, s, repo, repo+"/branches/"+url.PathEscape(s.Branch))
	default:
		return nil, f.refused(ctx, s, a)
	}
	if known.Commit != "" && digestOf(file.Content) == known.Digest {
		file.Commit = known.Commit
		return file, nil
	}
	return file, f.gitHubCommit(ctx, s, file)
}

func (f *Forges) gitHubGet(ctx context.Context, s *config.Source, path, etag string) (*rest.Answer, error) {
	header := http.Header{"Accept": {"application/vnd.github.object+json"}, "X-Github-Api-Version": {"2022-11-28"}}
	if etag != "" {
		header.Set("If-None-Match", etag)
	}
	return f.get(ctx, s, http.MethodGet, path, header)
}

// gitHubCommit finds the commit that the file is from: the newest that changed it. Where that one has another content, the
// branch has moved since, or the file is a link that GitHub followed, whose own commits say nothing of what it leads to.
// Then the newest commit of the branch is taken, with the content that it has.
func (f *Forges) gitHubCommit(ctx context.Context, s *config.Source, file *File) error {
	for _, filter := range []string{"&path=" + url.QueryEscape(s.Dockerfile), ""} {
		commit, err := f.gitHubNewest(ctx, s, filter)
		if err != nil {
			return err
		}
		if commit == "" {
			continue
		}
		content, err := f.gitHubAt(ctx, s, commit)
		if filter == "" || err == nil && bytes.Equal(content, file.Content) {
			file.Commit, file.Content = commit, content
			return err
		}
	}
	return nil
}

// gitHubNewest returns the newest commit of the branch, of those that a filter leaves; empty when there is none.
func (f *Forges) gitHubNewest(ctx context.Context, s *config.Source, filter string) (string, error) {
	a, err := f.gitHubGet(ctx, s, "/repos/"+escapePath(s.Repo)+"/commits?per_page=1&sha="+url.QueryEscape(s.Branch)+filter, "")
	if err != nil {
		return "", err
	}
	if a.Status != http.StatusOK {
		return "", f.refused(ctx, s, a)
	}
	var commits []struct {
		SHA string `json:"sha"`
	}
	if err := a.JSON(s.Host, &commits); err != nil || len(commits) == 0 {
		return "", err
	}
	if !isCommit(commits[0].SHA) {
		return "", fmt.Errorf("%s answers with a commit that has no valid name", s.Host)
	}
	return commits[0].SHA, nil
}

// gitHubAt reads the file at a commit.
func (f *Forges) gitHubAt(ctx context.Context, s *config.Source, commit string) ([]byte, error) {
	a, err := f.gitHubGet(ctx, s, "/repos/"+escapePath(s.Repo)+"/contents/"+escapePath(s.Dockerfile)+"?ref="+commit, "")
	switch {
	case err != nil:
		return nil, err
	case a.Status == http.StatusNotFound:
		return nil, errNotThere
	case a.Status != http.StatusOK:
		return nil, f.refused(ctx, s, a)
	}
	return gitHubContent(s, a)
}

func gitHubContent(s *config.Source, a *rest.Answer) ([]byte, error) {
	var file struct {
		Type     string `json:"type"`
		Target   string `json:"target"`
		Size     int64  `json:"size"`
		Encoding string `json:"encoding"`
		Content  string `json:"content"`
	}
	if err := a.JSON(s.Host, &file); err != nil {
		return nil, err
	}
	switch {
	case file.Type == "dir":
		return nil, errNoFile
	case file.Type == "symlink":
		return nil, linkTo(file.Target)
	case file.Type == "submodule":
		return nil, errSubmodule
	case file.Size > MaxFileBytes:
		return nil, tooLarge(file.Size)
	case file.Type != "file" || file.Encoding != "base64":
		return nil, fmt.Errorf("%s answers with something that is no file", s.Host)
	}
	return decode(s, file.Content, file.Size)
}

func linkTo(target string) error {
	return answer(fmt.Sprintf("it is a symbolic link to %.200q, which is not followed: set source.dockerfile to the file itself", target))
}

// decode decodes a content that is not to be larger than it says.
func decode(s *config.Source, content string, size int64) ([]byte, error) {
	data, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(content, "\n", ""))
	if err != nil || int64(len(data)) != size {
		return nil, fmt.Errorf("%s answers with a damaged content", s.Host)
	}
	if size > MaxFileBytes {
		return nil, tooLarge(size)
	}
	return data, nil
}

// isCommit says whether text is the name of a commit, of SHA-1 or SHA-256.
func isCommit(s string) bool {
	return (len(s) == 40 || len(s) == 64) && strings.Trim(s, "0123456789abcdef") == ""
}
