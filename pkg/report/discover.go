package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/discover"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
)

// Discovery prints what was found in repositories. Wide prints all reasons and notes.
func (s Style) Discovery(w io.Writer, r *discover.Report, wide bool) error {
	rows := make([][]string, len(r.Items))
	for i := range r.Items {
		p := &r.Items[i]
		rows[i] = []string{p.Name, string(p.Status), string(p.Confidence), p.Image, p.Repository, reasons(p, wide), notes(p, wide)}
	}
	unbuilt := make([][]string, len(r.Unbuilt))
	for i, u := range r.Unbuilt {
		unbuilt[i] = []string{u.Repository, u.Dockerfile, u.Reason}
	}
	parents := make([][]string, len(r.Parents))
	for i, p := range r.Parents {
		parents[i] = []string{p.Ref, some(p.UsedBy, wide)}
	}
	problems := make([][]string, 0, len(r.Problems)+len(r.Unread))
	for _, p := range r.Problems {
		problems = append(problems, []string{p.Repository, p.String(), p.Message})
	}
	for _, u := range r.Unread {
		problems = append(problems, []string{u.Repository, "", u.Error})
	}
	gap := "" // before what comes next
	for _, section := range []struct {
		title    string
		headings []string
		rows     [][]string
	}{
		{"", []string{"NAME", "STATUS", "CONFIDENCE", "IMAGE", "REPOSITORY", "WHERE", "NOTES"}, rows},
		{"Dockerfiles whose image nothing pushes:", []string{"REPOSITORY", "DOCKERFILE", "REASON"}, unbuilt},
		{"Images of yours that others are built on, and nothing here builds:", []string{"IMAGE", "USED BY"}, parents},
		{"Not read, or not followed:", []string{"REPOSITORY", "WHERE", "PROBLEM"}, problems},
	} {
		if len(section.rows) == 0 {
			continue
		}
		if section.title != "" {
			if _, err := fmt.Fprintf(w, "%s%s\n\n", gap, section.title); err != nil {
				return err
			}
		}
		gap = "\n"
		if err := s.Table(w, section.headings, section.rows); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%s%s\n", gap, discoveryTotals(r))
	return err
}

func reasons(p *discover.Proposal, wide bool) string {
	list := make([]string, len(p.Reasons))
	for i, r := range p.Reasons {
		if list[i] = r.String(); wide {
			list[i] += " (" + r.Text + ")"
		}
	}
	return some(list, wide)
}

// some joins a list; without wide, its first item stands for the others.
func some(list []string, wide bool) string {
	if wide {
		return strings.Join(list, ", ")
	}
	return plural.Listed(list, 1)
}

func notes(p *discover.Proposal, wide bool) string {
	var list []string
	for _, d := range p.Differences {
		list = append(list, fmt.Sprintf("%s is %q in images.yaml, %q in the repository", d.Key, d.Have, d.Want))
	}
	if len(p.Unresolved) > 0 {
		list = append(list, "not resolved: "+strings.Join(p.Unresolved, ", "))
	}
	list = append(list, p.Notes...)
	if len(p.UsedBy) > 0 {
		list = append(list, "parent of "+strings.Join(p.UsedBy, ", "))
	}
	text := sanitize.Words(strings.Join(list, "; "))
	if !wide {
		text = sanitize.Cut(text, maxWhy)
	}
	return text
}

func discoveryTotals(r *discover.Report) string {
	counts := r.Counts()
	parts := []string{}
	for _, s := range []discover.Status{discover.New, discover.Incomplete, discover.Differs, discover.Enrolled} {
		if n := counts[s]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, s))
		}
	}
	text := plural.Form(r.Repositories, "repository", "repositories") + ": "
	if len(parts) == 0 {
		return text + "no image that something builds and pushes"
	}
	return text + plural.Count(len(r.Items), "image") + " (" + strings.Join(parts, ", ") + ")"
}

// DiscoveryRequest returns the text of a request that adds the proposed entries, in Markdown.
func DiscoveryRequest(r *discover.Report, least discover.Confidence) string {
	const most = 200 // rows; a text of GitHub holds 65536 characters
	var b strings.Builder
	b.WriteString("`imagefactory discover` found images that these repositories build and push, and that images.yaml does not enroll.\n\n" +
		"| Entry | Image | Confidence | Where | Notes |\n|---|---|---|---|---|\n")
	entries := r.Proposed(least)
	for _, p := range entries[:min(len(entries), most)] {
		fmt.Fprintf(&b, "| %s | %s | %s | %s %s | %s |\n", p.Name, markdown(p.Image), p.Confidence, markdown(p.Repository), markdown(reasons(p, false)), markdown(notes(p, false)))
	}
	if n := len(entries) - most; n > 0 {
		fmt.Fprintf(&b, "\n%d more.\n", n)
	}
	return b.String()
}

// markdown makes text of others a cell of a table in which nothing is markup, a mention or a link.
func markdown(text string) string {
	if text = strings.NewReplacer("`", "'", "|", "/").Replace(sanitize.Words(text)); text == "" {
		return ""
	}
	return "`" + text + "`"
}
