package doctor

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/pkg/cluster"
	"github.com/imagefactory/imagefactory/pkg/internal/lazy"
	"github.com/imagefactory/imagefactory/pkg/internal/sanitize"
	"github.com/imagefactory/imagefactory/pkg/kargo"
)

// leastKargo is the oldest minor version of Kargo 1 that dist works with.
const leastKargo = 11

var versionForm = lazy.Regexp(`^v?(\d+)\.(\d+)(\.|$)`)

func (c *inCluster) kargo(ctx context.Context) []Check {
	const fix = "install Kargo 1.11 or later with its CRDs"
	if f := c.installed(ctx, kargoAPI, "Kargo", fix, "freights", "projectconfigs", "projects", "promotions", "promotiontasks", "stages", "warehouses"); f != nil {
		return []Check{*f}
	}
	version, err := c.kargoVersion(ctx)
	switch {
	case version != "" && tooOld(version):
		return []Check{bad("upgrade Kargo to 1.11 or later", "version %s, %s", version, kargo.UnknownBefore111)}
	case version != "":
		return []Check{ok("CRDs installed, version %s", version)}
	}
	if old, known := c.oldCRDs(ctx); known && old {
		return []Check{bad("upgrade Kargo and its CRDs to 1.11 or later", "the CRDs are older than 1.11, %s", kargo.UnknownBefore111)}
	} else if known {
		return []Check{ok("CRDs installed, version 1.11 or later")}
	}
	if err != nil {
		return []Check{ok("CRDs installed"), unreadable("Deployments (for the version of Kargo)", err)}
	}
	return []Check{ok("CRDs installed"), notChecked("make sure that it is 1.11 or later", "version unknown: no Deployment of Kargo found")}
}

// kargoVersion returns the oldest version that a Deployment of Kargo runs; "" if none shows it.
func (c *inCluster) kargoVersion(ctx context.Context) (string, error) {
	list, err := c.api.List(ctx, "/apis/apps/v1/deployments", "app.kubernetes.io/name=kargo")
	oldest := ""
	for _, deployment := range list {
		if v := versionOf(deployment); v != "" && (oldest == "" || older(v, oldest)) {
			oldest = v
		}
	}
	return oldest, err
}

// versionOf returns the version that a Deployment runs: the tag of its image, which can be another than the chart's, or else
// the chart's.
func versionOf(deployment map[string]any) string {
	spec, _ := deployment["spec"].(map[string]any)
	template, _ := spec["template"].(map[string]any)
	pod, _ := template["spec"].(map[string]any)
	containers, _ := pod["containers"].([]any)
	for _, container := range containers {
		container, _ := container.(map[string]any)
		image, _ := container["image"].(string)
		name, tag, _ := strings.Cut(path.Base(strings.SplitN(image, "@", 2)[0]), ":")
		if strings.HasPrefix(name, "kargo") && versionForm().MatchString(tag) {
			return tag
		}
	}
	if v := text(deployment, "metadata", "labels", "app.kubernetes.io/version"); versionForm().MatchString(v) {
		return v
	}
	return ""
}

// minor returns the major and minor number of a version.
func minor(version string) (numbers [2]int) {
	if m := versionForm().FindStringSubmatch(version); m != nil {
		numbers[0], _ = strconv.Atoi(m[1])
		numbers[1], _ = strconv.Atoi(m[2])
	}
	return numbers
}

func older(a, b string) bool {
	x, y := minor(a), minor(b)
	return slices.Compare(x[:], y[:]) < 0
}

func tooOld(version string) bool { return older(version, fmt.Sprintf("1.%d", leastKargo)) }

// oldCRDs reads the schema of Stages, which needs no permission and differs before Kargo 1.11.
func (c *inCluster) oldCRDs(ctx context.Context) (old, known bool) {
	type properties map[string]struct {
		Properties map[string]any `json:"properties"`
	}
	var doc struct {
		Components struct {
			Schemas map[string]struct {
				Properties properties `json:"properties"`
			} `json:"schemas"`
		} `json:"components"`
	}
	if c.api.Get(ctx, "/openapi/v3"+kargoAPI, nil, &doc) != nil {
		return false, false
	}
	for name := range doc.Components.Schemas {
		if !strings.HasSuffix(name, ".Stage") {
			continue
		}
		status := doc.Components.Schemas[name].Properties["status"].Properties
		has := func(field string) bool { return status[field] != nil }
		return kargo.Before111(has), has("freightHistory")
	}
	return false, false
}

// holds reports observe Stages that take no new Freight because somebody promoted other Freight by hand. Only the CronJob
// promote then sees their digests.
func (c *inCluster) holds(ctx context.Context) []Check {
	list, err := c.api.List(ctx, kargoAPI+"/namespaces/"+c.Project+"/stages", kargo.RoleLabel+"="+string(kargo.Observe))
	switch {
	case cluster.IsStatus(err, http.StatusNotFound):
		return nil // Kargo is not installed, which another check reports
	case err != nil:
		return []Check{unreadable("Stages", err)}
	}
	const most = 5
	var out []Check
	held := 0
	for _, stage := range list {
		for _, origin := range heldOrigins(stage) {
			if held++; held <= most {
				out = append(out, c.hold(stage, origin))
			}
		}
	}
	switch {
	case held == 0:
		return []Check{ok("no observe Stage is on hold")}
	case held > most:
		out = append(out, warning("resume each of them in the same way", "%d more observe Stages are on hold", held-most))
	}
	return out
}

// holdsOf returns the holds of a Stage. Kargo 1.11.0 has durable ones only.
func holdsOf(stage map[string]any) map[string]any {
	status, _ := stage["status"].(map[string]any)
	if holds, ok := status["effectiveAutoPromotionHolds"].(map[string]any); ok {
		return holds
	}
	holds, _ := status["autoPromotionHolds"].(map[string]any)
	return holds
}

func heldOrigins(stage map[string]any) []string { return slices.Sorted(maps.Keys(holdsOf(stage))) }

func (c *inCluster) hold(stage map[string]any, origin string) Check {
	shown := func(s string) string { return sanitize.Cut(sanitize.Line(s), 100) }
	hold, _ := holdsOf(stage)[origin].(map[string]any)
	name := shown(text(stage, "metadata", "name"))
	warehouse := shown(strings.TrimPrefix(origin, "Warehouse/"))
	who, since := "somebody", ""
	if actor := text(hold, "actor"); actor != "" {
		who = shown(actor)
	}
	if t, err := time.Parse(time.RFC3339, text(hold, "createdAt")); err == nil {
		since = " since " + t.UTC().Format("2006-01-02 15:04 UTC")
	}
	return warning(fmt.Sprintf("Resume in Kargo's UI, or kargo promote --project %s --stage %s --warehouse %s", c.Project, name, warehouse),
		"%s is on hold%s: %s promoted other Freight of %s by hand (%s), and Kargo starts no analysis of newer Freight",
		name, since, who, warehouse, shown(text(hold, "freightName")))
}
