package loop_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// row is what the table says of a subject: what was found.
type row struct {
	evidence string // after the rebuild
	locked   string // the build with the lock
	rebuild  string
	unlocked string // the build without the lock
}

// expected returns the row of a subject if everything is right.
func (s *subject) expected() row {
	final, others := s.final, s.others
	if final == none {
		final = recorded
	}
	if others == none {
		others = recorded
	}
	out := row{evidence: string(final), locked: "ripe", rebuild: "succeeded"}
	if len(s.bases) > 1 && others != final {
		out.evidence += ", others " + string(others)
	}
	if s.unproven() {
		out.rebuild = "unproven"
	}
	out.unlocked = s.unlocked(len(s.shownUnripe()))
	switch {
	case s.pinned:
		out.locked, out.rebuild = "pinned", "none"
	case len(s.upstream()) == 0:
		out.locked = "newest of its parent"
	}
	return out
}

// upstream returns the bases that others publish.
func (s *subject) upstream() []string {
	var out []string
	for _, base := range s.bases {
		if !strings.HasPrefix(base, "acme/") {
			out = append(out, base)
		}
	}
	return out
}

// shownUnripe returns the bases that the audit must show when they were used before they had ripened.
func (s *subject) shownUnripe() []string {
	var out []string
	for i, base := range s.bases {
		proof := s.others
		if i == 0 && !s.noFinal {
			proof = s.final
		}
		if proof.proves() && !s.pinned && !strings.HasPrefix(base, "acme/") {
			out = append(out, base)
		}
	}
	return out
}

// table returns the table of what was found, with what is expected beside it.
func (l *fleet) table() string {
	var b strings.Builder
	b.WriteString("| Dockerfile | built and published | expected evidence | found | with the lock | rebuild | without the lock |\n|---|---|---|---|---|---|---|\n")
	for _, s := range l.subjects {
		found := l.rows[s.name]
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", s.shows, s.publish.name, s.expected().evidence, found.evidence, found.locked, found.rebuild, found.unlocked)
	}
	return b.String()
}

// documentation has the table, between marks.
const documentation = repository + "/docs/evidence.md"

var updating sync.Mutex

// checkTable compares what was found with what is expected, and with the table in the documentation.
func (l *fleet) checkTable(t *testing.T) {
	t.Helper()
	for _, s := range l.subjects {
		assert.Equal(t, s.expected(), *l.rows[s.name], s)
	}
	table := l.table()
	t.Log("\n" + table)
	updating.Lock()
	defer updating.Unlock()
	data, err := os.ReadFile(filepath.FromSlash(documentation))
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(data), "<!-- loop -->\n")
	require.True(t, found)
	_, after, found := strings.Cut(rest, "<!-- /loop -->\n")
	require.True(t, found)
	text := before + "<!-- loop -->\n" + table + "<!-- /loop -->\n" + after
	if *update && !t.Failed() {
		require.NoError(t, os.WriteFile(documentation, []byte(text), 0o644))
		return
	}
	assert.Equal(t, string(data), text, "run `make loop LOOPFLAGS=-update`")
}
