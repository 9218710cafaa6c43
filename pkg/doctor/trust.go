package doctor

import (
	"context"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/httpx"
	"github.com/imagefactory/imagefactory/pkg/trust"
)

// trust returns a probe for each rule of factory.trust: its key or trusted root can be had.
func (d *doctor) trust() []probe {
	checker := trust.NewChecker(d.Config, trust.Clients{Registry: d.Registry, API: d.api, HTTP: httpx.New(d.HTTP)})
	var out []probe
	for i := range d.Config.Factory.Trust {
		rule := &d.Config.Factory.Trust[i]
		if rule.Require == config.RequireNone {
			continue
		}
		out = append(out, probe{"trust of " + string(rule.Match), func(ctx context.Context) []Check {
			if _, err := checker.Verifier(ctx, rule); err != nil {
				fix := "correct factory.trust, or the file beside images.yaml that it names"
				if rule.Key == "" && rule.TrustRoot == "" {
					fix = "let this machine and the Jobs reach it, or put the trusted root into a file and name it in trustRoot"
				}
				return []Check{bad(fix, "no candidate can be verified: %v", err)}
			}
			return []Check{ok("requires a %s", rule.Demand())}
		}})
	}
	return out
}
