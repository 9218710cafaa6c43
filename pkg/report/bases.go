package report

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/describe"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Bases prints a row for each base image, and a line of totals. Wide prints digests in full and exact times.
func (s Style) Bases(w io.Writer, list []describe.BaseSummary, now time.Time, wide bool) error {
	digest, format := state.ShortDigest, Time
	if wide {
		digest, format = func(d string) string { return d }, ExactTime
	}
	header, rows := []string{"BASE", "DIGEST", "MOVED (UTC)", "CANDIDATES", "USERS"}, make([][]string, len(list))
	newer := slices.ContainsFunc(list, func(b describe.BaseSummary) bool { return b.Newer != nil })
	if newer {
		header = append(header, "NEWER")
	}
	moving := 0
	for i := range list {
		b := &list[i]
		if b.Ripening > 0 || b.Due > 0 {
			moving++
		}
		rows[i] = []string{state.Short(b.Ref), digest(b.Digest), unlessZero(format, b.Updated, now), candidatesText(b, format, now), usersText(b)}
		if newer {
			rows[i] = append(rows[i], NewerText(b.Newer))
		}
	}
	if err := s.Table(w, header, rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s, %d with a newer digest\n", plural.Count(len(list), "base image"), moving)
	return err
}

// NewerText returns the tags of newer releases than a base image, or "".
func NewerText(n *state.Newer) string {
	if n == nil {
		return ""
	}
	return strings.Join(slices.DeleteFunc([]string{n.Release, n.Line}, func(tag string) bool { return tag == "" }), ", ")
}

// SetAside returns how many candidates of a base image do not ripen, for each reason that there is: "2 held".
func SetAside(b *describe.BaseSummary) []string {
	var out []string
	if b.Held > 0 {
		out = append(out, fmt.Sprintf("%d held", b.Held))
	}
	if b.Untrusted > 0 {
		out = append(out, fmt.Sprintf("%d untrusted", b.Untrusted))
	}
	if b.Withdrawn > 0 {
		out = append(out, fmt.Sprintf("%d withdrawn", b.Withdrawn))
	}
	return out
}

func candidatesText(b *describe.BaseSummary, format func(t, now time.Time) string, now time.Time) string {
	var parts []string
	if b.Due > 0 {
		parts = append(parts, "due for "+plural.Count(b.Due, "image"))
	}
	if b.Ripening > 0 {
		text := fmt.Sprintf("%d ripening", b.Ripening)
		if !b.Next.IsZero() {
			text += " (due " + format(b.Next, now) + ")"
		}
		parts = append(parts, text)
	}
	parts = append(parts, SetAside(b)...)
	if b.Digest == "" {
		parts = append(parts, "registry not asked yet")
	}
	return strings.Join(parts, ", ")
}

func usersText(b *describe.BaseSummary) string {
	text := strconv.Itoa(b.Users)
	if b.AllUsers > b.Users {
		text += fmt.Sprintf(" (%d with those built on them)", b.AllUsers)
	}
	switch {
	case b.Pinned > 0 && b.Pinned == b.Users:
		text += ", pinned"
	case b.Pinned > 0:
		text += fmt.Sprintf(", %d pinned", b.Pinned)
	}
	return text
}
