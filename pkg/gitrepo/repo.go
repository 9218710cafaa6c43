// Package gitrepo reads and writes git repositories on servers. It needs no git binary.
package gitrepo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	"github.com/go-git/go-git/v5/storage/memory"

	"github.com/imagefactory/imagefactory/pkg/internal/hostname"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/internal/neterr"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

// Options configure a Repo.
type Options struct {
	URL    string // https, without credentials; http only for this machine
	Branch string
	Path   string // folder that may be written to; "." for all

	// Auth gives user name and password for a host; both empty for none.
	Auth func(ctx context.Context, host string) (user, password string, err error)
	// Now is the time of commits.
	Now func() time.Time
	// Sleep waits before the next attempt. For tests.
	Sleep func(context.Context, time.Duration) error
	// Deadline bounds the time that one Update spends on requests and on waiting between them. Default 10 minutes.
	Deadline time.Duration
	// MaxFailures is how often in a row the server may fail before Update gives up; lost races do not count. Default 6.
	MaxFailures int
	// MaxBlob leaves out files with more bytes, if the server supports that. Zero fetches all.
	MaxBlob uint64
	// Lazy fetches the content of a file when it is read, if the server supports that. It suits reading a few files of a large
	// repository, but not Update.
	Lazy bool
	// MaxFetch bounds the total size of a commit's files and trees, which are kept in memory. Default 256 MiB.
	MaxFetch int64
	// Transport sends requests. Default a [NewTransport] that skips no host: Update retries until Deadline.
	Transport *httpx.Transport
}

// NewTransport returns a transport for git servers. It hands on bodies while they arrive, and sends each request once: Update
// retries all of an exchange. Repositories that share one share the breaker for hosts that do not respond in time; other
// failures may be those of one repository.
func NewTransport(o httpx.Options) *httpx.Transport {
	o.Stream, o.Concurrency, o.MaxBody, o.PasswordsOnly = true, -1, maxBody, true
	if o.Timeout == 0 {
		o.Timeout = headerTimeout
	}
	return httpx.New(o).OneShot()
}

// Repo is one branch of a git repository on a server. It keeps fetched objects in memory. It may be used by many goroutines;
// their calls are serialized.
type Repo struct {
	opts     Options
	endpoint *transport.Endpoint
	client   transport.Transport
	secrets  secrets

	mu      sync.Mutex
	objects *memory.Storage
	have    plumbing.Hash    // the commit in objects
	single  *capability.List // of a server that serves single files, if contents were left out
}

// Tree is the content of a commit.
type Tree struct {
	Commit string // empty if the branch does not exist
	FS     fs.FS  // does not follow symlinks
}

// Change is the content of a new commit.
type Change struct {
	Files   map[string][]byte // path in the repository to content; nil removes the file
	Message string
}

// Push is what an Update pushed.
type Push struct {
	Commit   string // the pushed commit; empty if nothing changed
	Pushed   bool
	Attempts int
}

const (
	headerTimeout   = 2 * time.Minute  // until the server begins to respond: it may run hooks first
	stepTimeout     = 5 * time.Minute  // of one exchange with the server
	pushGrace       = 20 * time.Second // for a push after ctx ended: less than the 30 seconds that Kubernetes grants a pod
	defaultDeadline = 10 * time.Minute
	maxFailures     = 6
	failureWait     = 250 * time.Millisecond // after the first failure, doubling
	maxBody         = 1 << 30
	defaultMaxFetch = 256 << 20
)

