// Package issues tells people about images that they must look after, by issues at the forges: one per image. An issue is found again
// by its label and by a marker in its text; nothing is remembered that the forge does not know.
package issues

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/config"
	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// Fact is the reason for an issue about an image.
type Fact struct {
	ID    string    // the same as long as the reason is the same
	Since time.Time // no issue about it is older

	recorded time.Time // when a pass recorded it, at the earliest
	title    string
	body     string
}

const minute = "2006-01-02 15:04 MST"

// FactOf returns the fact about an image that a person must know; nil if there is none.
func FactOf(f *fleet.Fleet, img *config.Image) *Fact {
	facts := f.State.Images[img.Name]
	if facts == nil {
		return nil
	}
	r := facts.Rebuild
	if r != nil && !r.Status.Active() && r.Failures >= policy.MaxFailures {
		return &Fact{
			ID: "rebuild/" + url.PathEscape(r.ID), Since: r.FinishedAt.Time, recorded: r.FinishedAt.Time,
			title: fmt.Sprintf("%s: %d rebuilds failed in a row", img.Name, r.Failures),
			body: fmt.Sprintf("%d rebuilds of %s failed in a row, and no other will be started. After the cause is fixed, run\n\n    imagefactory reset %s --push --reason TEXT\n\n",
				r.Failures, code(img.Name), img.Name) + details(img, r),
		}
	}
	if facts.Stuck.IsZero() {
		return nil
	}
	fact := &Fact{
		ID: "stuck/" + facts.Stuck.UTC().Format(time.RFC3339), Since: facts.Stuck.Time, recorded: facts.Stuck.Add(f.Config.Factory.Notify.Limit()),
		title: img.Name + ": the rebuild does not start",
		body: fmt.Sprintf("%s has been due since %s, and could not be started. The reasons are listed by\n\n    imagefactory describe %s\n\n",
			code(img.Name), facts.Stuck.UTC().Format(minute), img.Name),
	}
	if r != nil && r.Status != state.Requested {
		r = nil // an older rebuild
	}
	fact.body += details(img, r)
	return fact
}

// details returns a list of what is known about an image and its rebuild, which may be nil.
func details(img *config.Image, r *state.Rebuild) string {
	var b strings.Builder
	row := func(name, value string) {
		if value != "" {
			b.WriteString("- " + name + ": " + value + "\n")
		}
	}
	row("Image", code(img.Ref()))
	row("Owner", code(img.Owner))
	if r != nil {
		row("Rebuild", code(r.ID))
		row("Reason", code(r.Reason))
		row("Error", code(r.Message))
		row("Run", link(r.RunURL))
	}
	b.WriteString("\nThis text is brought up to date, and the issue is closed when the image was rebuilt. Close it to hear no more about this.\n")
	return b.String()
}

// code returns a text as code in Markdown: nothing in it is a mention, a link, a reference or markup.
func code(s string) string {
	if s = strings.TrimSpace(strings.ReplaceAll(state.Text(s), "`", "'")); s == "" {
		return ""
	}
	return "`" + s + "`"
}

// link returns a link to a URL; "" if it is not safe.
func link(s string) string {
	if s = sanitize.URL(s); s == "" || strings.ContainsAny(s, "<>`\\ ") {
		return ""
	}
	return "<" + s + ">"
}

// Marks at the end of an issue, which people do not see.
const (
	mark       = "<!-- imagefactory:issue "
	closedMark = "<!-- imagefactory:closed -->"
	markEnd    = " -->"
)

// marker identifies an issue.
type marker struct {
	project, image, fact string
	content              string // hash of what imagefactory wrote
	closed               bool   // by imagefactory
}

// content returns a hash of the title and the text.
func (f *Fact) content() string {
	sum := sha256.Sum256([]byte(f.title + "\x00" + f.body))
	return hex.EncodeToString(sum[:8])
}

func (m *marker) String() string {
	return mark + strings.Join([]string{m.project, m.image, m.fact, m.content}, " ") + markEnd
}

// parseMarker returns the marker in the text of an issue; nil if there is none.
func parseMarker(body string) *marker {
	var m *marker
	closed := false
	for line := range strings.SplitSeq(body, "\n") {
		line = strings.TrimSpace(line)
		closed = closed || line == closedMark
		rest, ok := strings.CutPrefix(line, mark)
		if text, end := strings.CutSuffix(rest, markEnd); ok && end {
			if parts := strings.Split(text, " "); len(parts) == 4 {
				m = &marker{project: parts[0], image: parts[1], fact: parts[2], content: parts[3]}
			}
		}
	}
	if m != nil {
		m.closed = closed
	}
	return m
}
