package propose

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/forge"
)

// FileChange is new content of one file, proposed by a request.
type FileChange struct {
	Into        string // branch
	From        string // branch of the request
	Path        string
	Change      func(text []byte) ([]byte, error) // returns the new content; the same content proposes nothing
	Title, Body string
}

// fileMark is in the text of a request for a file, with the hash of the content.
const fileMark = "<!-- imagefactory:content "

// File opens a request that changes a file, or brings the open one up to date. Commits of others on its branch are left alone, and a
// request that somebody has closed is not opened again for the same content.
func File(ctx context.Context, repo forge.Repository, f FileChange) (Result, error) {
	result := Result{Branch: f.Into, Action: Nothing}
	base, err := repo.Head(ctx, f.Into)
	if err != nil {
		return result, fmt.Errorf("reading branch %s: %w", f.Into, err)
	}
	if base == "" {
		return result, fmt.Errorf("no branch %q, or the token cannot see the repository", f.Into)
	}
	text, err := repo.ReadFile(ctx, f.Path, base)
	if err != nil {
		return result, fmt.Errorf("reading %s: %w", f.Path, err)
	}
	changed, err := f.Change(text)
	if err != nil || string(changed) == string(text) {
		return result, err
	}
	files := map[string][]byte{f.Path: changed}
	content := contentOf(files)
	open, rejected, err := fileRequests(ctx, repo, f, content)
	if err != nil {
		return result, err
	}
	head, err := repo.Head(ctx, f.From)
	if err != nil {
		return result, fmt.Errorf("reading branch %s: %w", f.From, err)
	}
	current, theirs, err := fileBranch(ctx, repo, f, base, head)
	switch {
	case err != nil:
		return result, err
	case open == nil && rejected:
		result.Action, result.Message = Rejected, "the request for these entries was closed by somebody; other entries get a new one"
		return result, nil
	case theirs:
		result.Action, result.Message = Left, "branch "+f.From+" has commits of somebody else; it is left to them (once it is merged, or closed and its branch deleted, new entries get a new request)"
		if open != nil {
			result.URL = open.URL
		}
		return result, nil
	}
	f.Body += "\n" + fileMark + content + markEnd + "\n"
	if current != content || open == nil {
		message := f.Title + "\n\n" + contentTrailer + content
		if _, err := repo.Commit(ctx, forge.Commit{Branch: f.From, Parent: base, Replace: head, Message: message, Files: files}); err != nil {
			return result, fmt.Errorf("committing to branch %s: %w", f.From, err)
		}
	}
	return f.request(ctx, repo, open, result, current == content)
}

// request opens or edits the request.
func (f *FileChange) request(ctx context.Context, repo forge.Repository, open *forge.Request, result Result, kept bool) (Result, error) {
	if open == nil {
		r, err := repo.Open(ctx, forge.NewRequest{From: f.From, Into: f.Into, Title: f.Title, Body: f.Body})
		var incomplete *forge.IncompleteError
		if errors.As(err, &incomplete) {
			result.Problems, err = append(result.Problems, incomplete.Error()), nil
		}
		if err != nil {
			return result, fmt.Errorf("opening the request: %w", err)
		}
		result.Action, result.URL = Opened, r.URL
		return result, nil
	}
	result.URL = open.URL
	if result.Action = Kept; kept {
		return result, nil
	}
	result.Action = Updated
	if err := repo.Edit(ctx, open, f.Title, f.Body); err != nil {
		return result, fmt.Errorf("editing the request: %w", err)
	}
	return result, nil
}

// fileRequests returns the open request, and whether somebody has closed one with the same content.
func fileRequests(ctx context.Context, repo forge.Repository, f FileChange, content string) (open *forge.Request, rejected bool, err error) {
	requests, err := repo.Requests(ctx, f.From, f.Into)
	if err != nil {
		return nil, false, fmt.Errorf("listing requests: %w", err)
	}
	for i := range requests {
		r := &requests[i]
		switch {
		case r.State == forge.Open && open == nil:
			open = r
		case r.State == forge.Closed && strings.Contains(r.Body, fileMark+content+markEnd):
			rejected = true
		}
	}
	return open, rejected, nil
}

// fileBranch returns the hash of the content that the branch of the request has, and whether somebody else has changed it.
func fileBranch(ctx context.Context, repo forge.Repository, f FileChange, base, head string) (content string, theirs bool, err error) {
	if head == "" {
		return "", false, nil
	}
	c, err := repo.Compare(ctx, base, head)
	if err != nil {
		return "", false, fmt.Errorf("comparing branch %s: %w", f.From, err)
	}
	if len(c.Commits) == 0 {
		return "", false, nil
	}
	_, trailer, ok := strings.Cut(c.Commits[0].Message, contentTrailer)
	if len(c.Commits) > 1 || !ok {
		return "", true, nil
	}
	text, err := repo.ReadFile(ctx, f.Path, head)
	if errors.Is(err, forge.ErrNoFile) {
		return "", true, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("reading %s: %w", f.Path, err)
	}
	content = contentOf(map[string][]byte{f.Path: text})
	return content, content != strings.TrimSpace(trailer), nil
}
