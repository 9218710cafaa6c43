package gitrepo

import (
	"errors"
	"fmt"
	"io"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// OpenLocal returns the content of a branch of a local repository: a bare one, a checkout, or a linked worktree.
func OpenLocal(path, branch string) (Tree, error) {
	repo, err := git.PlainOpenWithOptions(path, &git.PlainOpenOptions{EnableDotGitCommonDir: true})
	if err != nil {
		return Tree{}, fmt.Errorf("opening git repository %q: %w", path, err)
	}
	ref, err := repo.Reference(plumbing.NewBranchReferenceName(branch), true)
	if errors.Is(err, plumbing.ErrReferenceNotFound) {
		return Tree{FS: newFS(repo.Storer, plumbing.ZeroHash)}, nil
	}
	if err != nil {
		return Tree{}, fmt.Errorf("git repository %q: branch %q: %w", path, branch, err)
	}
	commit, err := object.GetCommit(repo.Storer, ref.Hash())
	if err != nil {
		return Tree{}, fmt.Errorf("git repository %q: commit %s: %w", path, ref.Hash(), err)
	}
	return Tree{Commit: commit.Hash.String(), FS: newFS(repo.Storer, commit.TreeHash)}, nil
}

// OpenRevision returns the content of a revision of a local repository: a branch, a tag, a commit, origin/main or HEAD~1.
func OpenRevision(path, revision string) (Tree, error) {
	repo, err := git.PlainOpenWithOptions(path, &git.PlainOpenOptions{EnableDotGitCommonDir: true})
	if err != nil {
		return Tree{}, fmt.Errorf("opening git repository %q: %w", path, err)
	}
	hash, err := repo.ResolveRevision(plumbing.Revision(revision))
	if errors.Is(err, io.EOF) { // go-git ran out of parents
		err = errors.New("it is before the first commit of this checkout")
	}
	if err != nil {
		return Tree{}, fmt.Errorf("unknown git revision %q: %w", revision, err)
	}
	commit, err := object.GetCommit(repo.Storer, *hash)
	if err != nil {
		return Tree{}, fmt.Errorf("git revision %q: %w", revision, err)
	}
	return Tree{Commit: commit.Hash.String(), FS: newFS(repo.Storer, commit.TreeHash)}, nil
}
