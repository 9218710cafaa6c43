package doctor

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/imagefactory/imagefactory/pkg/cluster"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
	"github.com/imagefactory/imagefactory/pkg/kargo"
)

// owner checks that the Project belongs to this factory: its CronJob must work on the same state and images.yaml. Kargo has one
// ProjectConfig for each Project, so two factories cannot share one.
func (c *inCluster) owner(ctx context.Context) []Check {
	i := slices.IndexFunc(c.Objects, func(o kargo.Object) bool { return o.Kind() == "CronJob" && o.Name() == kargo.PromoteName })
	if i < 0 {
		return nil // images.yaml or state is invalid, which another check reports
	}
	var have struct {
		Spec kargo.CronJobSpec `json:"spec"`
	}
	err := c.api.Get(ctx, "/apis/batch/v1/namespaces/"+c.Project+"/cronjobs/"+kargo.PromoteName, nil, &have)
	switch {
	case cluster.IsStatus(err, http.StatusNotFound):
		return nil // dist is not applied, which another check reports
	case err != nil:
		return []Check{unreadable("the CronJob "+kargo.PromoteName, err)}
	}
	want, got := argsOf(c.Objects[i].(*kargo.CronJob).Spec), argsOf(have.Spec)
	for _, flag := range []string{"--state-repo=", "--path=", "--config="} {
		if mine, other := valueOf(want, flag), valueOf(got, flag); mine != other {
			return []Check{bad("give each factory a Project of its own (factory.project), or apply dist if this one has moved",
				"the CronJob %s runs with %s%s, not %s: another factory uses the Project %s", kargo.PromoteName, flag, shownURL(other), shownURL(mine), c.Project)}
		}
	}
	out := []Check{ok("the Project belongs to this factory")}
	if have.Spec.Suspend {
		out = append(out, warning(fmt.Sprintf(`if that is no longer wanted: kubectl patch cronjob %s -n %s -p '{"spec":{"suspend":false}}'`, kargo.PromoteName, c.Project),
			"the CronJob %s is suspended: nothing is started on its schedule", kargo.PromoteName))
	}
	return out
}

// syncs checks that Argo CD applies dist by itself. Its Application may be in any namespace, and may be in another cluster.
func (c *inCluster) syncs(ctx context.Context) []Check {
	list, err := c.api.List(ctx, argoAPI+"/applications", "")
	switch {
	case cluster.IsStatus(err, http.StatusNotFound):
		return nil
	case err != nil:
		return []Check{unreadable("the Applications of Argo CD", err)}
	}
	var out []Check
	for _, o := range list {
		if text(o, "spec", "destination", "namespace") != c.Project {
			continue
		}
		name := shownURL(text(o, "metadata", "name"))
		if automated(o) {
			out = append(out, ok("the Application %s is synced automatically", name))
			continue
		}
		out = append(out, warning("if that is no longer wanted: kubectl apply -k deploy",
			"the Application %s has no automated sync: Argo CD applies no change of dist", name))
	}
	return out
}

// automated reports whether Argo CD syncs an Application automatically.
func automated(application map[string]any) bool {
	spec, _ := application["spec"].(map[string]any)
	policy, _ := spec["syncPolicy"].(map[string]any)
	sync, isSet := policy["automated"].(map[string]any)
	return isSet && sync["enabled"] != false
}

func argsOf(spec kargo.CronJobSpec) []string {
	for _, c := range spec.JobTemplate.Spec.Template.Spec.Containers {
		return c.Args
	}
	return nil
}

// valueOf returns the rest of the argument that begins with a flag.
func valueOf(args []string, flag string) string {
	for _, a := range args {
		if rest, ok := strings.CutPrefix(a, flag); ok {
			return rest
		}
	}
	return ""
}

// shownURL makes the value of another's argument fit to be shown.
func shownURL(s string) string { return sanitize.Cut(sanitize.Foreign(s), 200) }
