package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/issues"
)

// previewIssues prints what promote would do with the issues about recorded facts. It reads the forges.
func previewIssues(ctx context.Context, c *clients, f *fleet.Fleet, selection fleet.Selection) error {
	if f.Config.Factory.Notify.Issues == nil {
		return nil
	}
	selected, err := f.Selected(selection)
	if err != nil {
		return err
	}
	groups := issues.Groups(f, selected, func(_ string, fact *issues.Fact) bool { return fact != nil })
	for _, r := range issues.Sync(ctx, groups, issues.Options{Issues: c.forge().Issues, Now: c.env.Now(), DryRun: true}) {
		action := map[issues.Action]string{
			issues.Opened: "would open an issue", issues.Updated: "would edit the issue", issues.Reopened: "would open the issue again",
			issues.Closed: "would close the issue", issues.Limited: "a later pass would open an issue", issues.Failed: "issues cannot be read",
		}[r.Action]
		text := slices.DeleteFunc([]string{r.Repo, action, r.Title, r.URL, r.Message}, func(s string) bool { return s == "" })
		if err := c.env.infof("%s", strings.Join(text, ": ")); err != nil {
			return err
		}
	}
	return nil
}

// changedIssues returns the number of issues that a pass changed, in words; "" for none.
func changedIssues(list []issues.Result) string {
	n := 0
	for i := range list {
		if a := list[i].Action; a != issues.Failed && a != issues.Limited {
			n++
		}
	}
	if n == 0 {
		return ""
	}
	return ", " + plural.Count(n, "issue") + " changed"
}

// printIssues prints the issues that a pass changed.
func printIssues(env *Env, list []issues.Result, wide bool) error {
	var rows [][]string
	for i := range list {
		if r := &list[i]; r.Action != issues.Failed && r.Action != issues.Limited {
			rows = append(rows, []string{r.Image, r.Repo, string(r.Action), r.Title, r.URL})
		}
	}
	if len(rows) == 0 {
		return nil
	}
	return env.style(wide).Table(env.Out, []string{"IMAGE", "REPOSITORY", "ISSUE", "TITLE", "URL"}, rows)
}
