package source

import (
	"bytes"
	"context"
	"net/http"
	"path"
	"strings"

	gitlab "gitlab.com/gitlab-org/api/client-go/v2"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
)

// gitLab is a project at GitLab.
type gitLab struct {
	*forgeapi.GitLab
	s     *config.Source
	cache cache
}

// gitLab reads a file with the repository files API: https://docs.gitlab.com/api/repository_files/. If the previous content
// is in the cache, it only reads the digest.
func (f *Forges) gitLab(ctx context.Context, s *config.Source, known Known) (*File, error) {
	api, err := f.api.GitLab(ctx, s, needsContents)
	if err != nil {
		return nil, err
	}
	return (&gitLab{api, s, f.cache}).read(ctx, known)
}

func (g *gitLab) read(ctx context.Context, known Known) (*File, error) {
	if cached := g.cache.content(known.Digest); cached != nil {
		switch meta, err := g.metadata(ctx); {
		case err != nil:
			return nil, err
		case "sha256:"+meta.SHA256 == known.Digest:
			return &File{Path: shown(g.s), Content: cached, Commit: known.Commit}, nil
		case meta.Size > MaxFileBytes:
			return nil, tooLarge(meta.Size)
		}
	}
	body, _, err := g.RepositoryFiles.GetFile(g.s.Repo, g.s.Dockerfile, &gitlab.GetFileOptions{Ref: &g.s.Branch}, gitlab.WithContext(ctx))
	switch err = g.Error(err); {
	case forgeapi.IsNotFound(err):
		return nil, g.missing(ctx)
	case err != nil:
		return nil, g.explainSize(ctx, explain(err))
	}
	file, err := g.decode(body)
	if err != nil {
		return nil, err
	}
	if digestOf(file.Content) == known.Digest && known.Commit != "" {
		file.Commit = known.Commit
	} else if err := g.checkLink(ctx, file); err != nil {
		return nil, err
	}
	g.cache.keep("", "", file.Content)
	return file, nil
}

// metadata reads digest and size of the file. Both are empty if the server does not return them: reading the file then shows
// why.
func (g *gitLab) metadata(ctx context.Context) (gitlab.File, error) {
	file, resp, err := g.RepositoryFiles.GetFileMetaData(g.s.Repo, g.s.Dockerfile, &gitlab.GetFileMetaDataOptions{Ref: &g.s.Branch}, gitlab.WithContext(ctx))
	e := forgeapi.As(err)
	switch {
	case err == nil && file != nil:
		return *file, nil
	case resp != nil, e != nil && !e.Limited && !e.Temporary() && e.Status != http.StatusUnauthorized:
		return gitlab.File{}, nil
	}
	return gitlab.File{}, explain(g.Error(err))
}

// explainSize returns a better error if the size of the file is why it could not be read: the response holds the whole file.
func (g *gitLab) explainSize(ctx context.Context, failed error) error {
	if e := forgeapi.As(failed); e == nil || !e.TooLarge {
		return failed
	}
	if meta, err := g.metadata(ctx); err == nil && meta.Size > MaxFileBytes {
		return tooLarge(meta.Size)
	}
	return failed
}

func (g *gitLab) decode(body *gitlab.File) (*File, error) {
	if body == nil {
		return nil, g.Unexpected("")
	}
	if body.Size > MaxFileBytes {
		return nil, tooLarge(body.Size)
	}
	content, err := decode(g.Endpoint, body.Content, body.Size)
	if err != nil {
		return nil, err
	}
	if digestOf(content) != "sha256:"+body.SHA256 || !isCommit(body.LastCommitID) {
		return nil, g.Unexpected("the digest does not match the content")
	}
	return &File{Path: shown(g.s), Content: content, Commit: body.LastCommitID}, nil
}

// missing finds out which part of the place does not exist, after a file was not found.
func (g *gitLab) missing(ctx context.Context) error {
	project, _, err := g.Projects.GetProject(g.s.Repo, nil, gitlab.WithContext(ctx))
	switch err = g.Error(err); {
	case forgeapi.IsNotFound(err):
		return noRepository(g.s, g.Hint())
	case err != nil:
		return explain(err)
	case project == nil || project.PathWithNamespace == "":
		return g.Unexpected("")
	}
	branch, _, err := g.Branches.GetBranch(g.s.Repo, g.s.Branch, gitlab.WithContext(ctx))
	switch err = g.Error(err); {
	case forgeapi.IsNotFound(err):
		return noBranch(g.s)
	case err != nil:
		return explain(err)
	case branch == nil || branch.Name == "":
		return g.Unexpected("")
	}
	return errNotThere
}

// checkLink returns an error if a new file is a symbolic link, whose content in the API is its target. A link has a single
// line, which hardly any Dockerfile has, so this rarely costs a request. A link in a folder with more than 100 entries may be
// missed; then BuildKit's parser refuses the path that is its content.
func (g *gitLab) checkLink(ctx context.Context, file *File) error {
	const longestPath = 4096
	if len(file.Content) == 0 || len(file.Content) > longestPath || bytes.ContainsAny(file.Content, "\n\x00") {
		return nil
	}
	folder, name := path.Split(g.s.Dockerfile) // "" is the root
	entries, _, err := g.Repositories.ListTree(g.s.Repo, &gitlab.ListTreeOptions{
		Path: gitlab.Ptr(strings.TrimSuffix(folder, "/")), Ref: &g.s.Branch, ListOptions: gitlab.ListOptions{PerPage: 100},
	}, gitlab.WithContext(ctx))
	if err != nil {
		return explain(g.Error(err))
	}
	for _, e := range entries {
		if e != nil && e.Name == name && e.Mode == "120000" {
			return linkTo(string(file.Content))
		}
	}
	return nil
}
