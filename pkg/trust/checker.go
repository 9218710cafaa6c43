package trust

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"

	"github.com/imagefactory/imagefactory/pkg/config"
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

// Checker verifies images by the rules of one images.yaml. It may be used by many goroutines.
type Checker struct {
	cfg       *config.Config
	registry  Registry
	transport http.RoundTripper

	mu        sync.Mutex
	verifiers map[*config.Trust]func() (*Verifier, error)
	public    func() ([]*root.TrustedRoot, error)
}

// NewChecker returns a Checker. It reads keys and trusted roots only for rules that are used, once.
func NewChecker(cfg *config.Config, reg Registry, transport http.RoundTripper) *Checker {
	return &Checker{cfg: cfg, registry: reg, transport: transport, verifiers: map[*config.Trust]func() (*Verifier, error){}}
}

// Check verifies the image that a reference with a digest names.
func (c *Checker) Check(ctx context.Context, rule *config.Trust, ref state.Ref) Result {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	v, err := c.Verifier(ctx, rule)
	if err != nil {
		return Result{Untrusted: state.Text(err.Error()), Unknown: true}
	}
	verified, seen := false, 0
	var closest error
	leftOut, err := c.registry.Attached(ctx, ref, func(a *registry.Attachment) bool {
		seen++
		failed := v.Verify(ref.Digest, a)
		verified = failed == nil
		if closest == nil || rankOf(failed) > rankOf(closest) || rankOf(failed) == rankOf(closest) && failed != nil && failed.Error() < closest.Error() {
			closest = failed // of equal ones the first by text: the registry lists them in any order
		}
		return verified
	})
	switch {
	case verified:
		return Result{}
	case err != nil:
		return Result{Untrusted: state.Text("signatures could not be read: " + err.Error()), Unknown: true}
	case seen == 0:
		return Result{Untrusted: "it has no signature and no provenance"}
	}
	text := "invalid signature or provenance: "
	if seen > 1 {
		text = fmt.Sprintf("none of %d signatures and attestations is valid: ", seen)
	}
	if leftOut {
		text = fmt.Sprintf("none of the first %d signatures and attestations is valid, and more are not read: ", seen)
	}
	return Result{Untrusted: state.Text(text + closest.Error())}
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
	roots, err := c.roots(ctx, rule.TrustRoot)
	if err != nil {
		return nil, err
	}
	return NewVerifier(rule, roots)
}

// roots returns the trusted roots in a file, or the public one without a file.
func (c *Checker) roots(ctx context.Context, file string) ([]*root.TrustedRoot, error) {
	if file == "" {
		c.mu.Lock()
		if c.public == nil {
			c.public = sync.OnceValues(func() ([]*root.TrustedRoot, error) { return PublicRoot(ctx, c.transport) })
		}
		public := c.public
		c.mu.Unlock()
		return public()
	}
	data, err := c.cfg.ReadBeside(file)
	if err != nil {
		return nil, err
	}
	roots, err := ParseRoots(data)
	if err != nil {
		return nil, fmt.Errorf("trust root %q: %w", file, err)
	}
	return roots, nil
}
