package gitrepo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	"github.com/go-git/go-git/v5/storage/memory"

	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/internal/neterr"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

// Permanent failures of an exchange with the server.
var (
	errNoAccess = errors.New("no access")
	errNoRepo   = errors.New("no such repository")
	errRefused  = errors.New("push refused")
	errSkipped  = errors.New("host unavailable")
)

// auth returns the authentication of a session.
func (r *Repo) auth(ctx context.Context) (transport.AuthMethod, error) {
	if r.opts.Auth == nil {
		return nil, nil
	}
	user, password, err := r.opts.Auth(ctx, hostOf(r.endpoint))
	if err != nil || password == "" {
		return nil, err
	}
	r.secrets.add(user+":"+password, password)
	return &githttp.BasicAuth{Username: user, Password: password}, nil
}

// secrets are the credentials sent, which are removed from messages of the server.
type secrets struct {
	mu   sync.Mutex
	list []string
}

func (s *secrets) add(values ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range values {
		if !slices.Contains(s.list, v) {
			s.list = append(s.list, v)
		}
	}
}

// said sanitizes a message of the server.
func (r *Repo) said(text string) string {
	r.secrets.mu.Lock()
	defer r.secrets.mu.Unlock()
	return sanitize.Cut(sanitize.Foreign(text, r.secrets.list...), maxSaid)
}

const maxSaid = 300 // characters

// at returns a copy of the endpoint, since a redirect changes it.
func (r *Repo) at() *transport.Endpoint {
	at := *r.endpoint
	return &at
}

// fetchBranch fetches the tip of the branch; the zero hash if there is no such branch.
func (r *Repo) fetchBranch(ctx context.Context) (plumbing.Hash, error) {
	name := plumbing.NewBranchReferenceName(r.opts.Branch)
	tip, err := r.fetch(ctx, r.have, func(refs *packp.AdvRefs) (plumbing.Hash, error) { return refs.References[name.String()], nil })
	if err == nil {
		r.have = tip
	}
	return tip, err
}

// fetchRef fetches a branch or tag.
func (r *Repo) fetchRef(ctx context.Context, ref string) (plumbing.Hash, error) {
	return r.fetch(ctx, plumbing.ZeroHash, func(refs *packp.AdvRefs) (plumbing.Hash, error) {
		branch, tag := plumbing.NewBranchReferenceName(ref).String(), plumbing.NewTagReferenceName(ref).String()
		for _, h := range []plumbing.Hash{refs.References[branch], refs.Peeled[tag], refs.References[tag]} {
			if !h.IsZero() {
				return h, nil
			}
		}
		return plumbing.ZeroHash, fmt.Errorf("no branch or tag %q", ref)
	})
}

// fetch fetches the commit that pick returns, with its files: all of them if have is zero, else those since have.
func (r *Repo) fetch(ctx context.Context, have plumbing.Hash, pick func(*packp.AdvRefs) (plumbing.Hash, error)) (plumbing.Hash, error) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	auth, err := r.auth(ctx)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	session, err := r.client.NewUploadPackSession(r.at(), auth)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	defer session.Close()
	refs, err := session.AdvertisedReferencesContext(ctx)
	if errors.Is(err, transport.ErrEmptyRemoteRepository) {
		return plumbing.ZeroHash, nil
	}
	if err != nil {
		return plumbing.ZeroHash, r.classify("reading from", err)
	}
	tip, err := pick(refs)
	if err != nil || tip.IsZero() || r.objects.HasEncodedObject(tip) == nil {
		return tip, err
	}
	req := packp.NewUploadPackRequestFromCapabilities(refs.Capabilities)
	req.Wants = []plumbing.Hash{tip}
	shallow := refs.Capabilities.Supports(capability.Shallow)
	if shallow {
		_ = req.Capabilities.Set(capability.Shallow) // it fails for an invalid value only
	}
	switch {
	case !have.IsZero() && shallow:
		req.Haves, req.Shallows = []plumbing.Hash{have}, []plumbing.Hash{have}
	case !have.IsZero():
		req.Haves = []plumbing.Hash{have}
	case shallow:
		req.Depth = packp.DepthCommits(1)
	}
	r.leaveOut(req, refs.Capabilities)
	arrived, err := receive(ctx, session, req, r.opts.MaxFetch)
	if errors.Is(err, errTooLarge) {
		return plumbing.ZeroHash, fmt.Errorf("its files are larger than %d MiB together, which are kept in memory (use a smaller branch or repository)", r.opts.MaxFetch>>20)
	}
	if err != nil {
		return plumbing.ZeroHash, r.classify("fetching from", err)
	}
	for _, o := range arrived.Objects {
		if _, err := r.objects.SetEncodedObject(o); err != nil {
			return plumbing.ZeroHash, err
		}
	}
	return tip, nil
}

