// Package gitrepo reads and writes git repositories on servers, without git on this machine.
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

// Options say where a repository is and how it is written to.
type Options struct {
	URL    string // https, without credentials; http only for this machine
	Branch string
	Path   string // folder that may be written to; "." for all

	// Auth gives user name and password for a host; both empty for none.
	Auth func(ctx context.Context, host string) (user, password string, err error)
	// Now is the time of commits.
	Now func() time.Time
	// Sleep waits before the next try. Default: until the time is over, or ctx.
	Sleep func(context.Context, time.Duration) error
	// Deadline bounds the time that one Update spends on reading from and writing to the server, and on waiting in
	// between. Default 10 minutes.
	Deadline time.Duration
	// MaxBlob leaves files out of what is fetched that are larger, in bytes, where the server can do that. Zero fetches all.
	MaxBlob uint64
	// Lazy fetches the content of a file when it is read, where the server can give single files. It is for who reads a few
	// files of a large repository, and not for Update.
	Lazy bool
	// MaxFetch bounds the bytes of all files and folders of a commit, which are kept in memory. Default 256 MiB.
	MaxFetch int64
	// Transport sends requests. Default a [NewTransport] that skips no host: Update retries until Deadline.
	Transport *httpx.Transport
}

// NewTransport returns a transport for git servers. It hands on bodies while they arrive, and sends each request once: Update
// retries all of an exchange. Repositories that share one share what is known of a host that fails.
func NewTransport(o httpx.Options) *httpx.Transport {
	o.Stream, o.Attempts, o.Concurrency, o.MaxBody, o.PasswordsOnly = true, 1, -1, maxBody, true
	if o.Timeout == 0 {
		o.Timeout = headerTimeout
	}
	return httpx.New(o)
}

// Repo is a git repository on a server, of which one branch is read and written. It keeps what it fetched in memory, and
// needs no git on this machine. Methods may be called by many goroutines; they take turns.
type Repo struct {
	opts     Options
	endpoint *transport.Endpoint
	client   transport.Transport
	secrets  secrets

	mu      sync.Mutex
	objects *memory.Storage
	have    plumbing.Hash    // commit whose files are in objects
	single  *capability.List // of a server that gives single files, when those were left out
}

// Tree is what the branch holds at a commit.
type Tree struct {
	Commit string // empty when there is no such branch yet
	FS     fs.FS  // links are not followed
}

// Change is what a commit is to change.
type Change struct {
	Files   map[string][]byte // path in the repository to content; nil removes the file
	Message string
}

// Result is what became of an Update.
type Result struct {
	Commit   string // that was pushed; empty when there was nothing to push
	Pushed   bool
	Attempts int
}

const (
	headerTimeout   = 2 * time.Minute  // until the server begins to respond: it may run hooks first
	stepTimeout     = 5 * time.Minute  // of one exchange with the server
	farewell        = 20 * time.Second // for a push, once ctx is over: less than the 30 seconds that Kubernetes gives a pod to end
	defaultDeadline = 10 * time.Minute
	maxTroubles     = 6                      // in a row, of a server that fails; who else writes does not count
	troubleWait     = 250 * time.Millisecond // after the first of them, twice as long after each that follows
	maxBody         = 1 << 30
	defaultMaxFetch = 256 << 20
)