// Open checks the options. It sends no request.
func Open(_ context.Context, o Options) (*Repo, error) {
	o.URL = hostname.URL(o.URL)
	u, err := url.Parse(o.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("opening git repository: want its https URL, such as https://github.com/acme/images.git; ssh is not supported")
	case u.User != nil:
		return nil, fmt.Errorf("opening git repository: the URL of %s holds a credential (remove it; docs/install.md explains how to set one)", u.Host)
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("opening git repository: the URL of %s has a query or a fragment (remove it; docs/install.md explains how to set a credential)", u.Host)
	case u.Scheme == "http" && !hostname.IsLoopback(u.Host):
		return nil, fmt.Errorf("opening git repository: refusing unencrypted %s (use https)", sanitize.URL(o.URL))
	}
	if !fs.ValidPath(o.Path) || isGit(o.Path) {
		return nil, fmt.Errorf("opening git repository: invalid path %q: want a folder below its root", o.Path)
	}
	if plumbing.NewBranchReferenceName(o.Branch).Validate() != nil || o.Branch == "HEAD" || strings.HasPrefix(o.Branch, "refs/") {
		return nil, fmt.Errorf("opening git repository: invalid branch %q", o.Branch)
	}
	endpoint, err := transport.NewEndpoint(o.URL)
	if err != nil {
		return nil, fmt.Errorf("opening git repository: %w", neterr.Clean(err))
	}
	if o.Deadline == 0 {
		o.Deadline = defaultDeadline
	}
	if o.MaxFailures == 0 {
		o.MaxFailures = maxFailures
	}
	if o.MaxFetch == 0 {
		o.MaxFetch = defaultMaxFetch
	}
	if o.Sleep == nil {
		o.Sleep = httpx.Sleep
	}
	if o.Transport == nil {
		o.Transport = NewTransport(httpx.Options{MaxFailures: -1})
	}
	return &Repo{
		opts: o, endpoint: endpoint, objects: memory.NewStorage(),
		client: githttp.NewClient(&http.Client{Transport: o.Transport}),
	}, nil
}

// String returns the URL of the repository.
func (r *Repo) String() string { return r.opts.URL }

// Update changes the branch: do receives its content and returns a change, which Update commits and pushes. If the push loses a
// race, or the server fails, Update repeats all of that with the new content, until Deadline. A change without an effect
// makes no commit. Nothing is forced: the push succeeds only if the branch still has the content that do received. If ctx
// ends after do has returned, Update still pushes.
func (r *Repo) Update(ctx context.Context, do func(context.Context, Tree) (Change, error)) (Push, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	u := &update{Repo: r, do: do}
	var pause *backoff.ExponentialBackOff
	left := r.opts.Deadline
	for failures := 0; ; {
		u.result.Attempts++
		u.doing = 0
		begin := time.Now()
		err := u.attempt(ctx)
		if pause == nil {
			pause = newBackoff(time.Since(begin))
		}
		left -= time.Since(begin) - u.doing
		var again *retry
		if err == nil || !errors.As(err, &again) {
			return u.result, r.explain(err)
		}
		failures++
		if again.conflict {
			failures = 0
		}
		if failures >= r.opts.MaxFailures {
			return Push{Attempts: u.result.Attempts}, r.explain(again)
		}
		wait := pause.NextBackOff()
		if !again.conflict {
			wait += max(again.after, failureWait<<(failures-1))
		}
		if left -= wait; left <= 0 {
			again.err = fmt.Errorf("gave up after %d attempts within %s: %w", u.result.Attempts, r.opts.Deadline, again.err)
			return Push{Attempts: u.result.Attempts}, r.explain(again)
		}
		if r.opts.Sleep(ctx, wait) != nil {
			return Push{Attempts: u.result.Attempts}, r.explain(err)
		}
	}
}

// newBackoff returns the backoff after a lost push race, scaled to the duration of one attempt: jittered and growing, so that
// concurrent writers spread out.
func newBackoff(attempt time.Duration) *backoff.ExponentialBackOff {
	attempt = max(attempt, 50*time.Millisecond)
	p := &backoff.ExponentialBackOff{InitialInterval: attempt, RandomizationFactor: 1, Multiplier: 1.5, MaxInterval: 20 * attempt}
	p.Reset()
	return p
}

// View returns the content of the branch.
func (r *Repo) View(ctx context.Context) (tree Tree, err error) {
	_, err = r.Update(ctx, func(_ context.Context, t Tree) (Change, error) {
		tree = t
		return Change{}, nil
	})
	return r.lazily(ctx, tree), err
}

// update is the state of one Update.
type update struct {
	*Repo
	do     func(context.Context, Tree) (Change, error)
	doing  time.Duration // duration of do in this attempt
	unsure plumbing.Hash // a commit whose push had no response
	result Push
}

// retry is an error after which another attempt can succeed.
type retry struct {
	err      error
	conflict bool          // another writer pushed first
	after    time.Duration // Retry-After
}

func (r *retry) Error() string { return r.err.Error() }

func (r *retry) Unwrap() error { return r.err }

