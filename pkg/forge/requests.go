package forge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
)

// Repository is a repository at a forge whose files are changed by requests: pull requests or merge requests. An error says
// nothing about what exists, except [ErrNoFile].
type Repository interface {
	// Head returns the newest commit of a branch, or "" if the forge says that the branch does not exist. A repository that the
	// token cannot see can look the same.
	Head(ctx context.Context, branch string) (string, error)
	// ReadFile returns a file at a commit. Links are not followed.
	ReadFile(ctx context.Context, path, commit string) ([]byte, error)
	// Compare returns the commits that head has and base does not have, and the files that they change.
	Compare(ctx context.Context, base, head string) (*Comparison, error)
	// Commit makes a branch consist of one new commit on top of another and returns it. It signs the commit where the forge can. It
	// fails if the branch is not at Commit.Replace.
	Commit(ctx context.Context, c Commit) (string, error)
	// DeleteBranch deletes a branch if it is at a commit.
	DeleteBranch(ctx context.Context, branch, head string) error
	// Requests returns the newest requests to merge one branch into another, open or not, newest first.
	Requests(ctx context.Context, from, into string) ([]Request, error)
	// Open opens a request.
	Open(ctx context.Context, r NewRequest) (*Request, error)
	// Edit replaces the title and the text of a request.
	Edit(ctx context.Context, r *Request, title, body string) error
	// Comment adds a comment to a request.
	Comment(ctx context.Context, r *Request, text string) error
	// Close closes a request without merging it.
	Close(ctx context.Context, r *Request) error
	// Outdated reports whether an open request cannot be merged because its target branch has moved: it conflicts, or the rules of
	// the target branch require that it is up to date.
	Outdated(ctx context.Context, r *Request) (bool, error)
	// AutoMerge lets the forge merge a request when its rules permit that. It does nothing if the forge already does.
	AutoMerge(ctx context.Context, r *Request, method MergeMethod) error
}

// ErrNoFile means that a commit has no file with a path.
var ErrNoFile = errors.New("no such file")

// FileError means that a commit has a file with a path, and that it cannot be changed: it is a link or a folder, or too large.
type FileError struct{ reason string }

func (e *FileError) Error() string { return e.reason }

func notRegular(file string) error {
	return &FileError{file + " is not a regular file (name the file that a link points to)"}
}

func tooLarge(file string) error {
	return &FileError{fmt.Sprintf("%s is larger than %d bytes", file, MaxFile)}
}

// isTooLarge reports whether the response that holds a file is larger than the client reads.
func isTooLarge(err error) bool {
	e := forgeapi.As(err)
	return e != nil && e.TooLarge
}

// MaxFile is the size of the largest file that [Repository.ReadFile] returns.
const MaxFile = 1 << 20

// Comparison is how a commit differs from another that it may have branched off.
type Comparison struct {
	Base    string         // the newest commit that both have; "" at GitLab, which does not say
	Commits []BranchCommit // that only the head has, oldest first
	Files   []string       // that they change
}

// BranchCommit is a commit of a branch.
type BranchCommit struct{ SHA, Message string }

// Commit is a new commit on a branch of its own.
type Commit struct {
	Branch  string
	Next    string // a branch that is made and deleted again where the commit replaces another; default Branch and "-next"
	Parent  string // the commit below it
	Replace string // the commit that the branch is at now; "" if the branch does not exist
	Message string
	Files   map[string][]byte // new content of existing files, by path
}

func (c *Commit) next() string { return cmp.Or(c.Next, c.Branch+"-next") }

// NewRequest is a request to open.
type NewRequest struct {
	From, Into  string // branches
	Title, Body string
	Labels      []string
	Assignees   []string // user names
	Reviewers   []string // user names; at GitHub "org/team" for a team
}

// RequestState is the state of a request.
type RequestState string

// States of a request.
const (
	Open   RequestState = "open"
	Closed RequestState = "closed"
	Merged RequestState = "merged"
)

// Request is a pull request or a merge request.
type Request struct {
	Number    int64
	URL       string // "" if it is not safe to print
	State     RequestState
	Title     string
	Body      string
	Head      string // newest commit of its branch
	Opened    time.Time
	AutoMerge bool // the forge merges it when its rules permit that

	node string // GitHub: its ID for GraphQL
}

// MergeMethod is how a forge merges a request.
type MergeMethod string

// Merge methods.
const (
	MergeCommit MergeMethod = "merge"
	Squash      MergeMethod = "squash"
	Rebase      MergeMethod = "rebase"
)

// IncompleteError means that a request was opened, and not everything that was asked for could be set.
type IncompleteError struct{ Err error }

func (e *IncompleteError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *IncompleteError) Unwrap() error { return e.Err }

// repositories open the repository of a source at its forge.
var repositories = map[config.Provider]func(context.Context, *forgeapi.Clients, *config.Source) (Repository, *forgeapi.Endpoint, error){
	config.GitHub: openGitHubRepository,
	config.GitLab: openGitLabRepository,
	config.Gitea:  openGiteaRepository,
}

// Repository returns the repository of a source. It needs a token.
func (c *Client) Repository(ctx context.Context, src *config.Source) (Repository, error) {
	open := repositories[src.Provider]
	if open == nil {
		return nil, &RefusedError{fmt.Errorf("source.provider is %s, which has no requests", src.Provider)}
	}
	r, endpoint, err := open(ctx, c.o.API, src)
	if err != nil {
		return nil, err
	}
	return r, requireToken(endpoint)
}
