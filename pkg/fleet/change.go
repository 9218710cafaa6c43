package fleet

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

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
	// After holds the state files that changed; nil for one to remove.
	After map[string][]byte `json:"-"`
	// Refused holds the error of each file that is not changed, because its new content could not be read back.
	Refused map[string]error `json:"-"`

	Done string `json:"-"` // result of the command, in one line, such as "held nginx:1.27@sha256:…"
	Plan string `json:"-"` // the same for a dry run, such as "hold nginx:1.27@sha256:…"

	summary []string // replaces the summary of the changed files
}

// ChangeSince returns the changes of the state since before.
func (f *Fleet) ChangeSince(before map[string][]byte) Change {
	after, refused := f.State.ChangedSince(before)
	changed := slices.AppendSeq([]string{}, maps.Keys(after)) // never null in JSON
	slices.Sort(changed)
	return Change{Changed: changed, Before: before, After: after, Refused: refused}
}

// refusal returns the errors of all refused files, joined.
func (c *Change) refusal() error {
	var errs []error
	for _, p := range slices.Sorted(maps.Keys(c.Refused)) {
		errs = append(errs, fmt.Errorf("recording %s: %w", p, c.Refused[p]))
	}
	return errors.Join(errs...)
}

// RefusedOf returns the error if the file of an image or base image is refused, or nil.
func (c *Change) RefusedOf(folder, name string) error {
	return c.Refused[path.Join(folder, name+".yaml")]
}

// Diff returns the change as unified diffs.
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

// Summary describes the change, one line per fact.
func (c *Change) Summary() []string {
	if c.summary != nil {
		return c.summary
	}
	var out []string
	for _, p := range c.Changed {
		out = append(out, state.Summary(p, c.Before[p], c.After[p])...)
	}
	return out
}

const (
	maxSubject = 72
	maxLines   = 100 // in the body of a commit message
)

// Message returns the commit message of the change. The subject is its first fact, cut if it is long; a line that only says that a file
// was updated is none.
func (c *Change) Message() string {
	lines := c.Summary()
	for i := range lines {
		lines[i] = sanitize.Line(lines[i])
	}
	if len(lines) == 0 {
		return "Update " + plural.Count(len(c.Changed), "state file") + "\n"
	}
	first := max(0, slices.IndexFunc(lines, func(line string) bool { return !strings.HasSuffix(line, ": updated") }))
	more := ""
	if len(lines) > 1 {
		more = fmt.Sprintf(" and %d more", len(lines)-1)
	}
	subject := lines[first]
	if utf8.RuneCountInString(subject+more) > maxSubject {
		subject = sanitize.Cut(subject, maxSubject-len(more)-len("..."))
	}
	if subject += more; subject == lines[0] {
		return subject + "\n"
	}
	if more := len(lines) - maxLines; more > 0 {
		lines = append(lines[:maxLines], fmt.Sprintf("and %d more", more))
	}
	return subject + "\n\n" + strings.Join(lines, "\n") + "\n"
}