// leaveOut excludes the contents of files, or of large files, if the server supports that.
func (r *Repo) leaveOut(req *packp.UploadPackRequest, server *capability.List) {
	if !server.Supports(capability.Filter) {
		return
	}
	switch {
	case r.opts.Lazy && server.Supports(capability.AllowReachableSHA1InWant):
		req.Filter, r.single = packp.FilterBlobNone(), server
	case r.opts.MaxBlob > 0:
		req.Filter = packp.FilterBlobLimit(r.opts.MaxBlob, packp.BlobLimitPrefixNone)
	default:
		return
	}
	_ = req.Capabilities.Set(capability.Filter) // as for shallow
}

// receive fetches objects, up to so many bytes.
func receive(ctx context.Context, session transport.UploadPackSession, req *packp.UploadPackRequest, most int64) (*memory.Storage, error) {
	answer, err := session.UploadPack(ctx, req)
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	arrived := &arrivals{memory.NewStorage(), most} // a partial response must not look complete later
	parser, err := packfile.NewParserWithStorage(packfile.NewScanner(demultiplex(req.Capabilities, answer)), arrived, arrived)
	if err == nil {
		_, err = parser.Parse()
	}
	return arrived.Storage, err
}

var errTooLarge = errors.New("too large for memory")

// arrivals stores objects up to a total size. As an observer of the parser it refuses an object before it is in memory.
type arrivals struct {
	*memory.Storage
	left int64
}

// SetEncodedObject implements storer.EncodedObjectStorer.
func (b *arrivals) SetEncodedObject(o plumbing.EncodedObject) (plumbing.Hash, error) {
	if b.left -= o.Size(); b.left < 0 {
		return plumbing.ZeroHash, errTooLarge
	}
	return b.Storage.SetEncodedObject(o)
}

// OnInflatedObjectHeader implements packfile.Observer.
func (b *arrivals) OnInflatedObjectHeader(_ plumbing.ObjectType, size, _ int64) error {
	if size > b.left {
		return errTooLarge
	}
	return nil
}

// OnHeader implements packfile.Observer.
func (*arrivals) OnHeader(uint32) error { return nil }

// OnInflatedObjectContent implements packfile.Observer.
func (*arrivals) OnInflatedObjectContent(plumbing.Hash, int64, uint32, []byte) error { return nil }

// OnFooter implements packfile.Observer.
func (*arrivals) OnFooter(plumbing.Hash) error { return nil }

func demultiplex(c *capability.List, answer io.Reader) io.Reader {
	switch {
	case c.Supports(capability.Sideband64k):
		return sideband.NewDemuxer(sideband.Sideband64k, answer)
	case c.Supports(capability.Sideband):
		return sideband.NewDemuxer(sideband.Sideband, answer)
	}
	return answer
}

// push sends the new objects and moves the branch to the new commit, if it still points to the old one.
func (r *Repo) push(ctx context.Context, old, commit plumbing.Hash, fresh []plumbing.Hash) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	auth, err := r.auth(ctx)
	if err != nil {
		return err
	}
	session, err := r.client.NewReceivePackSession(r.at(), auth)
	if err != nil {
		return err
	}
	defer session.Close()
	refs, err := session.AdvertisedReferencesContext(ctx)
	if err != nil {
		return r.classify("pushing to", err)
	}
	name := plumbing.NewBranchReferenceName(r.opts.Branch)
	if refs.References[name.String()] != old {
		return &retry{err: errors.New("another writer pushed first"), conflict: true}
	}
	var pack bytes.Buffer
	if _, err := packfile.NewEncoder(&pack, r.objects, false).Encode(fresh, 0); err != nil {
		return fmt.Errorf("packing new objects: %w", err)
	}
	req := packp.NewReferenceUpdateRequestFromCapabilities(refs.Capabilities)
	req.Commands = []*packp.Command{{Name: name, Old: old, New: commit}}
	req.Packfile = io.NopCloser(&pack)
	report, err := session.ReceivePack(ctx, req)
	if report == nil || report.Error() == nil {
		return r.classify("pushing to", err)
	}
	return r.rejected(report)
}

