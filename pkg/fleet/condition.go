package fleet

import (
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/policy"
)

// Condition is something that an image should not be, for use in CI.
type Condition struct {
	kind  string
	stale config.Duration
}

// staleKind is the kind of Condition that takes a duration.
const staleKind = "stale"

// conditionKinds are the kinds of conditions that take no value: statuses, and a reference that cannot be resolved.
var conditionKinds = []string{string(policy.Due), string(policy.Blocked), string(policy.Failed), string(policy.Held), string(policy.Incomplete), string(policy.Untrusted), string(policy.Unknown), "unresolved"}

// DefaultConditions are the statuses that call for attention.
func DefaultConditions() []Condition {
	return []Condition{{kind: string(policy.Due)}, {kind: string(policy.Blocked)}, {kind: string(policy.Failed)}}
}

// ParseCondition parses a kind, or stale=DURATION.
func ParseCondition(text string) (Condition, error) {
	kind, value, hasValue := strings.Cut(text, "=")
	if kind == staleKind {
		c := Condition{kind: kind}
		if err := c.stale.UnmarshalText([]byte(value)); err != nil || value == "" {
			return c, Usagef("invalid condition %q: want stale=DURATION, such as stale=14d", text)
		}
		return c, nil
	}
	for _, known := range conditionKinds {
		if text == known && !hasValue {
			return Condition{kind: kind}, nil
		}
	}
	return Condition{}, Usagef("invalid condition %q: want %s or stale=DURATION", text, strings.Join(conditionKinds, ", "))
}

// String returns the condition as images meet it: "failed", "stale for 14d".
func (c Condition) String() string {
	if c.kind == staleKind {
		return "stale for " + c.stale.String()
	}
	return c.kind
}

// meets reports whether a decision meets the condition.
func (f *Fleet) meets(c Condition, d *policy.Decision, now time.Time) bool {
	switch c.kind {
	case staleKind:
		since := d.Outdated()
		return !since.IsZero() && now.Sub(since) >= c.stale.Std()
	case "unresolved":
		facts := f.State.Images[d.Image]
		return facts != nil && len(facts.Unresolved) > 0
	}
	return string(d.Status) == c.kind
}

// Met returns a line for each of the conditions that images meet, such as "failed: web, api".
func (f *Fleet) Met(conditions []Condition, decisions []policy.Decision, now time.Time) []string {
	var out []string
	for _, c := range conditions {
		var names []string
		for i := range decisions {
			if f.meets(c, &decisions[i], now) {
				names = append(names, decisions[i].Image)
			}
		}
		if len(names) > 0 {
			out = append(out, c.String()+": "+plural.Listed(names, maxNamed))
		}
	}
	return out
}
