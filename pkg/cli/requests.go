package cli

import (
	"context"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/fleet"
	"github.com/imagefactory/imagefactory/pkg/forge"
	"github.com/imagefactory/imagefactory/pkg/internal/plural"
	"github.com/imagefactory/imagefactory/pkg/policy"
	"github.com/imagefactory/imagefactory/pkg/propose"
	"github.com/imagefactory/imagefactory/pkg/report"
	"github.com/imagefactory/imagefactory/pkg/state"
)

// forge returns the client that starts builds and opens pull requests at the forges.
func (c *clients) forge() *forge.Client {
	return forge.New(forge.Options{API: c.api, Secret: c.credentials.Secret, Now: c.env.Now})
}

// previewRequests returns what promote would do with the pull requests that move pins. It reads the forges, but with --offline.
func (o *promoteOptions) previewRequests(ctx context.Context, c *clients, f *fleet.Fleet, decisions []policy.Decision, selection fleet.Selection) ([]propose.Result, error) {
	selected, err := f.Selected(selection)
	if err != nil {
		return nil, err
	}
	groups := propose.Groups(f, decisions, c.env.Now(), func(d *policy.Decision) bool { return !selected[d.Image] || d.Status == policy.Unknown })
	if o.offline {
		return propose.Pending(groups), nil
	}
	return propose.Preview(ctx, groups, propose.Options{Repository: c.forge().Repository}), nil
}

// changed reports whether a pass does something with a request.
func changed(a propose.Action) bool {
	return a == propose.Opened || a == propose.Updated || a == propose.Closed
}

func changedRequests(list []propose.Result) int {
	n := 0
	for i := range list {
		if changed(list[i].Action) {
			n++
		}
	}
	return n
}

// printRequests prints the pull requests that a pass changed.
func printRequests(env *Env, list []propose.Result, wide bool) error {
	var rows [][]string
	for i := range list {
		if r := &list[i]; changed(r.Action) {
			rows = append(rows, []string{r.Repo, r.Branch, string(r.Action), strings.Join(state.ShortRefs(r.Pins), ", "), r.URL})
		}
	}
	if len(rows) == 0 {
		return nil
	}
	return env.style(wide).Table(env.Out, []string{"REPOSITORY", "BRANCH", "PULL REQUEST", "PINS", "URL"}, rows)
}

// printPreview prints the pull requests that a pass would open, change or close, with the differences.
func printPreview(env *Env, list []propose.Result) error {
	for i := range list {
		r := &list[i]
		where := r.Repo + ", branch " + r.Branch
		text := map[propose.Action]string{
			propose.Opened: "would open a pull request", propose.Updated: "would bring the pull request up to date", propose.Closed: "would close the pull request",
			propose.Kept: "pull request is up to date", propose.Failed: "cannot be read",
		}[r.Action]
		if text == "" && r.Message == "" {
			continue
		}
		for _, more := range []string{r.Message, r.URL, strings.Join(state.ShortRefs(r.Pins), ", ")} {
			if more == "" {
				continue
			}
			if text != "" {
				text += ": "
			}
			text += more
		}
		if err := env.infof("%s: %s", where, text); err != nil {
			return err
		}
		for _, problem := range r.Problems {
			if err := env.errorf("warning: %s: %s", where, problem); err != nil {
				return err
			}
		}
		if r.Action != propose.Kept && r.Diff != "" {
			if err := report.Diff(env.Out, r.Diff); err != nil {
				return err
			}
		}
	}
	if n := changedRequests(list); n > 0 {
		return env.infof("%s would be changed", plural.Count(n, "pull request"))
	}
	return nil
}
