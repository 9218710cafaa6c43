// Package doctor checks for common problems around a fleet (tokens, workflows, registries, the cluster) and prints a fix for
// each. It changes nothing.
package doctor

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/imagefactory/imagefactory/pkg/cluster"
	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/credentials"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/internal/forgeapi"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/kargo"
	"github.com/imagefactory/imagefactory/pkg/registry"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Result is the outcome of a check.
type Result string

// Results.
const (
	OK         Result = "ok"
	Warning    Result = "warning"
	Error      Result = "error"
	NotChecked Result = "not checked"
)

// Finding is one line of the output. Its texts hold no secret.
type Finding struct {
	Check   string `json:"check"`
	Result  Result `json:"result"`
	Message string `json:"message"`
	Fix     string `json:"fix,omitempty"`
}

func ok(format string, a ...any) Finding {
	return Finding{Result: OK, Message: fmt.Sprintf(format, a...)}
}

func warning(fix, format string, a ...any) Finding {
	return Finding{Result: Warning, Message: fmt.Sprintf(format, a...), Fix: fix}
}

func bad(fix, format string, a ...any) Finding {
	return Finding{Result: Error, Message: fmt.Sprintf(format, a...), Fix: fix}
}

func notChecked(fix, format string, a ...any) Finding {
	return Finding{Result: NotChecked, Message: fmt.Sprintf(format, a...), Fix: fix}
}

// Check is one check.
type Check struct {
	Name string
	Do   func(ctx context.Context) []Finding
}

// Fleet is the fleet to check.
type Fleet struct {
	Config   *config.Config
	State    *state.State
	Graph    *graph.Graph
	Objects  []kargo.Object // that synth would write; nil if it fails
	Location kargo.Options
}

// Tools are the services that the checks use.
type Tools struct {
	Credentials *credentials.Store
	Registry    *registry.Client
	Cluster     func() (*cluster.Inspector, error) // nil for a fleet without a cluster
	Project     string
	Now         func() time.Time
	HTTP        httpx.Options // of the transports to forges and git servers
}

// doctor is one run of the checks.
type doctor struct {
	Fleet
	Tools
	api *forgeapi.Clients

	mu      sync.Mutex
	secrets []string
}

// Inspect runs all checks that need the network, several at once, each for at most timeout. The order of the findings is fixed.
func Inspect(ctx context.Context, f Fleet, t Tools, timeout time.Duration) []Finding {
	d := &doctor{Fleet: f, Tools: t}
	d.HTTP.Now = t.Now
	d.api = forgeapi.New(forgeapi.Options{HTTP: d.HTTP, Hint: d.hint, Token: func(ctx context.Context, host string) (string, error) {
		token, err := d.token(ctx, credentials.API, host)
		return token.Value, err
	}})
	checks := slices.Concat(d.tokens(), d.builders(), []Check{{"state repository", d.stateRepository}}, d.registries(), d.cluster())
	const maxParallel = 8
	slots := make(chan struct{}, maxParallel)
	results := make([]chan []Finding, len(checks))
	for i := range checks {
		results[i] = make(chan []Finding, 1)
		go func() {
			slots <- struct{}{}
			results[i] <- within(ctx, checks[i], timeout)
			<-slots
		}()
	}
	var out []Finding
	for i := range checks {
		for _, found := range <-results[i] {
			found.Check = checks[i].Name
			found.Message, found.Fix = d.clean(found.Message), d.clean(found.Fix)
			out = append(out, found)
		}
	}
	return out
}

// within runs a check, and stops waiting for it after the timeout.
func within(ctx context.Context, c Check, timeout time.Duration) []Finding {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	done := make(chan []Finding, 1)
	go func() { done <- c.Do(ctx) }()
	select {
	case found := <-done:
		if ctx.Err() == nil {
			return found
		}
	case <-ctx.Done():
	}
	return []Finding{bad("check the host, the network and proxies, or set a longer --timeout", "no response within %s", timeout)}
}
