package fleet

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Change is a change of the state in memory; package store saves it.
type Change struct {
	Changed []string `json:"changed"` // state files, below the state folder
	// Before holds all state files as they were.
	Before map[string][]byte `json:"-"`
	// After holds the state files that changed; nil for one that is to be removed.
	After map[string][]byte `json:"-"`
	// Refused holds the error of each file that stays as it was, because reading would refuse what it would become.
	Refused map[string]error `json:"-"`

	Done string `json:"-"` // what a person's command did, in one line
	Plan string `json:"-"` // the same, as what it would do

	news []string // what a verb says of itself, instead of what the files show
}

// ChangeSince returns what changed. Whatever reading would refuse is not part of it.
func (f *Fleet) ChangeSince(before map[string][]byte) Change {
	after, refused := f.State.ChangedSince(before)
	changed := slices.AppendSeq([]string{}, maps.Keys(after)) // never null in JSON
	slices.Sort(changed)
	return Change{Changed: changed, Before: before, After: after, Refused: refused}
}

// refusal returns an error about each file that stays as it was.
func (c *Change) refusal() error {
	var errs []error
	for _, p := range slices.Sorted(maps.Keys(c.Refused)) {
		errs = append(errs, fmt.Errorf("recording %s: %w", p, c.Refused[p]))
	}
	return errors.Join(errs...)
}

// RefusedOf returns why the file of an image or base image stays as it was, or nil.
func (c *Change) RefusedOf(folder, name string) error {
	return c.Refused[path.Join(folder, name+".yaml")]
}

// Diff shows what would be written.
func (c *Change) Diff(stateDir string) string {
	var b strings.Builder
	for _, p := range slices.Sorted(maps.Keys(c.After)) {
		shown := display(stateDir, p)
		from, to := shown, shown
		if c.Before[p] == nil {
			from = "/dev/null"
		}
		if c.After[p] == nil {
			to = "/dev/null"
		}
		b.WriteString(udiff.Unified(from, to, string(c.Before[p]), string(c.After[p])))
	}
	return b.String()
}

// Summary returns a line for each change that matters to a person.
func (c *Change) Summary() []string {
	if c.news != nil {
		return c.news
	}
	var out []string
	for _, p := range c.Changed {
		out = append(out, state.Summary(p, c.Before[p], c.After[p])...)
	}
	return out
}

const (
	maxSubject = 72
	maxNews    = 100 // lines of a commit message
)

// Message is the commit message of the change.
func (c *Change) Message() string {
	news := c.Summary()
	for i := range news {
		news[i] = sanitize.Line(news[i])
	}
	if len(news) == 1 && len(news[0]) <= maxSubject {
		return news[0] + "\n"
	}
	subject := fmt.Sprintf("Record news of %s", plural.Count(len(c.Changed), "image"))
	if more := fmt.Sprintf(" and %d more", len(news)-1); len(news) > 1 && len(news[0]+more) <= maxSubject {
		subject = news[0] + more
	}
	if more := len(news) - maxNews; more > 0 {
		news = append(news[:maxNews], fmt.Sprintf("and %d more", more))
	}
	return subject + "\n\n" + strings.Join(news, "\n") + "\n"
}
