package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	"github.com/go-git/go-git/v5/storage/memory"
)

// lazy is a store without the contents of files, which it fetches when they are read.
type lazy struct {
	*memory.Storage
	fetch func(file plumbing.Hash) (plumbing.EncodedObject, error)

	mu    sync.Mutex
	files map[plumbing.Hash]fetched
}

type fetched struct {
	file plumbing.EncodedObject
	err  error
}

// EncodedObject implements storer.EncodedObjectStorer.
func (l *lazy) EncodedObject(t plumbing.ObjectType, hash plumbing.Hash) (plumbing.EncodedObject, error) {
	found, err := l.Storage.EncodedObject(t, hash)
	if t != plumbing.BlobObject || !errors.Is(err, plumbing.ErrObjectNotFound) {
		return found, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	f, known := l.files[hash]
	if !known {
		f.file, f.err = l.fetch(hash)
		if l.files == nil {
			l.files = map[plumbing.Hash]fetched{}
		}
		l.files[hash] = f
	}
	return f.file, f.err
}

// EncodedObjectSize implements storer.EncodedObjectStorer.
func (l *lazy) EncodedObjectSize(hash plumbing.Hash) (int64, error) {
	o, err := l.EncodedObject(plumbing.BlobObject, hash)
	if err != nil {
		return 0, err
	}
	return o.Size(), nil
}

// lazily returns a tree that fetches contents when they are read, if they were left out.
func (r *Repo) lazily(ctx context.Context, t Tree) Tree {
	if at, ok := t.FS.(*treeFS); ok && r.single != nil {
		at.objects = &lazy{Storage: r.objects, fetch: func(file plumbing.Hash) (plumbing.EncodedObject, error) {
			return r.fetchFile(ctx, file, plumbing.NewHash(t.Commit))
		}}
	}
	return t
}

// fetchFile fetches one file of a commit, or all of them if the server does not serve single files after all.
func (r *Repo) fetchFile(ctx context.Context, file, commit plumbing.Hash) (plumbing.EncodedObject, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.single != nil {
		o, err := r.fetchSingle(ctx, file)
		if again := (*retry)(nil); err == nil || errors.Is(err, plumbing.ErrObjectNotFound) || errors.As(err, &again) || ctx.Err() != nil {
			return o, r.explain(err)
		}
		single, objects := r.single, r.objects
		r.opts.Lazy, r.single, r.objects = false, nil, memory.NewStorage()
		_, err = r.fetch(ctx, plumbing.ZeroHash, func(*packp.AdvRefs) (plumbing.Hash, error) { return commit, nil })
		if err != nil {
			r.opts.Lazy, r.single, r.objects = true, single, objects
			return nil, r.explain(err)
		}
	}
	return r.objects.EncodedObject(plumbing.BlobObject, file)
}

// fetchSingle fetches one file, with retries.
func (r *Repo) fetchSingle(ctx context.Context, file plumbing.Hash) (plumbing.EncodedObject, error) {
	left := r.opts.Deadline
	for troubles := 1; ; troubles++ {
		o, err := r.trySingle(ctx, file)
		var again *retry
		if !errors.As(err, &again) || troubles >= r.opts.MaxFailures {
			return o, err
		}
		wait := max(again.after, failureWait<<(troubles-1))
		if left -= wait; left <= 0 || r.opts.Sleep(ctx, wait) != nil {
			return nil, err
		}
	}
}

// trySingle fetches one file. The error is a *retry if it is temporary.
func (r *Repo) trySingle(ctx context.Context, file plumbing.Hash) (plumbing.EncodedObject, error) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	auth, err := r.auth(ctx)
	if err != nil {
		return nil, err
	}
	session, err := r.client.NewUploadPackSession(r.at(), auth)
	if err != nil {
		return nil, err
	}
	defer session.Close()
	req := packp.NewUploadPackRequestFromCapabilities(r.single)
	req.Wants = []plumbing.Hash{file}
	most := r.opts.MaxFetch
	if r.opts.MaxBlob > 0 {
		most = int64(r.opts.MaxBlob)
	}
	arrived, err := receive(ctx, session, req, most)
	if errors.Is(err, errTooLarge) {
		return nil, plumbing.ErrObjectNotFound // as for large files that were left out
	}
	answer, broken := (*githttp.Err)(nil), (*url.Error)(nil)
	if unexpected := (*plumbing.UnexpectedError)(nil); errors.As(err, &unexpected) { // it unwraps to nothing
		err = unexpected.Err
	}
	if errors.As(err, &answer) || errors.As(err, &broken) {
		return nil, r.classify("fetching from", err)
	}
	if err != nil {
		return nil, fmt.Errorf("fetching from the server: %w", r.shown(err))
	}
	return arrived.EncodedObject(plumbing.BlobObject, file)
}