// rejected classifies a rejected push by its message, since the protocol has no codes for it.
func (r *Repo) rejected(report *packp.ReportStatus) error {
	for _, c := range report.CommandStatuses {
		reason := strings.ToLower(c.Status)
		for _, final := range []string{"declined", "protected", "denied", "deny", "prohibited", "not allowed"} {
			if strings.Contains(reason, final) {
				return fmt.Errorf("%w: %s", errRefused, r.said(c.Status))
			}
		}
		for _, lost := range []string{"failed to update ref", "cannot lock ref", "fetch first", "non-fast-forward", "stale", "incorrect old value", "already exists"} {
			if strings.Contains(reason, lost) {
				return &retry{err: fmt.Errorf("another writer pushed first: %s", r.said(c.Status)), conflict: true}
			}
		}
	}
	return &retry{err: fmt.Errorf("pushing: %s", r.said(report.Error().Error()))}
}

// classify returns a *retry for temporary errors of the transport, and a permanent error otherwise.
func (r *Repo) classify(what string, err error) error {
	var answer *githttp.Err
	var failed *httpx.Error
	if unexpected := (*plumbing.UnexpectedError)(nil); errors.As(err, &unexpected) { // it unwraps to nothing
		err = unexpected.Err
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, transport.ErrAuthenticationRequired), errors.Is(err, transport.ErrAuthorizationFailed):
		return errNoAccess
	case errors.Is(err, transport.ErrRepositoryNotFound):
		return errNoRepo
	case errors.As(err, &failed) && failed.Reason == httpx.Denied:
		return errNoAccess
	case errors.As(err, &failed) && failed.Skipped():
		return fmt.Errorf("%w: %s", errSkipped, failed.Problem)
	case errors.As(err, &answer):
		status := fmt.Errorf("%s the server: status %d", what, answer.StatusCode())
		if code := answer.StatusCode(); code >= 400 && code < 500 && code != http.StatusTooManyRequests && code != http.StatusRequestTimeout {
			return status
		}
		after, _ := httpx.RetryAfter(answer.Response.Header, time.Now())
		if after > 0 {
			status = fmt.Errorf("%w, retry in %s", status, after.Round(time.Second))
		}
		return &retry{err: status, after: after}
	}
	return &retry{err: fmt.Errorf("%s the server: %w", what, r.shown(err))}
}

// shown removes secrets from an error of the transport, which quotes URLs and messages of the server.
func (r *Repo) shown(err error) error {
	var line *pktline.ErrorLine
	if errors.As(err, &line) {
		return fmt.Errorf("server message: %s", r.said(line.Text))
	}
	if text, ok := strings.CutPrefix(err.Error(), "unexpected error: "); ok { // on the sideband for errors
		return fmt.Errorf("server message: %s", r.said(text))
	}
	if text, ok := neterr.Known(err); ok {
		return neterr.As(text, err)
	}
	return neterr.As("not a response of a git server (is this a login page?)", err)
}

// explain adds the repository and what to do.
func (r *Repo) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errNoAccess):
		return fmt.Errorf("git repository %s: no access (set a credential for git on %s that may read and write it)", r, hostOf(r.endpoint))
	case errors.Is(err, errNoRepo):
		return fmt.Errorf("git repository %s: not found, or the credential has no access (check the URL, and the credential for git on %s)", r, hostOf(r.endpoint))
	case errors.Is(err, errRefused):
		return fmt.Errorf("git repository %s: branch %q: %w (allow this credential to push, or keep state on its own branch: factory.state.branch)", r, r.opts.Branch, err)
	case errors.Is(err, errSkipped):
		return fmt.Errorf("git repository %s: %w", r, err)
	}
	var again *retry
	if errors.As(err, &again) {
		return fmt.Errorf("git repository %s: %w", r, again.err)
	}
	return err
}

func hostOf(e *transport.Endpoint) string {
	if e.Port != 0 && (e.Protocol != "https" || e.Port != 443) {
		return fmt.Sprintf("%s:%d", e.Host, e.Port)
	}
	return e.Host
}
