package fleet

import (
	"encoding/json"
	"fmt"

	sourcepolicy "github.com/moby/buildkit/sourcepolicy/pb"

	"github.com/imagefactory/imagefactory/pkg/policy"
)

// SourcePolicy is the lock as a BuildKit source policy, whose JSON form buildx reads from the file that
// EXPERIMENTAL_BUILDKIT_SOURCE_POLICY names: with it a build uses the digests of the lock. References that are pinned in
// the Dockerfile, or whose digest is not known yet, need no rule.
func (l *Lock) SourcePolicy() *sourcepolicy.Policy {
	p := &sourcepolicy.Policy{Version: 1, Rules: []*sourcepolicy.Rule{}}
	for _, b := range l.Bases {
		if b.Origin == policy.FromPin || b.Lock.Digest == "" {
			continue
		}
		source := "docker-image://" + b.Ref
		p.Rules = append(p.Rules, &sourcepolicy.Rule{
			Action:   sourcepolicy.PolicyAction_CONVERT,
			Selector: &sourcepolicy.Selector{Identifier: source, MatchType: sourcepolicy.MatchType_EXACT},
			Updates:  &sourcepolicy.Update{Identifier: source + "@" + b.Lock.Digest},
		})
	}
	return p
}

// Unknown returns the references that have no digest in the lock: a build would use what their tags hold.
func (l *Lock) Unknown() []string {
	var out []string
	for _, b := range l.Bases {
		if b.Origin == policy.FromNowhere {
			out = append(out, b.Ref)
		}
	}
	return out
}

// Input returns the lock as the placeholder {{lock}} gives it to a build: a source policy in one line of JSON. It fails if a
// digest is not known.
func (l *Lock) Input() (string, error) {
	if unknown := l.Unknown(); len(unknown) > 0 {
		return "", fmt.Errorf("no digest of %s is known yet, so the lock is incomplete (run `imagefactory analyze`)", unknown[0])
	}
	data, err := json.Marshal(l.SourcePolicy())
	return string(data), err
}
