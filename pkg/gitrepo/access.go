package gitrepo

import (
	"context"
	"errors"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"
)

// Access is what a credential may do with a repository.
type Access struct {
	Branch bool  // the branch exists
	Write  error // why nothing can be pushed, as far as the server says that before a push
}

// Access asks whether the repository can be read and written to, without fetching or pushing anything. The error says why
// it cannot be read. Branch protection rules only show on push.
func (r *Repo) Access(ctx context.Context) (Access, error) {
	var out Access
	tip, err := r.Tip(ctx)
	if err != nil {
		return out, err
	}
	out.Branch = tip != ""
	auth, err := r.auth(ctx)
	if err != nil {
		return out, err
	}
	writing, err := r.client.NewReceivePackSession(r.at(), auth)
	if err != nil {
		return out, err
	}
	_, err = advertised(ctx, writing)
	out.Write = r.explain(r.trouble("writing to", err))
	return out, nil
}

// Tip asks for the commit that the branch holds, once; empty when there is no such branch. The error says why it cannot be
// read.
func (r *Repo) Tip(ctx context.Context) (string, error) {
	auth, err := r.auth(ctx)
	if err != nil {
		return "", err
	}
	session, err := r.client.NewUploadPackSession(r.at(), auth)
	if err != nil {
		return "", err
	}
	refs, err := advertised(ctx, session)
	if err != nil {
		return "", r.explain(r.trouble("reading from", err))
	}
	tip := refs.References[plumbing.NewBranchReferenceName(r.opts.Branch).String()]
	if tip.IsZero() {
		return "", nil
	}
	return tip.String(), nil
}

// advertised reads what the server has. An empty repository has nothing.
func advertised(ctx context.Context, s transport.Session) (*packp.AdvRefs, error) {
	defer s.Close()
	refs, err := s.AdvertisedReferencesContext(ctx)
	if errors.Is(err, transport.ErrEmptyRemoteRepository) {
		return packp.NewAdvRefs(), nil
	}
	return refs, err
}
