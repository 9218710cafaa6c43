// Package doctor checks what usually goes wrong around a fleet, and says how to put it right. It reads, and changes
// nothing.
package doctor

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/imagefactory/imagefactory/pkg/cluster"
	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/credentials"
	"github.com/imagefactory/imagefactory/pkg/graph"
	"github.com/imagefactory/imagefactory/pkg/internal/rest"
	"github.com/imagefactory/imagefactory/pkg/kargo"
	"github.com/imagefactory/imagefactory/pkg/registry"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Result is what a check came to.
type Result string

// Results.
const (
	OK         Result = "ok"
	Warning    Result = "warning"
	Error      Result = "error"
	NotChecked Result = "not checked"
)

// Finding is one line of what was found. Its texts hold no secret.
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

// Check is one thing that is looked at.
type Check struct {
	Name string
	Do   func(ctx context.Context) []Finding
}

// Fleet is what is looked at.
type Fleet struct {
	Config   *config.Config
	State    *state.State
	Graph    *graph.Graph
	Objects  []kargo.Object // that synth would write; nil when it cannot
	Location kargo.Options
}

// Tools are what is looked with.
type Tools struct {
	Credentials *credentials.Store
	Registry    *registry.Client
	Cluster     func() (*cluster.Inspector, error)
	Project     string
	Now         func() time.Time
	Transport   http.RoundTripper // to forges and git servers; may be nil
}

// doctor is one examination.
type doctor struct {
	Fleet
	Tools
	api *rest.Client

	mu      sync.Mutex
	secrets []string
}

// Inspect looks at everything that needs the network, several things at once, each for as long as timeout. The findings are in
// a fixed order.
func Inspect(ctx context.Context, f Fleet, t Tools, timeout time.Duration) []Finding {
	d := &doctor{Fleet: f, Tools: t}
	d.api = rest.New(rest.Options{Now: t.Now, Transport: t.Transport, Token: func(ctx context.Context, host string) (string, error) {
		token, err := d.token(ctx, credentials.API, host)
		return token.Value, err
	}})
	checks := slices.Concat(d.tokens(), d.builders(), []Check{{"state repository", d.stateRepository}}, d.registries(), d.cluster())
	const atOnce = 8
	slots := make(chan struct{}, atOnce)
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

// within does a check, and leaves it alone when it takes too long.
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
	return []Finding{bad("check the name, the network and proxies on the way, or give it longer with --timeout", "no answer within %s", timeout)}
}
