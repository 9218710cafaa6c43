package source

import (
	"context"
	"encoding/json"
	"net/url"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
)

// gitea is a repository at Gitea or Forgejo.
type gitea struct {
	*forgeapi.Gitea
	s *config.Source
}

// giteaContent is a file in a response of the contents API.
type giteaContent struct {
	Type       string  `json:"type"`
	Size       int64   `json:"size"`
	Encoding   string  `json:"encoding"`
	Content    *string `json:"content"`
	Target     string  `json:"target"`
	LastCommit string  `json:"last_commit_sha"` // the newest commit of the branch that changed the file
}

// gitea reads a file with the contents API, whose response also names the commit. The API knows no conditional requests.
func (f *Forges) gitea(ctx context.Context, s *config.Source, known Known) (*File, error) {
	api, err := f.api.Gitea(ctx, s, needsContents)
	if err != nil {
		return nil, err
	}
	return (&gitea{api, s}).read(ctx, known)
}

func (g *gitea) read(ctx context.Context, known Known) (*File, error) {
	var response json.RawMessage
	err := g.Get(ctx, g.Repo(g.s.Repo, "contents")+"/"+escapePath(g.s.Dockerfile), url.Values{"ref": {g.s.Branch}}, &response)
	switch {
	case forgeapi.IsNotFound(err):
		return nil, g.missing(ctx)
	case err != nil && forgeapi.As(err) != nil && forgeapi.As(err).TooLarge: // the response holds the whole file
		return nil, errTooLarge
	case err != nil:
		return nil, explain(err)
	}
	if len(response) > 0 && response[0] == '[' {
		return nil, errFolder
	}
	var content giteaContent
	if json.Unmarshal(response, &content) != nil {
		return nil, g.Unexpected("")
	}
	file := &File{Path: shown(g.s), Commit: content.LastCommit}
	if file.Content, err = g.decode(&content); err != nil {
		return nil, err
	}
	if known.Commit != "" && digestOf(file.Content) == known.Digest {
		file.Commit = known.Commit
	}
	return file, nil
}

func (g *gitea) decode(content *giteaContent) ([]byte, error) {
	switch {
	case content.Type == "dir":
		return nil, errFolder
	case content.Type == "symlink":
		return nil, linkTo(content.Target)
	case content.Type == "submodule":
		return nil, errSubmodule
	case content.Size > MaxFileBytes:
		return nil, tooLarge(content.Size)
	case content.Type != "file" || content.Encoding != "base64" || content.Content == nil || !isCommit(content.LastCommit):
		return nil, g.Unexpected("not a file")
	}
	return decode(g.Endpoint, *content.Content, content.Size)
}

// missing finds out which part of the place does not exist, after a file was not found.
func (g *gitea) missing(ctx context.Context) error {
	var repo struct {
		FullName string `json:"full_name"`
	}
	err := g.Get(ctx, g.Repo(g.s.Repo), nil, &repo)
	switch {
	case forgeapi.IsNotFound(err):
		return noRepository(g.s, g.Hint())
	case err != nil:
		return explain(err)
	case repo.FullName == "":
		return g.Unexpected("")
	}
	var branch struct {
		Name string `json:"name"`
	}
	err = g.Get(ctx, g.Repo(g.s.Repo, "branches")+"/"+escapePath(g.s.Branch), nil, &branch)
	switch {
	case forgeapi.IsNotFound(err):
		return noBranch(g.s)
	case err != nil:
		return explain(err)
	case branch.Name == "":
		return g.Unexpected("")
	}
	return errNotThere
}
