package factory

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// StateChange is what a verb changed of the state, in memory so far: see Store.
type StateChange struct {
	Changed []string          `json:"changed"` // state files, below the state folder
	before  map[string][]byte // state files before
	after   map[string][]byte // those that changed; nil for one that is to be removed
	refused map[string]error  // those that stay as they were, because reading would refuse what they would be
	news    []string          // what a verb says of itself, instead of what the files show
}

// changeSince returns what changed. Whatever reading would refuse is not part of it.
func (f *Fleet) changeSince(before map[string][]byte) StateChange {
	after, refused := f.State.ChangedSince(before)
	changed := slices.AppendSeq([]string{}, maps.Keys(after)) // never null in JSON
	slices.Sort(changed)
	return StateChange{Changed: changed, before: before, after: after, refused: refused}
}

// refusal returns an error about each file that stays as it was.
func (c *StateChange) refusal() error {
	var errs []error
	for _, p := range slices.Sorted(maps.Keys(c.refused)) {
		errs = append(errs, fmt.Errorf("recording %s: %w", p, c.refused[p]))
	}
	return errors.Join(errs...)
}

// refusedOf returns why the file of an image or base image stays as it was, or nil.
func (c *StateChange) refusedOf(folder, name string) error {
	return c.refused[path.Join(folder, name+".yaml")]
}

// Diff shows what would be written.
func (c *StateChange) Diff(stateDir string) string {
	var b strings.Builder
	for _, p := range slices.Sorted(maps.Keys(c.after)) {
		shown := display(stateDir, p)
		from, to := shown, shown
		if c.before[p] == nil {
			from = "/dev/null"
		}
		if c.after[p] == nil {
			to = "/dev/null"
		}
		b.WriteString(udiff.Unified(from, to, string(c.before[p]), string(c.after[p])))
	}
	return b.String()
}

// News says what changed, a line for each fact that a person would want to know.
func (c *StateChange) News() []string {
	if c.news != nil {
		return c.news
	}
	var out []string
	for _, p := range c.Changed {
		out = append(out, state.News(p, c.before[p], c.after[p])...)
	}
	return out
}

const (
	maxSubject = 72
	maxNews    = 100 // lines of a commit message
)

// Message is the commit message of the change.
func (c *StateChange) Message() string {
	news := c.News()
	for i := range news {
		news[i] = sanitize.Line(news[i])
	}
	if len(news) == 1 && len(news[0]) <= maxSubject {
		return news[0] + "\n"
	}
	subject := fmt.Sprintf("Record news of %s", plural(len(c.Changed), "image"))
	if more := fmt.Sprintf(" and %d more", len(news)-1); len(news) > 1 && len(news[0]+more) <= maxSubject {
		subject = news[0] + more
	}
	if more := len(news) - maxNews; more > 0 {
		news = append(news[:maxNews], fmt.Sprintf("and %d more", more))
	}
	return subject + "\n\n" + strings.Join(news, "\n") + "\n"
}
