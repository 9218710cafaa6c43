package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/rest"
)

// gitLab reads a file by the repository files API: https://docs.gitlab.com/api/repository_files/. When the content of the
// last time is still there, only its digest is asked for.
func (f *Forges) gitLab(ctx context.Context, s *config.Source, known Known) (*File, error) {
	project := "/projects/" + url.PathEscape(s.Repo)
	at := project + "/repository/files/" + url.PathEscape(s.Dockerfile) + "?ref=" + url.QueryEscape(s.Branch)
	if cached := f.cache.content(known.Digest); cached != nil {
		a, err := f.get(ctx, s, http.MethodHead, at, nil)
		if err != nil {
			return nil, err
		}
		if a.Status == http.StatusOK && "sha256:"+a.Header.Get("X-Gitlab-Content-Sha256") == known.Digest {
			return &File{Path: shown(s), Content: cached, Commit: known.Commit}, nil
		}
		if size := gitLabSize(a); size > MaxFileBytes {
			return nil, tooLarge(size)
		}
	}
	a, err := f.get(ctx, s, http.MethodGet, at, nil)
	switch {
	case err != nil:
		return nil, f.gitLabTooLarge(ctx, s, at, err)
	case a.Status == http.StatusNotFound:
		return nil, f.missing(ctx, s, project, project+"/repository/branches/"+url.PathEscape(s.Branch))
	case a.Status != http.StatusOK:
		return nil, f.refused(ctx, s, a)
	}
	file, err := gitLabFile(s, a)
	if err != nil {
		return nil, err
	}
	if digestOf(file.Content) == known.Digest && known.Commit != "" {
		file.Commit = known.Commit
	} else if err := f.gitLabLink(ctx, s, project, file); err != nil {
		return nil, err
	}
	f.cache.keep("", "", file.Content)
	return file, nil
}

func gitLabSize(a *rest.Answer) int64 {
	size, err := strconv.ParseInt(a.Header.Get("X-Gitlab-Size"), 10, 64)
	if err != nil {
		return 0
	}
	return size
}

// gitLabTooLarge explains why a file could not be read when its size is the reason: an answer holds the whole file.
func (f *Forges) gitLabTooLarge(ctx context.Context, s *config.Source, at string, failed error) error {
	if e := (*rest.Error)(nil); !errors.As(failed, &e) || e.Unsure { // there was no whole answer
		return failed
	}
	if a, err := f.get(ctx, s, http.MethodHead, at, nil); err == nil && gitLabSize(a) > MaxFileBytes {
		return tooLarge(gitLabSize(a))
	}
	return failed
}

func gitLabFile(s *config.Source, a *rest.Answer) (*File, error) {
	var body struct {
		Size    int64  `json:"size"`
		Content string `json:"content"`
		SHA256  string `json:"content_sha256"`
		Commit  string `json:"last_commit_id"`
	}
	if err := a.JSON(s.Host, &body); err != nil {
		return nil, err
	}
	if body.Size > MaxFileBytes {
		return nil, tooLarge(body.Size)
	}
	content, err := decode(s, body.Content, body.Size)
	if err != nil {
		return nil, err
	}
	if digestOf(content) != "sha256:"+body.SHA256 || !isCommit(body.Commit) {
		return nil, fmt.Errorf("%s answers with a content that has another digest than it says", s.Host)
	}
	return &File{Path: shown(s), Content: content, Commit: body.Commit}, nil
}

// gitLabLink finds out whether a new file is a symbolic link: the API gives its target for the content. One that is has a
// single line, which hardly any Dockerfile has, so this costs no request as a rule. A link in a folder of more than 100 entries
// may stay unseen; then BuildKit's parser refuses the path that its content is.
func (f *Forges) gitLabLink(ctx context.Context, s *config.Source, project string, file *File) error {
	const longestPath = 4096
	if len(file.Content) == 0 || len(file.Content) > longestPath || bytes.ContainsAny(file.Content, "\n\x00") {
		return nil
	}
	folder, name := path.Split(s.Dockerfile) // the root is the empty path
	a, err := f.get(ctx, s, http.MethodGet, project+"/repository/tree?per_page=100&path="+url.QueryEscape(strings.TrimSuffix(folder, "/"))+"&ref="+url.QueryEscape(s.Branch), nil)
	if err != nil {
		return err
	}
	var entries []struct {
		Name string `json:"name"`
		Mode string `json:"mode"`
	}
	if a.Status != http.StatusOK {
		return f.refused(ctx, s, a)
	}
	if err := a.JSON(s.Host, &entries); err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name == name && e.Mode == "120000" {
			return linkTo(string(file.Content))
		}
	}
	return nil
}
