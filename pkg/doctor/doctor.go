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

// Check is what was checked, and the result. Its texts hold no secret.
type Check struct {
	Name    string `json:"check"`
	Result  Result `json:"result"`
	Message string `json:"message"`
	Fix     string `json:"fix,omitempty"`
}

func ok(format string, a ...any) Check {
	return Check{Result: OK, Message: fmt.Sprintf(format, a...)}
}

func warning(fix, format string, a ...any) Check {
	return Check{Result: Warning, Message: fmt.Sprintf(format, a...), Fix: fix}
}

func bad(fix, format string, a ...any) Check {
	return Check{Result: Error, Message: fmt.Sprintf(format, a...), Fix: fix}
}

func notChecked(fix, format string, a ...any) Check {
	return Check{Result: NotChecked, Message: fmt.Sprintf(format, a...), Fix: fix}
}

// probe makes checks that need the network.
type probe struct {
	name string
	do   func(ctx context.Context) []Check
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

// Inspect runs all checks that need the network, several at once, each for at most timeout. The order of the checks is fixed.
func Inspect(ctx context.Context, f Fleet, t Tools, timeout time.Duration) []Check {
	d := &doctor{Fleet: f, Tools: t}
	d.HTTP.Now = t.Now
	d.api = forgeapi.New(forgeapi.Options{HTTP: d.HTTP, Hint: d.hint, Token: func(ctx context.Context, host string) (string, error) {
		token, err := d.token(ctx, credentials.API, host)
		return token.Value, err
	}})
	probes := slices.Concat(d.tokens(), d.builders(), []probe{{"state repository", d.stateRepository}}, d.registries(), d.trust(), d.channels(), d.cluster())
	const maxParallel = 8
	slots := make(chan struct{}, maxParallel)
	results := make([]chan []Check, len(probes))
	for i := range probes {
		results[i] = make(chan []Check, 1)
		go func() {
			slots <- struct{}{}
			results[i] <- within(ctx, probes[i], timeout)
			<-slots
		}()
	}
	var out []Check
	for i := range probes {
		for _, found := range <-results[i] {
			found.Name = probes[i].name
			found.Message, found.Fix = d.clean(found.Message), d.clean(found.Fix)
			out = append(out, found)
		}
	}
	return out
}

// within runs a probe, and stops waiting for it after the timeout.
func within(ctx context.Context, p probe, timeout time.Duration) []Check {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	done := make(chan []Check, 1)
	go func() { done <- p.do(ctx) }()
	select {
	case found := <-done:
		if ctx.Err() == nil {
			return found
		}
	case <-ctx.Done():
	}
	return []Check{bad("check the host, the network and proxies, or set a longer --timeout", "no response within %s", timeout)}
}
