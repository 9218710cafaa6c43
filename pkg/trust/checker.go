package trust

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
	"github.com/imagefactory/imagefactory/pkg/registry"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// checkTimeout bounds the verification of one image.
const checkTimeout = time.Minute

// Registry reads what is attached to an image; [registry.Client] implements it.
type Registry interface {
	Attached(ctx context.Context, ref state.Ref, visit func(*registry.Attachment) (done bool)) (leftOut bool, err error)
}

// Result is the result of verifying one image.
type Result struct {
	// Untrusted is why the image is not verified; empty if it is.
	Untrusted string
	// Unknown reports that this is no answer: something could not be asked, and another attempt may find a signature.
	Unknown bool
}

// Clients are the external services that a [Checker] uses.
type Clients struct {
	Registry Registry
	API      *forgeapi.Clients // lists GitHub's attestations; nil: they are not asked
	HTTP     http.RoundTripper // fetches trusted roots, and bundles that GitHub stores
}

// Checker verifies images by the rules of one images.yaml. It may be used by many goroutines.
type Checker struct {
	cfg     *config.Config
	clients Clients

	mu        sync.Mutex
	verifiers map[*config.Trust]func() (*Verifier, error)
	fetched   map[config.TUF]func() ([]*root.TrustedRoot, error)
}

// NewChecker returns a Checker. It reads keys and trusted roots only for rules that are used, once.
func NewChecker(cfg *config.Config, clients Clients) *Checker {
	return &Checker{
		cfg: cfg, clients: clients, verifiers: map[*config.Trust]func() (*Verifier, error){},
		fetched: map[config.TUF]func() ([]*root.TrustedRoot, error){},
	}
}

// Check verifies the image that a reference with a digest names: what its registry holds, and then what GitHub holds if the rule names
// a repository there.
func (c *Checker) Check(ctx context.Context, rule *config.Trust, ref state.Ref) Result {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	v, err := c.Verifier(ctx, rule)
	if err != nil {
		return Result{Untrusted: state.Text(err.Error()), Unknown: true}
	}
	s := &search{verifier: v, digest: ref.Digest}
	leftOut, err := c.clients.Registry.Attached(ctx, ref, s.visit)
	if err != nil {
		err = fmt.Errorf("signatures could not be read: %w", err)
	}
	if lists := listsFor(rule); lists != nil && c.clients.API != nil && !s.verified {
		more, failed := c.attested(ctx, lists, ref.Digest, s.visit)
		leftOut = leftOut || more
		if failed != nil && err == nil {
			err = fmt.Errorf("attestations could not be read from GitHub: %w", failed)
		}
	}
	return s.result(leftOut, err)
}

// search looks for a valid attachment of an image.
type search struct {
	verifier *Verifier
	digest   string
	verified bool
	seen     int
	closest  error // failure of the attachment that came closest
}

// visit verifies an attachment and reports whether it is valid.
func (s *search) visit(a *registry.Attachment) bool {
	s.seen++
	failed := s.verifier.Verify(s.digest, a)
	s.verified = failed == nil
	if s.closest == nil || rankOf(failed) > rankOf(s.closest) || rankOf(failed) == rankOf(s.closest) && failed != nil && failed.Error() < s.closest.Error() {
		s.closest = failed // of equal ones the first by text: the registry lists them in any order
	}
	return s.verified
}

// result returns the result after everything was visited, or err ended that.
func (s *search) result(leftOut bool, err error) Result {
	switch {
	case s.verified:
		return Result{}
	case err != nil:
		return Result{Untrusted: state.Text(err.Error()), Unknown: true}
	case s.seen == 0:
		return Result{Untrusted: "it has no signature and no provenance"}
	}
	text := "invalid signature or provenance: "
	if s.seen > 1 {
		text = fmt.Sprintf("none of %d signatures and attestations is valid: ", s.seen)
	}
	if leftOut {
		text = fmt.Sprintf("none of the first %d signatures and attestations is valid, and more are not read: ", s.seen)
	}
	return Result{Untrusted: state.Text(text + s.closest.Error())}
}

// Verifier returns the Verifier of a rule. It reads the key or the trusted root at the first call.
func (c *Checker) Verifier(ctx context.Context, rule *config.Trust) (*Verifier, error) {
	c.mu.Lock()
	once := c.verifiers[rule]
	if once == nil {
		once = sync.OnceValues(func() (*Verifier, error) { return c.verifier(ctx, rule) })
		c.verifiers[rule] = once
	}
	c.mu.Unlock()
	return once()
}

func (c *Checker) verifier(ctx context.Context, rule *config.Trust) (*Verifier, error) {
	if rule.Key != "" {
		pem := []byte(rule.Key)
		if file := rule.KeyFile(); file != "" {
			var err error
			if pem, err = c.cfg.ReadBeside(file); err != nil {
				return nil, err
			}
		}
		v, err := NewKeyVerifier(rule, pem)
		if err != nil && rule.KeyFile() != "" {
			err = fmt.Errorf("key %q: %w", rule.KeyFile(), err)
		}
		return v, err
	}
	roots, err := c.roots(ctx, rule)
	if err != nil {
		return nil, err
	}
	return NewVerifier(rule, roots)
}

// roots returns the trusted roots of a rule: those in its file, or the one that a TUF repository publishes.
func (c *Checker) roots(ctx context.Context, rule *config.Trust) ([]*root.TrustedRoot, error) {
	if rule.TrustRoot == "" {
		return c.fetch(ctx, rule.TUF)
	}
	data, err := c.cfg.ReadBeside(rule.TrustRoot)
	if err != nil {
		return nil, err
	}
	roots, err := ParseRoots(data)
	if err != nil {
		return nil, fmt.Errorf("trust root %q: %w", rule.TrustRoot, err)
	}
	return roots, nil
}

// fetch returns the trusted root that a TUF repository publishes; nil for that of the public instance. Each is fetched once.
func (c *Checker) fetch(ctx context.Context, from *config.TUF) ([]*root.TrustedRoot, error) {
	if from == nil {
		from = &config.TUF{}
	}
	c.mu.Lock()
	once := c.fetched[*from]
	if once == nil {
		once = sync.OnceValues(func() ([]*root.TrustedRoot, error) {
			var first []byte
			if from.Root != "" {
				var err error
				if first, err = c.cfg.ReadBeside(from.Root); err != nil {
					return nil, err
				}
			}
			return FetchRoot(ctx, c.clients.HTTP, from.Mirror, first)
		})
		c.fetched[*from] = once
	}
	c.mu.Unlock()
	return once()
}