// Open checks the options. Nothing is asked yet.
func Open(_ context.Context, o Options) (*Repo, error) {
	o.URL = hostname.URL(o.URL)
	u, err := url.Parse(o.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("opening git repository: want its https URL, such as https://github.com/acme/images.git; ssh is not supported")
	case u.User != nil:
		return nil, fmt.Errorf("opening git repository: the URL of %s holds a credential: remove it, and give it as the documentation says", u.Host)
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("opening git repository: the URL of %s has a query or a fragment: remove it, and give a credential as the documentation says", u.Host)
	case u.Scheme == "http" && !hostname.IsLoopback(u.Host):
		return nil, fmt.Errorf("opening git repository: %s is not encrypted: use https", sanitize.URL(o.URL))
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

// String is the repository as people know it.
func (r *Repo) String() string { return r.opts.URL }

// Update changes the branch: do is given what it holds and says what to change, which is committed and pushed. When somebody
// else was faster, or the server failed, all of that is done again on what the branch holds then, until Deadline. A change
// that changes nothing makes no commit. Nothing is ever forced: the server takes the push only if the branch still holds
// what do was given. When ctx ends after do has returned, what it returned is still pushed.
func (r *Repo) Update(ctx context.Context, do func(context.Context, Tree) (Change, error)) (Result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	u := &update{Repo: r, do: do}
	var pause *backoff.ExponentialBackOff
	left := r.opts.Deadline
	for troubles := 0; ; {
		u.result.Attempts++
		u.doing = 0
		begin := time.Now()
		err := u.attempt(ctx)
		if pause == nil {
			pause = pauses(time.Since(begin))
		}
		left -= time.Since(begin) - u.doing
		var again *retry
		if err == nil || !errors.As(err, &again) {
			return u.result, r.explain(err)
		}
		troubles++
		if again.conflict {
			troubles = 0
		}
		if troubles >= maxTroubles {
			return Result{Attempts: u.result.Attempts}, r.explain(again)
		}
		wait := pause.NextBackOff()
		if !again.conflict {
			wait += max(again.after, troubleWait<<(troubles-1))
		}
		if left -= wait; left <= 0 {
			again.err = fmt.Errorf("gave up after %d tries, since there are no more than %s for it: %w", u.result.Attempts, r.opts.Deadline, again.err)
			return Result{Attempts: u.result.Attempts}, r.explain(again)
		}
		if r.opts.Sleep(ctx, wait) != nil {
			return Result{Attempts: u.result.Attempts}, r.explain(err)
		}
	}
}

// pauses are the waits of who has lost, given how long a try takes: random, and growing with each loss, so that those who
// write at once come one by one.
func pauses(try time.Duration) *backoff.ExponentialBackOff {
	try = max(try, 50*time.Millisecond)
	p := &backoff.ExponentialBackOff{InitialInterval: try, RandomizationFactor: 1, Multiplier: 1.5, MaxInterval: 20 * try}
	p.Reset()
	return p
}

// View returns what the branch holds, without changing anything.
func (r *Repo) View(ctx context.Context) (tree Tree, err error) {
	_, err = r.Update(ctx, func(_ context.Context, t Tree) (Change, error) {
		tree = t
		return Change{}, nil
	})
	return r.lazily(ctx, tree), err
}

// update is one Update.
type update struct {
	*Repo
	do     func(context.Context, Tree) (Change, error)
	doing  time.Duration // how long do took in this try
	unsure plumbing.Hash // a commit that was pushed without an answer
	result Result
}

// retry is an error after which it is worth to try again.
type retry struct {
	err      error
	conflict bool          // somebody else was faster
	after    time.Duration // that the server asks to wait
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
	// What was learnt is kept, even when whoever started this wants to stop now.
	pushing, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(farewell, cancel) })()
	err = u.push(pushing, tip, commit, fresh)
	if err == nil {
		u.have = commit
		u.result.Commit, u.result.Pushed = commit.String(), true
		return nil
	}
	u.unsure = commit
	return err
}

// contains reports whether a commit is the tip, or behind it in what was fetched.
func (r *Repo) contains(tip, commit plumbing.Hash) bool {
	for at := tip; !at.IsZero(); {
		if at == commit {
			return true
		}
		c, err := object.GetCommit(r.objects, at)
		if err != nil || len(c.ParentHashes) == 0 { // where the fetched history begins
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

// commit makes a commit of a change, and returns it with the objects that are new. It is zero when nothing changes.
func (r *Repo) commit(parent plumbing.Hash, change Change) (plumbing.Hash, []plumbing.Hash, error) {
	for p := range change.Files {
		if !fs.ValidPath(p) || isGit(p) || r.opts.Path != "." && !strings.HasPrefix(p, r.opts.Path+"/") {
			return plumbing.ZeroHash, nil, fmt.Errorf("writing %q: it is not below %q", p, r.opts.Path)
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
	// Two writers that change the same in the same second must not make the same commit: each would take the other's for
	// its own.
	message := strings.TrimRight(change.Message, "\n") + "\n\nImagefactory-Run: " + rand.Text() + "\n"
	author := object.Signature{Name: "imagefactory", Email: "imagefactory@users.noreply.invalid", When: r.opts.Now().UTC()}
	hash, err := e.store(&object.Commit{Author: author, Committer: author, Message: message, TreeHash: tree, ParentHashes: parents})
	return hash, e.fresh, err
}

// FS returns the files of another branch, or of a tag. It is for what Update calls.
func (r *Repo) FS(ctx context.Context, ref string) (fs.FS, error) {
	hash, err := r.fetchRef(ctx, ref)
	if err != nil {
		return nil, r.explain(err)
	}
	t, err := r.treeOf(hash)
	return t.FS, err
}

// Close forgets what was fetched.
func (r *Repo) Close() error {
	r.objects = memory.NewStorage()
	return nil
}

// isGit reports whether a path has a component that git would take for its own (git-check-ref-format has nothing on it;
// verify_path of git refuses these in any spelling).
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
