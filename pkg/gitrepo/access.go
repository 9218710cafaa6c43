package gitrepo

import (
	"context"
	"errors"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"
)

// Access is the access of a credential to a repository.
type Access struct {
	Branch bool  // the branch exists
	Write  error // why a push would be refused, if the server reports it before a push
}

// Access checks read and write access without fetching or pushing. It returns an error if the repository cannot be read. Branch protection rules only show on push.
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
	out.Write = r.explain(r.classify("writing to", err))
	return out, nil
}

// Tip returns the commit of the branch, without retries; empty if there is no such branch.
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
		return "", r.explain(r.classify("reading from", err))
	}
	tip := refs.References[plumbing.NewBranchReferenceName(r.opts.Branch).String()]
	if tip.IsZero() {
		return "", nil
	}
	return tip.String(), nil
}

// advertised returns the references of the server; none for an empty repository.
func advertised(ctx context.Context, s transport.Session) (*packp.AdvRefs, error) {
	defer s.Close()
	refs, err := s.AdvertisedReferencesContext(ctx)
	if errors.Is(err, transport.ErrEmptyRemoteRepository) {
		return packp.NewAdvRefs(), nil
	}
	return refs, err
}