func (u *update) attempt(ctx context.Context) error {
	tip, err := u.fetchBranch(ctx)
	if err != nil {
		return err
	}
	if !u.unsure.IsZero() && u.contains(tip, u.unsure) {
		u.result.Commit, u.result.Pushed = u.unsure.String(), true
		return nil
	}
	tree, err := u.treeOf(tip)
	if err != nil {
		return err
	}
	begin := time.Now()
	change, err := u.do(ctx, tree)
	u.doing = time.Since(begin)
	if err != nil || len(change.Files) == 0 {
		return err
	}
	commit, fresh, err := u.commit(tip, change)
	if err != nil || commit.IsZero() {
		return err
	}
	// The change is pushed even if ctx ends now.
	pushing, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(pushGrace, cancel) })()
	err = u.push(pushing, tip, commit, fresh)
	if err == nil {
		u.have = commit
		u.result.Commit, u.result.Pushed = commit.String(), true
		return nil
	}
	u.unsure = commit
	return err
}

// contains reports whether a commit is the tip or one of its fetched ancestors.
func (r *Repo) contains(tip, commit plumbing.Hash) bool {
	for at := tip; !at.IsZero(); {
		if at == commit {
			return true
		}
		c, err := object.GetCommit(r.objects, at)
		if err != nil || len(c.ParentHashes) == 0 { // the first fetched commit
			return false
		}
		at = c.ParentHashes[0]
	}
	return false
}

func (r *Repo) treeOf(commit plumbing.Hash) (Tree, error) {
	if commit.IsZero() {
		return Tree{FS: newFS(r.objects, plumbing.ZeroHash)}, nil
	}
	c, err := object.GetCommit(r.objects, commit)
	if err != nil {
		return Tree{}, fmt.Errorf("reading commit %s: %w", commit, err)
	}
	return Tree{Commit: commit.String(), FS: newFS(r.objects, c.TreeHash)}, nil
}

// commit creates a commit and returns it with the new objects; zero if nothing changes.
func (r *Repo) commit(parent plumbing.Hash, change Change) (plumbing.Hash, []plumbing.Hash, error) {
	for p := range change.Files {
		if !fs.ValidPath(p) || isGit(p) || r.opts.Path != "." && !strings.HasPrefix(p, r.opts.Path+"/") {
			return plumbing.ZeroHash, nil, fmt.Errorf("writing %q: not below %q", p, r.opts.Path)
		}
	}
	root, parents := plumbing.ZeroHash, []plumbing.Hash(nil)
	if !parent.IsZero() {
		c, err := object.GetCommit(r.objects, parent)
		if err != nil {
			return plumbing.ZeroHash, nil, fmt.Errorf("reading commit %s: %w", parent, err)
		}
		root, parents = c.TreeHash, []plumbing.Hash{parent}
	}
	e := &editor{objects: r.objects}
	tree, err := e.edit(root, "", change.Files)
	if err != nil || tree == root {
		return plumbing.ZeroHash, nil, err
	}
	// The random line keeps two writers that make the same change in the same second from creating the same commit: each
	// would mistake the other's for its own.
	message := strings.TrimRight(change.Message, "\n") + "\n\nImagefactory-Run: " + rand.Text() + "\n"
	author := object.Signature{Name: "imagefactory", Email: "imagefactory@users.noreply.invalid", When: r.opts.Now().UTC()}
	hash, err := e.store(&object.Commit{Author: author, Committer: author, Message: message, TreeHash: tree, ParentHashes: parents})
	return hash, e.fresh, err
}

// FS returns the files of another branch, or of a tag. Only the function passed to Update may call it.
func (r *Repo) FS(ctx context.Context, ref string) (fs.FS, error) {
	hash, err := r.fetchRef(ctx, ref)
	if err != nil {
		return nil, r.explain(err)
	}
	t, err := r.treeOf(hash)
	return t.FS, err
}

// Close drops the fetched objects.
func (r *Repo) Close() error {
	r.objects = memory.NewStorage()
	return nil
}

// isGit reports whether a path has a component .git, in any spelling that git's verify_path refuses.
func isGit(p string) bool {
	return slices.ContainsFunc(strings.Split(p, "/"), func(s string) bool { return strings.EqualFold(strings.TrimRight(s, ". "), ".git") })
}

// folders groups paths by their first component: files of the folder itself, and paths below each of its folders.
func folders(files map[string][]byte) (here []string, below map[string]map[string][]byte) {
	below = map[string]map[string][]byte{}
	for _, p := range slices.Sorted(maps.Keys(files)) {
		first, rest, deeper := strings.Cut(p, "/")
		if !deeper {
			here = append(here, p)
			continue
		}
		if below[first] == nil {
			below[first] = map[string][]byte{}
		}
		below[first][rest] = files[p]
	}
	return here, below
}
